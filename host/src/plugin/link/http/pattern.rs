//! Names of hosts, and patterns of hosts and paths.

use std::fmt;
use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use crate::plugin::names::expression_error;

/// Bytes of a host's name at most (RFC 1035).
const MAX_NAME_BYTES: usize = 253;
/// Bytes of one label of it.
const MAX_LABEL_BYTES: usize = 63;
/// Bytes of a pattern.
const MAX_PATTERN_BYTES: usize = 1024;
/// Bytes of a compiled expression.
const MAX_REGEX_BYTES: usize = 256 * 1024;

/// A host as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// A name in small letters.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl HostName {
    /// Reads a host of a URI: a name of letters, digits, dashes and underscores, or an address. What resolvers take for an
    /// address in another spelling (`127.1`, `2130706433`, `0x7f.0.0.1`) is none.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse().ok().map(|v6| Self::Address(IpAddr::V6(v6)));
        }
        if let Ok(v4) = text.parse() {
            return Some(Self::Address(IpAddr::V4(v4)));
        }
        let fits = |label: &str| {
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let is_name = text.len() <= MAX_NAME_BYTES && text.split('.').all(fits) && !ends_in_number(text);
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

/// No top-level domain is a number.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Which hosts a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This one.
    Exact(HostName),
    /// All names below this one, but not the name itself.
    Below(String),
}

/// Of no host.
impl Default for HostPattern {
    fn default() -> Self {
        Self::Exact(HostName::Name(String::new()))
    }
}

impl HostPattern {
    /// Reads `api.example.com`, `*.example.com`, `192.0.2.1` or `[::1]`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(domain) = text.strip_prefix("*.") {
            return match HostName::parse(domain)? {
                HostName::Name(name) => Some(Self::Below(name)),
                HostName::Address(_) => None,
            };
        }
        let bare_v6 = text.parse().ok().filter(IpAddr::is_ipv6).map(HostName::Address);
        bare_v6.or_else(|| HostName::parse(text)).map(Self::Exact)
    }

    pub(super) fn matches(&self, host: &HostName) -> bool {
        match (self, host) {
            (Self::Exact(wanted), host) => wanted == host,
            (Self::Below(domain), HostName::Name(name)) => {
                name.strip_suffix(domain.as_str()).is_some_and(|left| left.len() > 1 && left.ends_with('.'))
            }
            (Self::Below(_), HostName::Address(_)) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// Which paths a rule is for.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This path and all below it: `/v1` allows `/v1` and `/v1/x`, not `/v10`.
    Below(String),
    /// Paths that match from their beginning; what was written, and its expression.
    Matching(String, Regex),
}

impl PathPattern {
    /// Reads a path, or a regular expression that begins with `^`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("a path has at most {MAX_PATTERN_BYTES} bytes"));
        }
        if let Some(expression) = text.strip_prefix('^') {
            let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).build();
            // By itself first: neither `a|b` nor `a)|(b` may slip out of the anchor.
            let regex = build(expression).and_then(|_alone| build(&format!("\\A(?:{expression})")));
            return regex.map(|regex| Self::Matching(text.to_owned(), regex)).map_err(|error| expression_error(&error));
        }
        if !text.starts_with('/') || !is_plain(text) {
            return Err("a path begins with `/` and has no `..`; a regular expression begins with `^`".to_owned());
        }
        Ok(Self::Below(text.to_owned()))
    }

    /// Whether a request's path is among them. One that a server may read as another path is not.
    pub(super) fn matches(&self, path: &str) -> bool {
        is_plain(path)
            && match self {
                Self::Below(root) => path
                    .strip_prefix(root.as_str())
                    .is_some_and(|rest| rest.is_empty() || root.ends_with('/') || rest.starts_with('/')),
                Self::Matching(_, regex) => regex.is_match(path),
            }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Below(text) | Self::Matching(text, _) => text,
        }
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for PathPattern {}

/// Without segments `.` and `..`, also when they, or what parts them, are written in percent, and when a parameter
/// follows (`..;x`), which some servers leave away.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let decoded = lower.replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace("%3b", ";");
    let names = decoded.split(['/', '\\']).map(|segment| segment.split(';').next().unwrap_or(segment));
    names.into_iter().all(|name| name != "." && name != "..")
}
