//! What is in a component, told without compiling or running any of it.

mod sections;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use wit_component::{OutputToString, WitPrinter};
use wit_parser::PackageId;
use wit_parser::decoding::{DecodedWasm, decode};

use crate::task::Digest;

use super::Rules;
use super::link::{self, binary};
use super::manifest::{Effective, granted, named_signature};
use super::registry::load;
use super::reload::folder;
use super::signature::Signed;
pub use sections::{Contents, Memory, Producer, Section};

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The plugin's name, by its file.
    pub name: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Size of the file, in bytes.
    pub size_bytes: u64,
    /// What it asks of the host, in the order of the file.
    pub imports: Vec<Import>,
    /// What it offers, in the order of the file.
    pub exports: Vec<String>,
    /// What the host would use it as.
    pub roles: Vec<&'static str>,
    /// Its sections and what they tell.
    pub contents: Contents,
    /// Its world as WIT, or why it cannot be told.
    pub wit: Result<String, String>,
    /// Who signed it, or why nobody is believed to; nothing when there is no signature and none is needed.
    pub signature: Result<Option<Signed>, String>,
    /// What the manifest beside it says and where the rest comes from, or its mistakes, one a line.
    pub effective: Result<Effective, String>,
}

/// An import and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The interface or function.
    pub name: String,
    /// The capability that has to be granted for it, if any.
    pub capability: Option<&'static str>,
    /// Whether the manifest grants it; true where nothing has to be granted.
    pub granted: bool,
}

/// Looks into `<name>.wasm`, of at most `max_bytes`, and into its manifest and signature.
pub fn inspect_file(rules: &Rules, path: &Path, max_bytes: u64) -> Result<Inspection, String> {
    let candidate = folder::read_once(path, max_bytes).map_err(|error| error.to_string())?;
    binary::check(&candidate.component).map_err(|error| error.to_string())?;
    let binary = as_binary(&candidate.component)?;
    let contents = Contents::of(&binary)?;
    // Whoever made these bytes may have looked for a flaw of the decoder: that costs this answer only.
    let guarded = |look: &dyn Fn() -> Result<String, String>| {
        catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|_| Err("the decoder failed on this file".to_owned()))
    };
    let wit = guarded(&|| world(&binary));
    let source = &candidate.source;
    let named = source.manifest.as_deref().is_some_and(|manifest| named_signature(manifest).is_some());
    let signature = load::signed(&rules.trust, &candidate.name, (source, named), &candidate.component);
    let signature = signature.map_err(|error| error.to_string());
    let manifest = load::manifest(&candidate.name, source, rules);
    let grants = manifest.as_ref().map(|manifest| granted(&manifest.grants)).unwrap_or_default();
    let import = |name: &String| {
        let capability = link::capability(name);
        let granted = capability.is_none_or(|capability| grants.iter().any(|grant| grant == capability));
        Import { name: name.clone(), capability, granted }
    };
    Ok(Inspection {
        name: candidate.name.clone(),
        digest: source.digest,
        size_bytes: candidate.component.len() as u64,
        imports: contents.imports.iter().map(import).collect(),
        roles: link::roles_of(&contents.exports),
        exports: contents.exports.clone(),
        contents,
        wit,
        signature,
        effective: manifest.map(|manifest| manifest.effective(&format!("{}.toml", candidate.name))),
    })
}

/// Text as the binary that it stands for.
fn as_binary(component: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    wat::parse_bytes(component).map_err(|error| format!("not a valid component: {error}"))
}

/// The world of a component and the interfaces that it uses, as WIT.
fn world(binary: &[u8]) -> Result<String, String> {
    let decoded = decode(binary).map_err(|error| format!("{error:#}"))?;
    let DecodedWasm::Component(resolve, world) = &decoded else {
        return Err("it is a WIT package, not a component".to_owned());
    };
    let main = resolve.worlds[*world].package.ok_or("its world belongs to no package")?;
    let others: Vec<PackageId> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::new(OutputToString::default());
    printer.print(resolve, main, &others).map_err(|error| format!("{error:#}"))?;
    Ok(printer.output.to_string())
}
