//! The operator's side of a plugin: `<name>.toml` beside `<name>.wasm`. Without it a plugin has the
//! default limits and no grant. Keys are declared as [`table`] says.

mod effective;
mod grant;
mod limits;
mod origin;
mod place;
mod read;
mod reload;
mod schema;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::task::Digest;

use super::limits::Limits;
use super::link::Grants;
use place::Source;
use table::{Key, Table, Text, Words};

pub use effective::{Effective, Held};
pub use grant::{everything, granted};
pub use origin::{Cap, Origin, Origins};
pub use reload::{Canary, Drain, ReloadPolicy};
pub use schema::schema;

/// Bytes of a manifest at most.
pub const MAX_MANIFEST_BYTES: u64 = 64 * 1024;
/// Settings of one plugin at most.
const MAX_SETTINGS: usize = 256;

/// What the operator says about one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The only component that may be loaded under this name.
    pub sha256: Option<Digest>,
    /// The file with the component's signature, in the same folder; `<name>.wasm.minisig` when absent.
    pub signature: Option<String>,
    /// Its bounds.
    pub limits: Limits,
    /// What it may ask of the host.
    pub grants: Grants,
    /// How a generation takes over from the one before it.
    pub reload: ReloadPolicy,
    /// Its settings.
    pub config: BTreeMap<String, String>,
    /// Where all of that comes from.
    pub origins: Origins,
}

/// A mistake in a manifest, which is then refused as a whole: a half-understood grant would be worse than none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Mistake {
    /// The file's name.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right, on one line.
    pub message: String,
}

/// Everything that is wrong with a manifest, in the order of the file: at least one mistake, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Mistakes {}

const SHA256: Words = Words::Like {
    what: "64 hexadecimal digits, as `sha256sum` prints them",
    pattern: "^[0-9A-Fa-f]{64}$",
    fits: |text| parse_digest(text).is_some(),
};

const SIGNATURE: Words = Words::Like {
    what: "the name of a file in the plugins folder, such as \"cut.wasm.minisig\", without a path and not hidden",
    pattern: r"^[^./\x00-\x1f][^/\x00-\x1f]*$",
    fits: is_file_name,
};

fn is_file_name(text: &str) -> bool {
    const MAX_BYTES: usize = 255;
    (1..=MAX_BYTES).contains(&text.len())
        && !text.starts_with('.')
        && !text.contains(['/', '\\'])
        && !text.contains(char::is_control)
}

/// The file with the signature of `<name>.wasm`, as its manifest has it.
pub fn signature_file(name: &str, manifest: Option<&[u8]>) -> String {
    manifest.and_then(named_signature).unwrap_or_else(|| usual_signature(name))
}

/// Where a signature is when nobody says.
pub fn usual_signature(name: &str) -> String {
    format!("{name}.wasm.minisig")
}

/// The file that a manifest names as the signature, if it does; the rest of the manifest may be wrong.
pub fn named_signature(manifest: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(manifest).ok()?;
    let root = toml::de::DeTable::parse(text).ok()?;
    let named = root.get_ref().get("signature")?.get_ref().as_str().filter(|name| is_file_name(name))?;
    Some(named.to_owned())
}

impl Table for Manifest {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { sha256, signature, limits, grants, reload, config, origins: _ } = self;
        vec![
            Key::text("sha256", sha256, &SHA256, "SHA-256 of the only component that may be loaded under this name."),
            Key::text(
                "signature",
                signature,
                &SIGNATURE,
                "The file with the component's signature, in the same folder. NAME.wasm.minisig when it is not said.",
            ),
            Key::table("limits", limits, "What one attempt may use."),
            Key::table("grant", grants, "What the plugin may ask of the host. Nothing, unless it is said here."),
            Key::table("reload", reload, "How the plugin is replaced."),
            Key::free("config", config, MAX_SETTINGS, "Settings that the plugin reads as text."),
        ]
    }
}

impl Text for Option<Digest> {
    fn get(&self) -> Option<String> {
        self.map(|digest| digest.to_string())
    }

    fn set(&mut self, value: &str) {
        *self = parse_digest(value);
    }
}

impl Manifest {
    /// Reads a manifest; `file` is what messages call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        let mut manifest = Self::default();
        let origins = read::read(Source { file, text }, &mut manifest).map_err(Mistakes)?;
        Ok(Self { origins, ..manifest })
    }

    /// Reads a manifest's bytes.
    pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Self, Mistakes> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(file, text),
            Err(error) => {
                let text = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                let message = "this is not UTF-8 text".to_owned();
                Err(Mistakes(vec![Source { file, text }.at(text.len(), message)]))
            }
        }
    }

    /// Lowers what is above the host's own bounds.
    pub fn cap(&mut self, caps: &[Cap]) {
        let mut origins = std::mem::take(&mut self.origins);
        origins.cap(self, caps);
        self.origins = origins;
    }

    /// What holds, and where it comes from; `file` is what the manifest is called.
    pub fn effective(&self, file: &str) -> Effective {
        Effective::of(self, file)
    }
}

fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Digest(digest))
}
