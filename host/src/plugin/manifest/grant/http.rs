//! `[[grant.http]]` and `[grant.http_limits]`: where requests may go, and how much of it.

use std::ops::RangeInclusive;

use http::Method;
use serde::Deserialize;
use toml::Spanned;

use super::super::place::Source;
use super::super::quantity::{Millis, Size};
use super::super::ManifestError;
use crate::plugin::link::{HostPattern, HttpGrant, HttpLimits, HttpRule, PathPattern, Place, Scheme};
use crate::quantity::{show_bytes, show_millis};
use crate::secret::is_valid_name;

/// Rules of one plugin at most.
const MAX_RULES: usize = 256;
/// Ports, methods or secrets of one rule at most.
const MAX_ENTRIES: usize = 64;

const REQUESTS: RangeInclusive<u64> = 1..=1_000_000;
const CONCURRENCY: RangeInclusive<u64> = 1..=256;
const REQUEST_BYTES: RangeInclusive<u64> = 0..=1 << 30;
const RESPONSE_BYTES: RangeInclusive<u64> = 0..=16 << 30;
const TIMEOUT_MS: RangeInclusive<u64> = 1..=24 * 3_600_000;

/// What can be asked of a host; the others (CONNECT, TRACE) concern proxies.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const PLACES: [(&str, Place); 4] =
    [("headers", Place::Headers), ("path", Place::Path), ("query", Place::Query), ("body", Place::Body)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleTable {
    scheme: Option<Spanned<String>>,
    host: Spanned<String>,
    ports: Option<Spanned<Vec<Spanned<u16>>>>,
    methods: Option<Spanned<Vec<Spanned<String>>>>,
    path: Option<Spanned<String>>,
    #[serde(default)]
    private: bool,
    secrets: Option<Spanned<Vec<Spanned<String>>>>,
    replace_in: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    requests: Option<Spanned<u32>>,
    concurrency: Option<Spanned<u32>>,
    request_bytes: Option<Spanned<Size>>,
    response_bytes: Option<Spanned<Size>>,
    timeout: Option<Spanned<Millis>>,
}

/// The whole grant; absent when there is no rule.
pub(super) fn check(
    rules: Vec<Spanned<RuleTable>>,
    limits: Option<Spanned<LimitsTable>>,
    source: Source<'_>,
) -> Result<Option<HttpGrant>, ManifestError> {
    if let Some(extra) = rules.get(MAX_RULES) {
        return Err(source.at(extra.span().start, format!("more than {MAX_RULES} [[grant.http]]")));
    }
    if rules.is_empty() {
        return match limits {
            Some(limits) => {
                let message = "`http_limits` bounds nothing: there is no [[grant.http]]".to_owned();
                Err(source.at(limits.span().start, message))
            }
            None => Ok(None),
        };
    }
    let limits = limits.map(Spanned::into_inner).unwrap_or_default().check(source)?;
    let rules = rules.into_iter().map(|rule| rule.into_inner().check(source)).collect::<Result<_, _>>()?;
    Ok(Some(HttpGrant { rules, limits }))
}

impl LimitsTable {
    fn check(self, source: Source<'_>) -> Result<HttpLimits, ManifestError> {
        let default = HttpLimits::default();
        let count = |value, key, range, default| {
            let number = source.in_range(value, |count: &u32| u64::from(*count), key, (range, |n| n.to_string()))?;
            // The range ends far below the type's end.
            Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default))
        };
        let size = |value, key, range, default| {
            let bytes = source.in_range(value, |size: &Size| size.0, key, (range, show_bytes))?;
            Ok(bytes.unwrap_or(default))
        };
        let timeout = source.in_range(self.timeout, |time: &Millis| time.0, "timeout", (TIMEOUT_MS, show_millis))?;
        Ok(HttpLimits {
            requests: count(self.requests, "requests", REQUESTS, default.requests)?,
            concurrency: count(self.concurrency, "concurrency", CONCURRENCY, default.concurrency)?,
            request_bytes: size(self.request_bytes, "request_bytes", REQUEST_BYTES, default.request_bytes)?,
            response_bytes: size(self.response_bytes, "response_bytes", RESPONSE_BYTES, default.response_bytes)?,
            timeout_ms: timeout.unwrap_or(default.timeout_ms),
        })
    }
}

