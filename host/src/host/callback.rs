//! Tokens of callbacks: what the outside shows to prove that the host told it of an attempt.
//!
//! A token is the attempt's number and an HMAC-SHA-256 over task and attempt, with a key that lies in the data directory and
//! that only the host may read. Nothing is kept for each: they survive restarts, and are worth nothing for another attempt.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::api::CallbackTokens;
use crate::mac::{self, Key, Tag};
use crate::plugin::ports::CallbackPort;
use crate::task::{TaskId, text};

/// What else might be signed with the key has another first word.
const DOMAIN: &[u8] = b"taskhost callback 1\0";
/// Bytes of a token at most: a number of 32 bits, a dot, 64 digits.
const MAX_TOKEN_BYTES: usize = 10 + 1 + 64;

/// Makes and checks tokens.
pub(super) struct Callbacks {
    key: Key,
    /// Under which address the outside reaches the host, without a slash at the end.
    public_url: Option<String>,
}

impl Callbacks {
    /// With the key in this file, which is made when it is missing.
    pub(super) fn open(key_file: &Path, public_url: &str) -> io::Result<Self> {
        let public_url = (!public_url.is_empty()).then(|| public_url.trim_end_matches('/').to_owned());
        Ok(Self { key: key(key_file)?, public_url })
    }

    fn tag(&self, task: TaskId, attempt: u32) -> Tag {
        mac::tag(&self.key, &[DOMAIN, &task.as_u128().to_be_bytes(), &attempt.to_be_bytes()])
    }
}

/// The key is nobody's business.
impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callbacks").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

impl CallbackPort for Callbacks {
    fn token(&self, task: TaskId, attempt: u32) -> String {
        format!("{attempt}.{}", text::encode_hex(&self.tag(task, attempt)))
    }

    fn url(&self, task: TaskId) -> Option<String> {
        self.public_url.as_ref().map(|base| format!("{base}/v1/tasks/{task}/callback"))
    }
}

impl CallbackTokens for Callbacks {
    fn attempt(&self, task: TaskId, token: &str) -> Option<u32> {
        let (attempt, tag) = token.split_once('.').filter(|_| token.len() <= MAX_TOKEN_BYTES)?;
        let attempt = attempt.parse().ok()?;
        let tag = text::decode_hex(tag)?.try_into().ok()?;
        mac::equal(&tag, &self.tag(task, attempt)).then_some(attempt)
    }
}

/// The key, durable before anything is signed with it.
fn key(path: &Path) -> io::Result<Key> {
    match fs::read(path) {
        Ok(bytes) => {
            return Key::try_from(bytes).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is no key: remove it, and callbacks under way are refused",
                )
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = Key::default();
    // Each is 122 bits of the system's randomness.
    key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_attempt_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("callback.key");
        let callbacks = Callbacks::open(&file, "https://tasks.example/").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let (task, other) = (TaskId::from_u128(7), TaskId::from_u128(8));
        let token = callbacks.token(task, 3);
        let again = Callbacks::open(&file, "").unwrap();
        assert_eq!(again.attempt(task, &token), Some(3));
        assert_eq!(again.attempt(other, &token), None);
        let (_, tag) = token.split_once('.').unwrap();
        let mut wrong = vec![String::new(), ".".to_owned(), "3".to_owned(), tag.to_owned(), format!("4.{tag}")];
        wrong.extend([format!("3.{}", &tag[1..]), format!("3.{tag}0"), format!("3. {tag}"), format!("-3.{tag}")]);
        wrong.push(format!("3.{}", tag.to_ascii_uppercase()));
        for token in wrong {
            assert_eq!(again.attempt(task, &token), None, "{token}");
        }
        assert_eq!(callbacks.url(task), Some(format!("https://tasks.example/v1/tasks/{task}/callback")));
        assert_eq!(again.url(task), None);
    }

    #[test]
    fn another_key_knows_no_token_of_ours_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| Callbacks::open(&dir.path().join(name), "").unwrap());
        let task = TaskId::from_u128(7);
        assert_eq!(two.attempt(task, &one.token(task, 1)), None);
        fs::write(dir.path().join("one"), "short").unwrap();
        assert!(Callbacks::open(&dir.path().join("one"), "").is_err());
    }
}
