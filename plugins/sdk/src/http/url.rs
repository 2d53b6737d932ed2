//! The parts of a URL that a request needs.

use super::Error;

/// `https://host:port/path?query`, without what follows a `#`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) tls: bool,
    pub(super) authority: &'a str,
    rest: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Error> {
        let wrong = || Error::Invalid(format!("{text:?} is not a URL such as \"https://example.com/path\""));
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(wrong());
        }
        Ok(Self { tls, authority, rest })
    }

    /// Begins with a slash.
    pub(super) fn path_with_query(&self) -> String {
        if self.rest.starts_with('/') { self.rest.to_owned() } else { format!("/{}", self.rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn a_url_has_a_scheme_a_host_and_a_path() {
        for (text, tls, authority, path) in [
            ("https://a.test", true, "a.test", "/"),
            ("HTTP://a.test:80/x/y?z#f", false, "a.test:80", "/x/y?z"),
            ("http://[::1]:8080?q=1", false, "[::1]:8080", "/?q=1"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.tls, url.authority, url.path_with_query().as_str()), (tls, authority, path), "{text}");
        }
        for text in ["", "a.test", "ftp://a.test/", "http:///x", "https://"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
