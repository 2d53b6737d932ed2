//! Makes keys and signatures that minisign understands, and reads keys that minisign made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{ErrorKind, KeyPair, PError, SecretKeyBox};

use super::{KeyId, TrustedKey};

/// Bytes of a key file at most.
pub const MAX_KEY_BYTES: u64 = 4 * 1024;

/// A pair of keys, as the texts of two files.
#[derive(Clone)]
pub struct NewKeys {
    /// For whoever signs, and nobody else.
    pub secret: String,
    /// For everybody.
    pub public: String,
    /// The line of `public` that a configuration names: `RW…`.
    pub line: String,
    /// The number of both.
    pub id: KeyId,
}

impl std::fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The file is something else.
    #[error("this is not a secret key of minisign: {0}")]
    NotAKey(String),
    /// It is encrypted.
    #[error("the secret key is encrypted, and its password was not given")]
    NoPassword,
    /// It is encrypted with another one.
    #[error("the password does not open the secret key")]
    WrongPassword,
    /// The library or the operating system failed.
    #[error("cannot make a key or a signature: {0}")]
    Failed(String),
}

/// Makes a pair of keys. Without a password the secret one is not encrypted. With one, that takes 32 MiB of memory
/// and a moment; to open one that minisign itself has encrypted takes a gigabyte and seconds.
pub fn generate(password: Option<&str>) -> Result<NewKeys, SignError> {
    let failed = |error: PError| SignError::Failed(error.to_string());
    let KeyPair { pk, sk } = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
        None => KeyPair::generate_unencrypted_keypair(),
    }
    .map_err(failed)?;
    let line = pk.to_base64();
    let id = TrustedKey::parse(&line).map_err(SignError::Failed)?.id();
    let public = format!("untrusted comment: minisign public key {id}\n{line}\n");
    let secret = sk.to_box(Some("minisign secret key")).map_err(failed)?.into_string();
    Ok(NewKeys { secret, public, line, id })
}

/// Whether the text of a secret key asks for a password.
pub fn is_encrypted(secret: &str) -> Result<bool, SignError> {
    let line = secret.lines().nth(1).unwrap_or_default().trim();
    let bytes = STANDARD.decode(line).unwrap_or_default();
    match bytes.get(..4) {
        Some([b'E', b'd', 0, 0]) => Ok(false),
        Some([b'E', b'd', b'S', b'c']) => Ok(true),
        _ => Err(SignError::NotAKey("its second line has to begin with `RW` and to be base64".to_owned())),
    }
}

/// Signs a component; `comment` becomes the trusted comment. The answer is the text of a signature file.
pub fn sign(secret: &str, password: Option<&str>, component: &[u8], comment: &str) -> Result<String, SignError> {
    let encrypted = is_encrypted(secret)?;
    let held = SecretKeyBox::from_string(secret).map_err(|error| SignError::NotAKey(error.to_string()))?;
    let key = match (encrypted, password) {
        (false, _) => held.into_unencrypted_secret_key(),
        (true, Some(password)) => held.into_secret_key(Some(password.to_owned())),
        (true, None) => return Err(SignError::NoPassword),
    };
    let key = key.map_err(|error| {
        if encrypted && matches!(error.kind(), ErrorKind::Verify) {
            SignError::WrongPassword
        } else {
            SignError::NotAKey(error.to_string())
        }
    })?;
    let untrusted = "signature from taskhost, for minisign";
    let signed = minisign::sign(None, &key, component, Some(comment), Some(untrusted));
    signed.map(minisign::SignatureBox::into_string).map_err(|error| SignError::Failed(error.to_string()))
}
