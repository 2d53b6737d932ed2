//! `[[grant.http]]` and `[grant.http_limits]`: where requests may go, and how much of it.

use std::ops::RangeInclusive;

use crate::plugin::link::{HostPattern, HttpLimits, HttpRule, PathPattern, Scheme};
use crate::secret::is_valid_name;

use super::super::table::{Conflict, Key, Table, Text, Words};

/// Ports, methods or secrets of one rule at most.
const MAX_ENTRIES: usize = 64;

const REQUESTS: RangeInclusive<u64> = 1..=1_000_000;
const CONCURRENCY: RangeInclusive<u64> = 1..=256;
const REQUEST_BYTES: RangeInclusive<u64> = 0..=1 << 30;
const RESPONSE_BYTES: RangeInclusive<u64> = 0..=16 << 30;
const TIMEOUT_MS: RangeInclusive<u64> = 1..=24 * 3_600_000;

const SCHEMES: Words = Words::OneOf(&["https", "http"]);
const HOST: Words = Words::Like {
    what: "a name such as \"api.example.com\", all names below one as \"*.example.com\", or an address; scheme, port and \
           path have keys of their own",
    pattern: r"^((\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[?[0-9A-Fa-f:.]+\]?)$",
    fits: |text| HostPattern::parse(text).is_some(),
};
/// What can be asked of a host; the others (CONNECT, TRACE) concern proxies.
const METHODS: Words = Words::OneOf(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const PATH: Words = Words::Read {
    what: "a path such as \"/v1\" without `..`, or a regular expression that begins with `^`",
    pattern: "^[/^]",
    check: |text| PathPattern::parse(text).map(drop),
};
const SECRET: Words = Words::Like {
    what: "a name of capital letters, digits and underscores such as \"API_KEY\"",
    pattern: "^[A-Z][A-Z0-9_]{0,63}$",
    fits: is_valid_name,
};
const PLACES: Words = Words::OneOf(&["headers", "path", "query", "body"]);

impl Table for HttpRule {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { scheme, host, ports, methods, path, private, secrets, replace_in } = self;
        let about_path =
            "This path and all below it, or a regular expression from the path's beginning. Any, unless said.";
        let about_private = "The name may lead to private and loopback addresses, too.";
        let about_secrets = "Secrets of the host's configuration that are filled in towards this destination.";
        vec![
            Key::text("host", host, &HOST, "A name, all names below one, or an address.").required(),
            Key::text("scheme", scheme, &SCHEMES, "With or without TLS."),
            Key::counts("ports", ports, (1..=u16::MAX, MAX_ENTRIES), "The scheme's own, unless said."),
            Key::texts("methods", methods, (&METHODS, MAX_ENTRIES), "What may be asked."),
            Key::text("path", path, &PATH, about_path),
            Key::flag("private", private, about_private),
            Key::texts("secrets", secrets, (&SECRET, MAX_ENTRIES), about_secrets),
            Key::texts("replace_in", replace_in, (&PLACES, MAX_ENTRIES), "Where in a request they are filled in."),
        ]
    }

    fn check(&self) -> Result<(), Conflict> {
        if self.methods.is_empty() {
            return Err(Conflict { key: "methods", message: "`methods` is empty: nothing could be asked".to_owned() });
        }
        if self.secrets.is_empty() && self.replace_in != Self::default().replace_in {
            let message = "`replace_in` says where `secrets` are filled in, and there are none".to_owned();
            return Err(Conflict { key: "replace_in", message });
        }
        Ok(())
    }
}

impl Table for HttpLimits {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { requests, concurrency, request_bytes, response_bytes, timeout_ms } = self;
        let about_timeout = "One request until its response has ended. The attempt's deadline may come first.";
        vec![
            Key::count("requests", requests, REQUESTS, "Requests of one attempt, refused ones too."),
            Key::count(
                "concurrency",
                concurrency,
                CONCURRENCY,
                "Requests that wait for their answers at the same time; more wait for their turn.",
            ),
            Key::bytes("request_bytes", request_bytes, REQUEST_BYTES, "The body of one request."),
            Key::bytes("response_bytes", response_bytes, RESPONSE_BYTES, "The body of one response."),
            Key::millis("timeout", timeout_ms, TIMEOUT_MS, about_timeout),
        ]
    }
}

impl Text for HostPattern {
    fn get(&self) -> Option<String> {
        Some(self.to_string()).filter(|text| !text.is_empty())
    }

    fn set(&mut self, value: &str) {
        *self = Self::parse(value).unwrap_or_default();
    }
}

impl Text for Scheme {
    fn get(&self) -> Option<String> {
        Some(self.name().to_owned())
    }

    fn set(&mut self, value: &str) {
        *self = if value == Self::Http.name() { Self::Http } else { Self::Https };
    }
}

