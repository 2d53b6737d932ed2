//! A value that nobody may see: neither in a log nor in a message nor in a debugger's print.

mod censor;

use std::fmt;
use std::sync::Arc;

pub use self::censor::{Censor, in_percent};

/// Bytes of one secret at most.
pub const MAX_SECRET_BYTES: usize = 8 * 1024;
/// Bytes of one secret at least: what is shorter is guessed, and would be found by chance in whatever is shown.
pub const MIN_SECRET_BYTES: usize = 8;

/// Text that only its addressee may read.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret, if it has a usable length; the end of its last line is not part of it, as files have one.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        if text.len() < MIN_SECRET_BYTES {
            return Err(format!("the secret has fewer than {MIN_SECRET_BYTES} bytes"));
        }
        if text.len() > MAX_SECRET_BYTES {
            return Err(format!("the secret has {} bytes, more than {MAX_SECRET_BYTES}", text.len()));
        }
        Ok(Self(text.into()))
    }

    /// The text, for where it is sent and for finding it in what must not show it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether this is a name of a secret: capital letters, digits and underscores, a letter first, at most 64.
pub fn is_valid_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::{MAX_SECRET_BYTES, Secret, is_valid_name};

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2hunter2\r\n").unwrap();
        assert_eq!(secret.expose(), "hunter2hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(…) Some(Secret(…))");
    }

    #[test]
    fn a_secret_of_no_use_is_refused_without_showing_it() {
        assert!(Secret::new("").is_err() && Secret::new("\n").is_err());
        assert!(!Secret::new("hunter2").unwrap_err().contains("hunter"));
        let long = "x".repeat(MAX_SECRET_BYTES + 1);
        assert!(!Secret::new(&long).unwrap_err().contains("xx"));
    }

    #[test]
    fn names_are_those_of_variables() {
        assert!(is_valid_name("API_KEY2"));
        for name in ["", "api", "2API", "_A", "A-B", &"A".repeat(65)] {
            assert!(!is_valid_name(name), "{name}");
        }
    }
}
