use http::{Method, Uri};
use proptest::prelude::*;

use super::{HostName, HostPattern, HttpRule, PathPattern, Refusal, Scheme, Target};

fn rule(host: &str, path: Option<&str>) -> HttpRule {
    HttpRule {
        host: HostPattern::parse(host).unwrap(),
        ports: vec![443, 8443],
        methods: vec![Method::GET, Method::POST],
        path: path.map(|path| PathPattern::parse(path).unwrap()),
        ..HttpRule::default()
    }
}

fn decide(rules: &[HttpRule], method: &Method, uri: &str) -> Result<(), Refusal> {
    super::decide(rules, &Target::of(method, &uri.parse().unwrap()).unwrap()).map(|_| ())
}

#[test]
fn a_rule_without_ports_is_for_the_usual_one() {
    for (scheme, name, usual) in [(Scheme::Http, "http", 80), (Scheme::Https, "https", 443)] {
        let rules = [HttpRule { scheme, ports: Vec::new(), ..rule("a.test", None) }];
        for port in [80, 443, 8443] {
            let granted = decide(&rules, &Method::GET, &format!("{name}://a.test:{port}/")).is_ok();
            assert_eq!(granted, port == usual, "{name} {port}");
        }
    }
    assert_eq!(decide(&[HttpRule::default()], &Method::GET, "https://a.test/"), Err(Refusal::Host));
}

#[test]
fn each_part_of_a_request_has_to_be_granted() {
    let grant = [rule("api.example.com", Some("/v1"))];
    let get = |uri: &str| decide(&grant, &Method::GET, uri);
    assert_eq!(get("https://api.example.com/v1/x?y=z"), Ok(()));
    assert_eq!(get("https://API.Example.COM:8443/v1"), Ok(()));
    assert_eq!(get("http://api.example.com/v1"), Err(Refusal::Host));
    assert_eq!(get("https://example.com/v1"), Err(Refusal::Host));
    assert_eq!(get("https://api.example.com.evil.test/v1"), Err(Refusal::Host));
    assert_eq!(get("https://api.example.com:444/v1"), Err(Refusal::Port));
    assert_eq!(decide(&grant, &Method::DELETE, "https://api.example.com/v1"), Err(Refusal::Method));
    for path in [
        "/",
        "/v10",
        "/v1/../admin",
        "/v1/%2e%2E/admin",
        "/v1/..%2fadmin",
        "/v1/.%5C..",
        "/v1/..;x/admin",
        "/v1/%2e.%3b",
        "/V1",
    ] {
        assert_eq!(get(&format!("https://api.example.com{path}")), Err(Refusal::Path), "{path}");
    }
    assert_eq!(decide(&[], &Method::GET, "https://api.example.com/"), Err(Refusal::Host));
}

#[test]
fn a_refusal_names_what_would_grant() {
    let target = Target::of(&Method::PUT, &"https://api.example.com:99/v1".parse().unwrap()).unwrap();
    let host = Refusal::Host.explain(&target, "hook");
    assert_eq!(
        host,
        "PUT https://api.example.com:99 is not granted: add to plugins/hook.toml: [[grant.http]] scheme = \"https\", \
         host = \"api.example.com\", ports = [99], methods = [\"PUT\"]"
    );
    assert!(
        Refusal::Method.explain(&target, "hook").contains("add \"PUT\" to `methods` of the [[grant.http]] of host")
    );
    // What follows the host may be secret.
    assert!(!host.contains("v1"));
}

#[test]
fn a_wildcard_is_for_names_below() {
    let pattern = HostPattern::parse("*.example.com").unwrap();
    let matches = |host: &str| pattern.matches(&HostName::parse(host).unwrap());
    assert!(matches("a.example.com") && matches("A.b.Example.com"));
    for host in ["example.com", "aexample.com", "example.com.test", "127.0.0.1", "[::1]"] {
        assert!(!matches(host), "{host}");
    }
}

