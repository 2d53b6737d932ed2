//! Who vouches for a component: minisign signatures, checked before anything of it is compiled.
//!
//! Signed are the component's bytes. The trusted comment, which is signed too, may say what they are
//! as `plugin:NAME`, `version:VERSION` and `sha256:DIGEST`, between blanks or tabs; then all of that has
//! to be true. So a signature for one plugin cannot be used for another one.

mod sign;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{Error, PublicKey, Signature};

use crate::task::Digest;

pub use sign::{MAX_KEY_BYTES, NewKeys, SignError, generate, is_encrypted, sign};

/// Bytes of a signature file at most.
pub const MAX_SIGNATURE_BYTES: u64 = 4 * 1024;

/// The number of a key, which tells keys apart for people and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(u64);

/// A key that the operator trusts.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    id: KeyId,
    key: PublicKey,
}

/// Which signatures count.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Whose signatures are believed.
    pub keys: Vec<TrustedKey>,
    /// Whether a component without one is refused.
    pub required: bool,
}

/// Who signed a component, and what they said it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The trusted key.
    pub key: KeyId,
    /// What was signed together with the component.
    pub comment: String,
    /// Its version, if the comment tells it.
    version: Option<String>,
}

/// What a signature is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The plugin's name.
    pub name: &'a str,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// The component.
    pub component: &'a [u8],
}

/// Why a component is not believed to be what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none, and there has to be.
    #[error(
        "{name}.wasm is not signed, and the host requires it (`plugins.require_signature`): sign it with `taskhost plugin sign {name}.wasm --key KEY` and put {file} beside it"
    )]
    Missing {
        /// The plugin.
        name: String,
        /// The file that was looked for.
        file: String,
    },
    /// The manifest names a file that is not there.
    #[error(
        "the manifest says that the signature is in {file}, which is not there: put it beside the component, or remove the key `signature`"
    )]
    NotThere {
        /// The file that was looked for.
        file: String,
    },
    /// It is no signature.
    #[error("{file} is not a signature of minisign: {reason}; sign the component again")]
    Malformed {
        /// The signature file.
        file: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Whoever signed is not trusted here.
    #[error(
        "{file} is by the key {key}, which the host does not trust; {trusted}: add its public key to `plugins.trusted_keys`, or have the component signed by a key that is there"
    )]
    UnknownKey {
        /// The signature file.
        file: String,
        /// Who signed.
        key: KeyId,
        /// Who is trusted, in words.
        trusted: String,
    },
    /// The component or the signature was changed, or they do not belong together.
    #[error(
        "{file} does not fit {name}.wasm (sha256 {digest}): one of them was changed, or the signature is for another file; restore both, or sign this component"
    )]
    OtherBytes {
        /// The signature file.
        file: String,
        /// The plugin.
        name: String,
        /// SHA-256 of the component.
        digest: Digest,
    },
    /// It was made for something else.
    #[error("{file} was made for the {what} {signed:?}, and this is {found:?}: sign the component as what it is")]
    OtherSubject {
        /// The signature file.
        file: String,
        /// `plugin`, `version` or `sha256`.
        what: &'static str,
        /// What was signed.
        signed: String,
        /// What there is.
        found: String,
    },
}

impl fmt::Display for KeyId {
    /// As minisign writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl KeyId {
    /// Two bytes name the algorithm, the next eight are the number of the key.
    fn of(line: &str) -> Option<Self> {
        let bytes = STANDARD.decode(line).ok()?;
        Some(Self(u64::from_le_bytes(bytes.get(2..10)?.try_into().ok()?)))
    }
}

impl TrustedKey {
    /// Reads a public key: `RW…`, or the text of a file that minisign wrote.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = text.trim().lines().last().unwrap_or_default().trim();
        let wrong = "this is not a public key of minisign, which begins with `RW` and has 56 characters";
        let key = PublicKey::from_base64(line).map_err(|_| wrong.to_owned())?;
        let id = KeyId::of(line).ok_or_else(|| wrong.to_owned())?;
        Ok(Self { id, key })
    }

    /// Its number.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl PartialEq for TrustedKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for TrustedKey {}

impl Signed {
    /// Compares what was signed with what the plugin says of itself.
    pub fn check_version(&self, file: &str, version: &str) -> Result<(), SignatureError> {
        same(file, "version", self.version.as_deref(), &one_word(version))
    }
}

impl Trust {
    /// Who signed a component. A signature that is there has to be good, whether it is required or not.
    /// `file` is what the signature is called, `signature` its bytes.
    pub fn verify(
        &self,
        subject: Subject<'_>,
        file: &str,
        signature: Option<&[u8]>,
    ) -> Result<Option<Signed>, SignatureError> {
        match signature {
            Some(bytes) => self.check(subject, file, bytes).map(Some),
            None if self.required => {
                Err(SignatureError::Missing { name: subject.name.to_owned(), file: file.to_owned() })
            }
            None => Ok(None),
        }
    }

    fn check(&self, subject: Subject<'_>, file: &str, bytes: &[u8]) -> Result<Signed, SignatureError> {
        let malformed = |reason| SignatureError::Malformed { file: file.to_owned(), reason };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
        let signature = Signature::decode(text).map_err(|error| malformed(reason(&error)))?;
        let second = text.lines().nth(1).unwrap_or_default();
        let key = KeyId::of(second).ok_or_else(|| malformed("its second line is not base64"))?;
        // Numbers are not unique: any key of that number may be the one.
        let candidates: Vec<_> = self.keys.iter().filter(|trusted| trusted.id == key).collect();
        if candidates.is_empty() {
            return Err(SignatureError::UnknownKey { file: file.to_owned(), key, trusted: self.trusted() });
        }
        if !candidates.iter().any(|trusted| trusted.key.verify(subject.component, &signature, true).is_ok()) {
            let (name, digest) = (subject.name.to_owned(), subject.digest);
            return Err(SignatureError::OtherBytes { file: file.to_owned(), name, digest });
        }
        let comment = signature.trusted_comment().to_owned();
        same(file, "plugin", claim(&comment, "plugin"), subject.name)?;
        same(file, "sha256", claim(&comment, "sha256"), &subject.digest.to_string())?;
        let version = claim(&comment, "version").map(str::to_owned);
        Ok(Signed { key, comment, version })
    }

    fn trusted(&self) -> String {
        if self.keys.is_empty() {
            return "it trusts none".to_owned();
        }
        let ids: Vec<_> = self.keys.iter().map(|trusted| trusted.id.to_string()).collect();
        format!("it trusts {}", ids.join(", "))
    }
}

/// What a trusted comment says that the component is.
pub fn comment(name: &str, version: &str, digest: Digest) -> String {
    format!("plugin:{name}\tversion:{}\tsha256:{digest}", one_word(version))
}

/// A version without blanks, which would end it in a comment.
fn one_word(version: &str) -> String {
    version.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

fn claim<'a>(comment: &'a str, what: &str) -> Option<&'a str> {
    comment.split_whitespace().find_map(|word| word.strip_prefix(what)?.strip_prefix(':'))
}

fn same(file: &str, what: &'static str, signed: Option<&str>, found: &str) -> Result<(), SignatureError> {
    match signed {
        Some(signed) if signed != found => {
            let (signed, found) = (signed.to_owned(), found.to_owned());
            Err(SignatureError::OtherSubject { file: file.to_owned(), what, signed, found })
        }
        _ => Ok(()),
    }
}

fn reason(error: &Error) -> &'static str {
    if matches!(error, Error::UnsupportedAlgorithm) {
        "its algorithm is not known here"
    } else {
        "it has to have four lines, the second and the fourth in base64"
    }
}