impl RuleTable {
    fn check(self, source: Source<'_>) -> Result<HttpRule, ManifestError> {
        let scheme = match &self.scheme {
            None => Scheme::Https,
            Some(scheme) => match scheme.get_ref().as_str() {
                "https" => Scheme::Https,
                "http" => Scheme::Http,
                other => {
                    let message = format!("`scheme` is \"https\" or \"http\", not {other:?}");
                    return Err(source.at(scheme.span().start, message));
                }
            },
        };
        let host = HostPattern::parse(self.host.get_ref()).ok_or_else(|| {
            let message = format!(
                "{:?} is not a host: write a name such as \"api.example.com\", all names below one as \
                 \"*.example.com\", or an address; scheme, port and path have keys of their own",
                self.host.get_ref()
            );
            source.at(self.host.span().start, message)
        })?;
        let path = self.path.map(|path| {
            PathPattern::parse(path.get_ref()).map_err(|why| source.at(path.span().start, format!("`path`: {why}")))
        });
        let ports = list(source, self.ports, "ports", |port| match port {
            0 => Err("0 is not a port".to_owned()),
            port => Ok(port),
        })?;
        let methods = list(source, self.methods, "methods", |name| method(&name))?;
        let secrets = list(source, self.secrets, "secrets", |name| {
            let wrong = format!("{name:?} is not a secret's name: capital letters, digits and underscores");
            is_valid_name(&name).then_some(name).ok_or(wrong)
        })?;
        let at = self.replace_in.as_ref().map(|places| places.span().start);
        let replace_in = list(source, self.replace_in, "replace_in", |name| place(&name))?;
        if let (Some(at), None) = (at, &secrets) {
            return Err(source.at(at, "`replace_in` says where `secrets` are filled in, and there are none".to_owned()));
        }
        Ok(HttpRule {
            scheme,
            host,
            ports: ports.unwrap_or_else(|| vec![scheme.default_port()]),
            methods: methods.unwrap_or_else(|| vec![Method::GET, Method::HEAD]),
            path: path.transpose()?,
            private: self.private,
            secrets: secrets.unwrap_or_default(),
            replace_in: replace_in.unwrap_or_else(|| vec![Place::Headers]),
        })
    }
}

/// Every entry of a list, which has one at least when it is there.
fn list<T, V>(
    source: Source<'_>,
    entries: Option<Spanned<Vec<Spanned<T>>>>,
    key: &str,
    check: impl Fn(T) -> Result<V, String>,
) -> Result<Option<Vec<V>>, ManifestError> {
    let Some(entries) = entries else { return Ok(None) };
    let at = entries.span().start;
    let entries = entries.into_inner();
    if !(1..=MAX_ENTRIES).contains(&entries.len()) {
        return Err(source.at(at, format!("`{key}` has between 1 and {MAX_ENTRIES} entries")));
    }
    let check = |entry: Spanned<T>| {
        let at = entry.span().start;
        check(entry.into_inner()).map_err(|message| source.at(at, format!("`{key}`: {message}")))
    };
    entries.into_iter().map(check).collect::<Result<_, _>>().map(Some)
}

fn method(name: &str) -> Result<Method, String> {
    if !METHODS.contains(&name) {
        return Err(format!("{name:?} is not one of {}", METHODS.join(", ")));
    }
    name.parse().map_err(|_| format!("{name:?} is not a method"))
}

fn place(name: &str) -> Result<Place, String> {
    let found = PLACES.iter().find(|(known, _)| *known == name).map(|(_, place)| *place);
    found.ok_or_else(|| format!("{name:?} is not one of {}", PLACES.map(|(known, _)| known).join(", ")))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use crate::plugin::link::{HostPattern, HttpGrant, HttpLimits, HttpRule, PathPattern, Place, Scheme};
    use crate::plugin::manifest::Manifest;

    fn parse(text: &str) -> Result<Option<HttpGrant>, String> {
        Manifest::parse("x.toml", text).map(|manifest| manifest.grants.http).map_err(|error| error.to_string())
    }

    #[test]
    fn a_host_alone_is_asked_over_tls_and_not_changed() {
        let grant = parse("[[grant.http]]\nhost = \"API.example.com\"\n").unwrap().unwrap();
        let rule = HttpRule {
            scheme: Scheme::Https,
            host: HostPattern::parse("api.example.com").unwrap(),
            ports: vec![443],
            methods: vec![Method::GET, Method::HEAD],
            path: None,
            private: false,
            secrets: Vec::new(),
            replace_in: vec![Place::Headers],
        };
        assert_eq!(grant, HttpGrant { rules: vec![rule], limits: HttpLimits::default() });
        assert_eq!(parse("[grant]\nstate = true\n").unwrap(), None);
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
        let HttpGrant { rules, limits } = grant.unwrap().unwrap();
        assert_eq!((rules[0].ports.as_slice(), rules[0].replace_in.len(), rules[0].private), (&[80, 8080][..], 4, true));
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
            ("scheme = \"ftp\"", "3:10", "\"https\" or \"http\""),
            ("ports = []", "3:9", "between 1 and 64"),
            ("ports = [0]", "3:10", "not a port"),
            ("ports = [70000]", "3:10", "u16"),
            ("port = 80", "3:1", "did you mean `ports`?"),
            ("methods = [\"get\"]", "3:12", "GET"),
            ("methods = [\"CONNECT\"]", "3:12", "GET"),
            ("path = \"v1\"", "3:8", "begins with `/`"),
            ("path = \"^(\"", "3:8", "unclosed group"),
            ("secrets = [\"key\"]", "3:12", "capital letters"),
            ("replace_in = [\"headers\"]", "3:14", "there are none"),
            ("secrets = [\"KEY\"]\nreplace_in = [\"cookies\"]", "4:15", "headers, path, query, body"),
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