#[test]
fn hosts_are_names_or_addresses_and_nothing_else() {
    for host in ["a", "a.b-c", "_x.test", "1.2.3.4", "[::1]"] {
        assert!(HostName::parse(host).is_some(), "{host}");
    }
    let long = "a".repeat(64);
    for host in
        ["127.1", "2130706433", "0177.0.0.1", "0x7f.0.0.1", "0x7F000001", "1.2.3.4.5", "a.1", "127.0.0.0x1", "0x"]
    {
        assert_eq!(HostName::parse(host), None, "{host}");
    }
    for host in [
        "",
        ".",
        "a.",
        "a..b",
        "a b",
        "bücher.test",
        "a。b",
        "a\u{200d}b",
        "%61",
        "a%2e",
        "[::1",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "*",
        &long,
    ] {
        assert_eq!(HostName::parse(host), None, "{host}");
    }
    assert_eq!(HostPattern::parse("::1"), HostPattern::parse("[0:0:0:0:0:0:0:1]"));
    for host in ["*", "*.", "*.1.2.3.4", "a.*", "**.a", "http://a", "a:80"] {
        assert_eq!(HostPattern::parse(host), None, "{host}");
    }
}

#[test]
fn a_host_that_can_be_read_in_two_ways_is_none() {
    for uri in ["http://user@a.test/", "http://a.test:80@b.test/", "http://a.test:/", "http://a.test./", "ftp://a/"] {
        let Ok(uri) = uri.parse::<Uri>() else { continue };
        assert_eq!(Target::of(&Method::GET, &uri), None, "{uri}");
    }
}

#[test]
fn an_expression_is_anchored_as_a_whole() {
    let pattern = PathPattern::parse("^/a$|/b$").unwrap();
    assert!(pattern.matches("/a") && pattern.matches("/b"));
    assert!(!pattern.matches("/x/b") && !pattern.matches("/x/a"));
    assert!(PathPattern::parse("^/(").unwrap_err().contains("unclosed"));
    assert!(PathPattern::parse("^/(a{1000}){1000}").is_err());
    assert!(PathPattern::parse("v1").is_err() && PathPattern::parse("/a/../b").is_err());
}

#[test]
fn the_usual_port_is_not_in_the_header() {
    let header = |uri: &str| Target::of(&Method::GET, &uri.parse().unwrap()).unwrap().host_header();
    assert_eq!(header("https://A.test:443/x"), "a.test");
    assert_eq!(header("http://a.test:443/x"), "a.test:443");
    assert_eq!(header("http://[::1]:8080/x"), "[::1]:8080");
}

proptest! {
    /// Whatever is asked: what is allowed has the granted scheme, host, port, method and path.
    #[test]
    fn nothing_beyond_the_grant_is_allowed(
        scheme in prop::sample::select(vec!["http", "https"]),
        host in "(api\\.)?[a-c.]{0,4}(example|evil)\\.(com|test)",
        port in prop::option::of(prop::sample::select(vec![80_u16, 443, 444, 8443])),
        method in prop::sample::select(vec!["GET", "POST", "PUT", "get", "CONNECT"]),
        path in "(/v1|/v2|/|%2e|\\.|%2F|x){1,5}",
    ) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let Ok(uri) = format!("{scheme}://{host}{port}/{path}").parse::<Uri>() else { return Ok(()) };
        let Some(target) = Target::of(&method.parse().unwrap(), &uri) else { return Ok(()) };
        let grant = [rule("*.example.com", Some("/v1"))];
        if super::decide(&grant, &target).is_ok() {
            prop_assert_eq!(scheme, "https");
            prop_assert!(host.ends_with(".example.com"), "{}", host);
            prop_assert!(port.is_empty() || port == ":443" || port == ":8443");
            prop_assert!(method == "GET" || method == "POST");
            prop_assert!(target.path == "/v1" || target.path.starts_with("/v1/"), "{}", target.path);
            prop_assert!(!target.path.contains(".."), "{}", target.path);
        }
    }

    /// No text makes the parts panic.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        let _ = HostPattern::parse(&text);
        let _ = PathPattern::parse(&text);
        if let Ok(uri) = text.parse::<Uri>() {
            let _ = Target::of(&Method::GET, &uri);
        }
    }
}
