//! Would this file load? Tried in a sandbox of its own whose capabilities all answer that they are
//! not there, so that nothing happens outside.

pub(super) mod absent;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use wasmtime::component::Component;

use crate::task::Digest;

use super::engine::Sandbox;
use super::limits::Limits;
use super::link::TaskCheck;
use super::registry::generation::Generation;
use super::registry::load;
use super::reload::folder;
use super::{GenerationInfo, InputError, Settings};

/// Imports that are told.
const MAX_IMPORTS: usize = 256;

/// What a file would be if it lay in the plugins folder.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The plugin's name.
    pub name: String,
    /// SHA-256 of the component, as a manifest would pin it.
    pub digest: Digest,
    /// Size of the component, in bytes.
    pub size_bytes: u64,
    /// Its version, roles, kinds and grants.
    pub info: GenerationInfo,
    /// The interfaces that it imports, in the order of the file.
    pub imports: Vec<String>,
    /// Capabilities that are granted but not imported.
    pub unused_grants: Vec<String>,
    /// Its bounds.
    pub limits: Limits,
}

/// Checks `<name>.wasm` and the manifest beside it under the host's own settings (`settings.dir` is
/// not touched); every mistake that can be told apart is in the error.
pub async fn check_file(settings: &Settings, path: &Path) -> Result<CheckReport, Vec<String>> {
    let one = |message: String| vec![message];
    let (owned, max_bytes) = (path.to_owned(), settings.max_component_bytes);
    let candidate = tokio::task::spawn_blocking(move || folder::read_once(&owned, max_bytes))
        .await
        .map_err(|error| one(error.to_string()))?
        .map_err(|error| one(error.to_string()))?;
    let settings = Settings { threads: 1, max_instances: settings.max_instances.min(4), ..settings.clone() };
    let sandbox = Sandbox::start(&settings, absent::ports()).map_err(|error| one(error.to_string()))?;
    let report = check(&sandbox, candidate).await;
    sandbox.stop();
    report
}

async fn check(sandbox: &Arc<Sandbox>, candidate: load::Candidate) -> Result<CheckReport, Vec<String>> {
    let load::Candidate { name, component, source, canary: _ } = candidate;
    let (digest, size_bytes) = (source.digest, component.len() as u64);
    let named = load::check_name(&name);
    let manifest = load::manifest(&name, &source);
    let compiled = sandbox.code(source.digest, component, &|_| {}).await.map_err(|error| error.to_string());
    let (manifest, compiled) = match (named, manifest, compiled) {
        (Ok(()), Ok(manifest), Ok(compiled)) => (manifest, compiled),
        (named, manifest, compiled) => {
            return Err([named.err(), manifest.err(), compiled.err()].into_iter().flatten().collect());
        }
    };
    let imports = imports(&compiled.0.component);
    let now = crate::time::now();
    let loaded = load::finish(sandbox, compiled, (name.clone(), source, manifest), Arc::new(NoTasks), now).await;
    let generation: Generation = loaded.map_err(|error| vec![error.to_string()])?;
    let info = generation.info();
    let used = |grant: &String| imports.iter().any(|import| capability(import) == Some(grant));
    let unused_grants = info.grants.iter().filter(|grant| !used(grant)).cloned().collect();
    Ok(CheckReport { name, digest, size_bytes, info, imports, unused_grants, limits: generation.limits().clone() })
}

fn imports(component: &Component) -> Vec<String> {
    let shape = component.component_type();
    shape.imports(component.engine()).map(|(name, _)| name.to_owned()).take(MAX_IMPORTS).collect()
}

/// `state` of `taskhost:host/state@0.1.0`.
fn capability(import: &str) -> Option<&str> {
    let interface = import.strip_prefix("taskhost:")?.split_once('/')?.1;
    Some(interface.split_once('@').map_or(interface, |(name, _)| name))
}

struct NoTasks;

impl TaskCheck for NoTasks {
    fn check(&self, kind: &str, _input: &str) -> Result<(), InputError> {
        Err(InputError::UnknownKind { kind: kind.to_owned(), known: Vec::new() })
    }
}
