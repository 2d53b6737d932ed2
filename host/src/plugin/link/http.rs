//! What a plugin may ask of the web: `[[grant.http]]`, and the decision over one request, a pure function of both.

mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use http::Method;
use http::uri::Uri;

pub use self::pattern::{HostName, HostPattern, PathPattern};

/// Outgoing HTTP. What no rule allows is denied; without rules it is not granted at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpGrant {
    /// Where requests may go; the first rule that allows one decides.
    pub rules: Vec<HttpRule>,
    /// How much of it.
    pub limits: HttpLimits,
}

/// One `[[grant.http]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    /// With or without TLS.
    pub scheme: Scheme,
    /// To whom.
    pub host: HostPattern,
    /// To which ports; to the scheme's own when empty.
    pub ports: Vec<u16>,
    /// To do what; never empty.
    pub methods: Vec<Method>,
    /// On which paths; any when absent.
    pub path: Option<PathPattern>,
    /// Private and loopback addresses, too.
    pub private: bool,
    /// Names of secrets that are filled in towards this host.
    pub secrets: Vec<String>,
    /// Where in a request they are filled in.
    pub replace_in: Vec<Place>,
}

/// To no host, over TLS, to read.
impl Default for HttpRule {
    fn default() -> Self {
        Self {
            scheme: Scheme::Https,
            host: HostPattern::default(),
            ports: Vec::new(),
            methods: vec![Method::GET, Method::HEAD],
            path: None,
            private: false,
            secrets: Vec::new(),
            replace_in: vec![Place::Headers],
        }
    }
}

/// How a request is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Values of headers.
    Headers,
    /// The path.
    Path,
    /// What follows the question mark.
    Query,
    /// The body.
    Body,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Headers => "headers",
            Self::Path => "path",
            Self::Query => "query",
            Self::Body => "body",
        })
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let all = [Self::Headers, Self::Path, Self::Query, Self::Body];
        all.into_iter().find(|place| place.to_string() == name).ok_or(())
    }
}

/// `[grant.http_limits]`, for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Requests, refused ones included.
    pub requests: u32,
    /// Requests that wait for their answers at the same time; more wait for their turn.
    pub concurrency: u32,
    /// Bytes of one request's body.
    pub request_bytes: u64,
    /// Bytes of one response's body.
    pub response_bytes: u64,
    /// Time of one request from its sending to the end of its response, in milliseconds; the attempt's deadline comes
    /// first if it is earlier.
    pub timeout_ms: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { requests: 100, concurrency: 4, request_bytes: 1 << 20, response_bytes: 16 << 20, timeout_ms: 30_000 }
    }
}

impl Scheme {
    /// As a URI and a manifest have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port when nobody says.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where a request goes and what it wants there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plugin) struct Target {
    pub(in crate::plugin) scheme: Scheme,
    pub(in crate::plugin) host: HostName,
    pub(in crate::plugin) port: u16,
    pub(in crate::plugin) method: Method,
    pub(in crate::plugin) path: String,
}

impl Target {
    /// Reads a request's head; absent when it does not name a host the way that everybody would read it.
    pub(in crate::plugin) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?;
        // Userinfo, an empty port and the like: the parts have to make up the whole.
        let written = match authority.port() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        };
        if written != authority.as_str() {
            return None;
        }
        let host = HostName::parse(authority.host())?;
        let port = authority.port_u16().unwrap_or(scheme.default_port());
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        Some(Self { scheme, host, port, method: method.clone(), path: path.to_owned() })
    }

    /// The `Host` header: the port only when it is not the usual one.
    pub(in crate::plugin) fn host_header(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// As logs show it: without path and query, which may carry what nobody should read.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}://{}", self.method, self.scheme.name(), self.host_header())
    }
}

/// Why no rule allows a request, and what would; the nearest rule's is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::plugin) enum Refusal {
    /// No rule is for this scheme and host.
    Host,
    /// Rules are, but not for the port.
    Port,
    /// Nor for the method.
    Method,
    /// Nor for the path.
    Path,
}

impl Refusal {
    /// What to change in the manifest of `plugin`.
    pub(in crate::plugin) fn explain(self, target: &Target, plugin: &str) -> String {
        let Target { scheme, host, port, method, path } = target;
        let file = format!("plugins/{plugin}.toml");
        let entry = format!("the [[grant.http]] of host {:?} in {file}", host.to_string());
        match self {
            Self::Host => format!(
                "{target} is not granted: add to {file}: [[grant.http]] scheme = {:?}, host = {:?}, ports = [{port}], \
                 methods = [{:?}]",
                scheme.name(),
                host.to_string(),
                method.as_str(),
            ),
            Self::Port => format!("{target} is not granted: add {port} to `ports` of {entry}"),
            Self::Method => format!("{target} is not granted: add {:?} to `methods` of {entry}", method.as_str()),
            Self::Path => {
                format!("{target} is not granted on the path {:?}: widen `path` of {entry}", clip(path))
            }
        }
    }
}

fn clip(path: &str) -> &str {
    const SHOWN: usize = 128;
    path.get(..path.floor_char_boundary(SHOWN)).unwrap_or(path)
}

/// The rule that allows a request, or what the nearest one does not allow.
pub(in crate::plugin) fn decide<'r>(rules: &'r [HttpRule], target: &Target) -> Result<&'r HttpRule, Refusal> {
    let mut nearest = Refusal::Host;
    for rule in rules {
        match rule.refuses(target) {
            None => return Ok(rule),
            Some(refusal) => nearest = nearest.max(refusal),
        }
    }
    Err(nearest)
}

impl HttpGrant {
    /// Whether anything is granted.
    pub fn is_given(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Names of all secrets that some rule fills in.
    pub(in crate::plugin) fn secrets(&self) -> impl Iterator<Item = &String> {
        self.rules.iter().flat_map(|rule| &rule.secrets)
    }
}

impl HttpRule {
    fn opens(&self, port: u16) -> bool {
        self.ports.contains(&port) || (self.ports.is_empty() && port == self.scheme.default_port())
    }

    fn refuses(&self, target: &Target) -> Option<Refusal> {
        if self.scheme != target.scheme || !self.host.matches(&target.host) {
            Some(Refusal::Host)
        } else if !self.opens(target.port) {
            Some(Refusal::Port)
        } else if !self.methods.contains(&target.method) {
            Some(Refusal::Method)
        } else if self.path.as_ref().is_some_and(|path| !path.matches(&target.path)) {
            Some(Refusal::Path)
        } else {
            None
        }
    }
}
