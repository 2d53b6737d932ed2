//! From the bytes of a component and its manifest to a generation. Nothing of it is visible to
//! anybody until it is adopted.

use std::sync::Arc;

use crate::plugin::compile::{Effort, Stage};
use crate::plugin::engine::{Compiled, Sandbox};
use crate::plugin::link::{LinkRequest, LoadError, TaskCheck};
use crate::plugin::manifest::{Canary, Manifest};
use crate::plugin::names;
use crate::task::Digest;
use crate::time::Timestamp;

use super::canary;
use super::generation::{Generation, Parts, Source};

/// What was found in the folder under one name.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Candidate {
    pub(in crate::plugin) name: String,
    pub(in crate::plugin) component: Arc<[u8]>,
    pub(in crate::plugin) source: Source,
    /// A task that it has to do first, besides the one in its manifest.
    pub(in crate::plugin) canary: Option<Canary>,
}

/// Why a candidate is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::plugin) enum NotLoaded {
    /// It has to change first.
    #[error("{0}")]
    Unfit(String),
    /// It may be loaded later as it is.
    #[error("{0}")]
    Busy(String),
}

impl From<String> for NotLoaded {
    fn from(reason: String) -> Self {
        Self::Unfit(reason)
    }
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> Self {
        if matches!(error, LoadError::Busy(_)) { Self::Busy(error.to_string()) } else { Self::Unfit(error.to_string()) }
    }
}

/// Why a name cannot be a plugin's.
pub fn check_name(name: &str) -> Result<(), String> {
    if names::is_plugin(name) {
        return Ok(());
    }
    let lower = name.to_lowercase().replace(['_', '.', ' '], "-");
    let hint = if names::is_plugin(&lower) { format!("; rename it to {lower}.wasm") } else { String::new() };
    Err(format!("{name:?} is not a plugin name: 1 to 64 of a-z, 0-9 and -, not starting with a dash{hint}"))
}

/// Compiles, links and questions a candidate. `tasks` decides what its guests may create, and
/// `on_stage` hears how far it is.
pub(in crate::plugin) async fn load(
    sandbox: &Arc<Sandbox>,
    candidate: Candidate,
    tasks: Arc<dyn TaskCheck>,
    on_stage: &(dyn Fn(Stage) + Sync),
    now: Timestamp,
) -> Result<Generation, NotLoaded> {
    let Candidate { name, component, source, canary } = candidate;
    check_name(&name)?;
    let manifest = manifest(&name, &source)?;
    let code = sandbox.code(source.digest, component, on_stage).await?;
    on_stage(Stage::Checking);
    let (compiled, request) = (code.0.clone(), request(&name, source.digest, &manifest));
    let canaries: Vec<Canary> = manifest.reload.canary.iter().cloned().chain(canary).collect();
    let generation = finish(sandbox, code, (name, source, manifest), Arc::clone(&tasks), now).await?;
    for canary in &canaries {
        on_stage(Stage::Canary);
        let subject = (&generation, Arc::clone(&tasks));
        canary::rehearse(sandbox, (compiled.clone(), request.clone()), subject, canary, now).await?;
    }
    Ok(generation)
}

fn request(name: &str, digest: Digest, manifest: &Manifest) -> LinkRequest {
    let Manifest { limits, grants, config, .. } = manifest.clone();
    LinkRequest { name: name.to_owned(), digest, limits, grants, config }
}

/// The candidate's manifest, or the defaults; a pin must fit.
pub(in crate::plugin) fn manifest(name: &str, source: &Source) -> Result<Manifest, String> {
    let Some(bytes) = &source.manifest else { return Ok(Manifest::default()) };
    let file = format!("{name}.toml");
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("{file} is not UTF-8 text: byte {} is invalid", error.valid_up_to()))?;
    let manifest = Manifest::parse(&file, text).map_err(|error| error.to_string())?;
    match manifest.sha256 {
        Some(pin) if pin != source.digest => Err(format!(
            "the sha256 of {name}.wasm is {}, but {file} pins {pin}: restore the file or update the pin",
            source.digest
        )),
        _ => Ok(manifest),
    }
}

/// Links what was compiled, off the runtime's threads too, and asks the guest about itself, under tight limits.
pub(in crate::plugin) async fn finish(
    sandbox: &Arc<Sandbox>,
    (compiled, effort): (Compiled, Effort),
    (plugin, source, manifest): (String, Source, Manifest),
    tasks: Arc<dyn TaskCheck>,
    now: Timestamp,
) -> Result<Generation, NotLoaded> {
    let request = request(&plugin, source.digest, &manifest);
    let Manifest { limits, grants, reload, .. } = manifest;
    let (on, checks) = (Arc::clone(sandbox), Arc::clone(&tasks));
    let linked = tokio::task::spawn_blocking(move || on.link(&compiled, request, checks))
        .await
        .map_err(|error| format!("the linker failed on this file: {error}"))??;
    let descriptor = linked.describe().await?;
    linked.validate_config().await?;
    let roles = linked.roles().to_vec();
    let loaded_at = now;
    Ok(Generation::new(Parts {
        plugin,
        source,
        descriptor,
        roles,
        limits,
        grants,
        linked,
        tasks,
        reload,
        loaded_at,
        effort,
    })?)
}
