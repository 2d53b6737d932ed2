//! Would this file load? Tried in a sandbox of its own whose capabilities all answer that they are
//! not there, so that nothing happens outside.

pub(crate) mod absent;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use wasmtime::component::Component;

use crate::task::Digest;

use super::engine::Sandbox;
use super::link::{self, LinkRequest, TaskCheck};
use super::manifest::{everything, named_signature};
use super::registry::generation::Generation;
use super::registry::load::{self, Candidate, Checked};
use super::reload::folder;
use super::{GenerationInfo, InputError, Settings};

/// Imports that are told.
const MAX_IMPORTS: usize = 256;

/// What a file would be if it lay in the plugins folder.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The plugin's name.
    pub name: String,
    /// Size of the component, in bytes.
    pub size_bytes: u64,
    /// Its digest, version, roles, kinds, limits and grants, and who signed it.
    pub info: GenerationInfo,
    /// What it imports, in the order of the file, each with the capability that it takes.
    pub imports: Vec<(String, Option<&'static str>)>,
    /// Capabilities that are granted but not imported.
    pub unused_grants: Vec<String>,
}

/// A component and what it says of itself.
#[derive(Clone, Debug)]
pub struct Described {
    /// The plugin's name, by its file.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// The component.
    pub component: Vec<u8>,
    /// The file beside it in which a host looks for its signature.
    pub signature_file: String,
}

/// Checks `<name>.wasm` and what lies beside it under the host's own settings (`settings.dir` is
/// not touched); every mistake that can be told apart is in the error.
pub async fn check_file(settings: &Settings, path: &Path) -> Result<CheckReport, Vec<String>> {
    let (sandbox, candidate) = prepare(settings, path).await?;
    let report = check(&sandbox, candidate).await;
    sandbox.stop();
    report
}

/// Asks `<name>.wasm` what it is, whatever its manifest grants: nothing that it could ask for is there.
pub async fn describe_file(settings: &Settings, path: &Path) -> Result<Described, Vec<String>> {
    let (sandbox, candidate) = prepare(settings, path).await?;
    let described = describe(&sandbox, candidate).await;
    sandbox.stop();
    described.map_err(|mistake| vec![mistake])
}

async fn prepare(settings: &Settings, path: &Path) -> Result<(Arc<Sandbox>, Candidate), Vec<String>> {
    let one = |message: String| vec![message];
    let (owned, max_bytes) = (path.to_owned(), settings.max_component_bytes);
    let candidate = tokio::task::spawn_blocking(move || folder::read_once(&owned, max_bytes))
        .await
        .map_err(|error| one(error.to_string()))?
        .map_err(|error| one(error.to_string()))?;
    let settings = Settings { threads: 1, max_instances: settings.max_instances.min(4), ..settings.clone() };
    let sandbox = Sandbox::start(&settings, absent::ports()).map_err(|error| one(error.to_string()))?;
    Ok((sandbox, candidate))
}

async fn check(sandbox: &Arc<Sandbox>, candidate: Candidate) -> Result<CheckReport, Vec<String>> {
    let Candidate { name, component, source, canary: _ } = candidate;
    let size_bytes = component.len() as u64;
    let named = load::check_name(&name);
    let manifest = load::manifest(&name, &source, &sandbox.rules);
    // A manifest that is wrong elsewhere may still say where the signature is.
    let names_signature = source.manifest.as_deref().is_some_and(|manifest| named_signature(manifest).is_some());
    let signed = load::signed(&sandbox.rules.trust, &name, (&source, names_signature), &component);
    let signed = signed.map_err(|error| error.to_string());
    let compiled = sandbox.code(source.digest, component, &|_| {}).await.map_err(|error| error.to_string());
    let refused = match (&manifest, &compiled) {
        (Ok(manifest), Ok((compiled, _))) => link::refused(&compiled.component, &name, &manifest.grants),
        _ => Vec::new(),
    };
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    let (manifest, signed, compiled) = match (named, manifest, signed, compiled) {
        (Ok(()), Ok(manifest), Ok(signed), Ok(compiled)) if refused.is_empty() => (manifest, signed, compiled),
        (named, manifest, signed, compiled) => {
            // Of a manifest all mistakes are told, a line each.
            let manifest = manifest.err().unwrap_or_default();
            let manifest = manifest.lines().map(str::to_owned);
            let others = [signed.err(), compiled.err()].into_iter().flatten();
            return Err(named.err().into_iter().chain(manifest).chain(others).chain(refused).collect());
        }
    };
    let imports = imports(&compiled.0.component);
    let checked = Checked { name: name.clone(), source, manifest, signed };
    let loaded = load::finish(sandbox, compiled, checked, Arc::new(NoTasks), crate::time::now()).await;
    let generation: Generation = loaded.map_err(|error| vec![error.to_string()])?;
    let info = generation.info();
    let used = |grant: &String| imports.iter().any(|(_, capability)| *capability == Some(grant.as_str()));
    let unused_grants = info.grants.iter().filter(|grant| !used(grant)).cloned().collect();
    Ok(CheckReport { name, size_bytes, info, imports, unused_grants })
}

async fn describe(sandbox: &Arc<Sandbox>, candidate: Candidate) -> Result<Described, String> {
    let Candidate { name, component, source, canary: _ } = candidate;
    load::check_name(&name)?;
    folder::check_unclaimed(&name, &source.signature_file)?;
    let code = sandbox.code(source.digest, component.clone(), &|_| {}).await;
    let (compiled, _) = code.map_err(|error| error.to_string())?;
    let (digest, limits) = (source.digest, super::limits::Limits::default());
    let request = LinkRequest { name: name.clone(), digest, limits, grants: everything(), config: Vec::new() };
    let linked = sandbox.link(&compiled, request, Arc::new(NoTasks)).map_err(|error| error.to_string())?;
    let descriptor = linked.describe().await.map_err(|error| error.to_string())?;
    let (version, signature_file) = (descriptor.version, source.signature_file);
    Ok(Described { name, version, digest, component: component.to_vec(), signature_file })
}

fn imports(component: &Component) -> Vec<(String, Option<&'static str>)> {
    let shape = component.component_type();
    let names = shape.imports(component.engine()).map(|(name, _)| (name.to_owned(), link::capability(name)));
    names.take(MAX_IMPORTS).collect()
}

struct NoTasks;

impl TaskCheck for NoTasks {
    fn check(&self, kind: &str, _input: &str) -> Result<(), InputError> {
        Err(InputError::UnknownKind { kind: kind.to_owned(), known: Vec::new() })
    }
}