impl Text for Option<PathPattern> {
    fn get(&self) -> Option<String> {
        self.as_ref().map(|path| path.as_str().to_owned())
    }

    fn set(&mut self, value: &str) {
        *self = PathPattern::parse(value).ok();
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use crate::plugin::link::{HostPattern, HttpGrant, HttpLimits, HttpRule, PathPattern, Place, Scheme};
    use crate::plugin::manifest::Manifest;

    fn parse(text: &str) -> Result<HttpGrant, String> {
        Manifest::parse("x.toml", text).map(|manifest| manifest.grants.http).map_err(|error| error.to_string())
    }

    #[test]
    fn a_host_alone_is_asked_over_tls_and_not_changed() {
        let grant = parse("[[grant.http]]\nhost = \"API.example.com\"\n").unwrap();
        let rule = HttpRule {
            scheme: Scheme::Https,
            host: HostPattern::parse("api.example.com").unwrap(),
            ports: Vec::new(),
            methods: vec![Method::GET, Method::HEAD],
            path: None,
            private: false,
            secrets: Vec::new(),
            replace_in: vec![Place::Headers],
        };
        assert_eq!(grant, HttpGrant { rules: vec![rule], limits: HttpLimits::default() });
        assert!(!parse("[grant]\nstate = true\n").unwrap().is_given());
    }

    #[test]
    fn everything_can_be_said() {
        let grant = parse(
            r#"
            [[grant.http]]
            scheme = "http"
            host = "*.example.com"
            ports = [80, 8080]
            methods = ["POST", "DELETE"]
            path = "^/v1/"
            private = true
            secrets = ["API_KEY"]
            replace_in = ["headers", "path", "query", "body"]
            [[grant.http]]
            host = "::1"
            [grant.http_limits]
            requests = 7
            concurrency = 2
            request_bytes = "2KiB"
            response_bytes = "3MiB"
            timeout = "4s"
            "#,
        );
        let HttpGrant { rules, limits } = grant.unwrap();
        assert_eq!(
            (rules[0].ports.as_slice(), rules[0].replace_in.len(), rules[0].private),
            (&[80, 8080][..], 4, true)
        );
        assert_eq!(rules[0].path, Some(PathPattern::parse("^/v1/").unwrap()));
        assert_eq!(rules[1].host, HostPattern::parse("[::1]").unwrap());
        let expected =
            HttpLimits { requests: 7, concurrency: 2, request_bytes: 2048, response_bytes: 3 << 20, timeout_ms: 4000 };
        assert_eq!(limits, expected);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let rule = |more: &str| parse(&format!("[[grant.http]]\nhost = \"a.test\"\n{more}\n")).unwrap_err();
        for (more, place, hint) in [
            ("scheme = \"ftp\"", "3:10", "one of \"https\", \"http\""),
            ("ports = [0]", "3:9", "between 1 and 65535"),
            ("ports = [70000]", "3:9", "between 1 and 65535"),
            ("port = 80", "3:1", "did you mean `ports`?"),
            ("methods = []", "3:1", "is empty"),
            ("methods = [\"get\"]", "3:12", "GET"),
            ("methods = [\"CONNECT\"]", "3:12", "GET"),
            ("path = \"v1\"", "3:8", "begins with `^`"),
            ("path = \"^(\"", "3:8", "`path` is not usable: unclosed group; a path such as"),
            ("path = \"^/[z-a]\"", "3:8", "invalid character class range"),
            ("path = \"^/v1)|(/\"", "3:8", "unopened group"),
            ("path = \"^(a{1000}){1000}\"", "3:8", "size limit"),
            ("path = \"/a/../b\"", "3:8", "has no `..`"),
            ("secrets = [\"key\"]", "3:12", "capital letters"),
            ("replace_in = [\"body\"]", "3:1", "there are none"),
            ("secrets = [\"KEY\"]\nreplace_in = [\"cookies\"]", "4:15", "\"path\", \"query\", \"body\""),
            ("[grant.http_limits]\nrequests = 0", "4:12", "between 1 and 1000000"),
            ("[grant.http_limits]\ntimeout = 0", "4:11", "between 1ms and 1d"),
        ] {
            let message = rule(more);
            assert!(message.starts_with(&format!("x.toml:{place}: ")), "{more}: {message}");
            assert!(message.contains(hint), "{more}: {message}");
        }
        let message = parse("[[grant.http]]\nhost = \"https://a.test/\"\n").unwrap_err();
        assert!(message.starts_with("x.toml:2:8: ") && message.contains("api.example.com"), "{message}");
        assert!(parse("[grant]\nhttp = true\n").unwrap_err().contains("[[grant.http]]"));
        assert!(parse("[grant.http_limits]\nrequests = 1\n").unwrap_err().contains("bounds nothing"));
        assert!(parse("[[grant.http]]\n").unwrap_err().contains("host"));
    }
}
