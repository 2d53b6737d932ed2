//! Keeps web pages from using a host that trusts whoever can connect.
//!
//! A page that somebody visits can send requests to `localhost`. Two checks stop it: the `Host` must
//! be a name of this host (else a page whose own name was pointed at 127.0.0.1 could read answers),
//! and what changes something must not come from another origin.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::{Problem, echo};
use super::{AppState, Settings};

/// Lets a request pass, or says why not.
pub async fn check(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Result<Response, Problem> {
    let authority = authority(request.uri(), request.headers())?;
    check_host(&state.settings, &authority)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        check_origin(request.headers(), &authority)?;
    }
    Ok(next.run(request).await)
}

/// Whom the request is for: the `:authority` of HTTP/2 or the `Host` of HTTP/1.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let parsed = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        _ => None,
    };
    parsed.ok_or_else(|| Problem::bad_request("invalid-host", "the request needs one Host header: a name and a port"))
}

fn check_host(settings: &Settings, authority: &Authority) -> Result<(), Problem> {
    let host = authority.host();
    let is_named = settings.host_names.iter().any(|name| name.eq_ignore_ascii_case(host));
    let is_open = !settings.loopback && settings.host_names.is_empty();
    if is_named || is_open || names_this_machine(host) {
        return Ok(());
    }
    let detail = format!(
        "the Host {:?} is not a name of this host; use localhost or 127.0.0.1, or add the name to the configuration",
        echo(host)
    );
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "Not for this host", detail))
}

fn names_this_machine(host: &str) -> bool {
    let bare = host.trim_end_matches('.');
    if bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    match bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn check_origin(headers: &HeaderMap, authority: &Authority) -> Result<(), Problem> {
    let refused = |what: String| {
        let detail = format!("{what}; a web page of another origin may not change anything here");
        Err(Problem::new(StatusCode::FORBIDDEN, "cross-origin", "Cross-origin request refused", detail))
    };
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("cross-site"));
    if let Some(site @ ("cross-site" | "same-site")) = site {
        return refused(format!("Sec-Fetch-Site is {site}"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let text = origin.to_str().unwrap_or("");
    let own = text.split_once("://").is_some_and(|(scheme, from)| {
        matches!(scheme, "http" | "https") && from.eq_ignore_ascii_case(authority.as_str())
    });
    if own { Ok(()) } else { refused(format!("the Origin is {:?}", echo(text))) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::{check_host, check_origin, names_this_machine};
    use crate::api::Settings;

    #[test]
    fn names_of_this_machine_are_known() {
        for host in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.8.8.8", "[::1]"] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "192.168.0.1", "[::2]", "0.0.0.0", "127.0.0.1.nip.io", ""]
        {
            assert!(!names_this_machine(host), "{host}");
        }
    }

    #[test]
    fn beyond_loopback_every_name_is_accepted_unless_names_are_configured() {
        let open = Settings { loopback: false, ..Settings::default() };
        let named = Settings { host_names: vec!["media.example".to_owned()], ..open.clone() };
        let authority = "Media.Example:7420".parse().unwrap();
        assert!(check_host(&open, &authority).is_ok());
        assert!(check_host(&named, &authority).is_ok());
        assert!(check_host(&named, &"other.example".parse().unwrap()).is_err());
        assert!(check_host(&Settings::default(), &authority).is_err());
    }

    #[test]
    fn only_the_own_origin_may_change_something() {
        let authority = "localhost:7420".parse().unwrap();
        let allowed = |pairs: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
            check_origin(&headers, &authority).is_ok()
        };
        assert!(allowed(&[]), "no browser");
        assert!(allowed(&[("origin", "http://localhost:7420"), ("sec-fetch-site", "same-origin")]));
        assert!(allowed(&[("sec-fetch-site", "none")]));
        for origin in ["http://localhost:3000", "https://evil.example", "null", "file://localhost:7420", ""] {
            assert!(!allowed(&[("origin", origin)]), "{origin}");
        }
        assert!(!allowed(&[("sec-fetch-site", "cross-site")]));
        assert!(!allowed(&[("sec-fetch-site", "same-site"), ("origin", "http://localhost:7420")]));
    }
}
