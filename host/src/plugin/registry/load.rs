//! From the bytes of a component and its manifest to a generation. Nothing of it is visible to
//! anybody until it is adopted.

use std::sync::Arc;

use crate::plugin::compile::{Effort, Stage};
use crate::plugin::engine::{Compiled, Sandbox};
use crate::plugin::link::{LinkRequest, LoadError, TaskCheck};
use crate::plugin::manifest::Manifest;
use crate::plugin::{Rules, names};
use crate::time::Timestamp;

use super::generation::{Generation, Parts, Source};

/// What was found in the folder under one name.
pub(in crate::plugin) struct Candidate {
    pub(in crate::plugin) name: String,
    pub(in crate::plugin) component: Vec<u8>,
    pub(in crate::plugin) source: Source,
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
pub(in crate::plugin) fn check_name(name: &str) -> Result<(), String> {
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
    let Candidate { name, component, source } = candidate;
    check_name(&name)?;
    let manifest = manifest(&name, &source, &sandbox.rules)?;
    let code = sandbox.code(source.digest, component, on_stage).await?;
    on_stage(Stage::Checking);
    finish(sandbox, code, (name, source, manifest), tasks, now).await
}

/// The candidate's manifest, or the defaults, within what the host allows; a pin must fit.
pub(in crate::plugin) fn manifest(name: &str, source: &Source, rules: &Rules) -> Result<Manifest, String> {
    let file = format!("{name}.toml");
    let mut manifest = match &source.manifest {
        Some(bytes) => Manifest::parse_bytes(&file, bytes).map_err(|mistakes| mistakes.to_string())?,
        None => Manifest::default(),
    };
    manifest.cap(&rules.caps);
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
    let effective = Arc::new(manifest.effective(&format!("{plugin}.toml")));
    let Manifest { limits, grants, config, sha256: _, origins: _ } = manifest;
    let (digest, config) = (source.digest, config.into_iter().collect());
    let request = LinkRequest { name: plugin.clone(), digest, limits: limits.clone(), grants: grants.clone(), config };
    let (on, checks) = (Arc::clone(sandbox), Arc::clone(&tasks));
    let linked = tokio::task::spawn_blocking(move || on.link(&compiled, request, checks))
        .await
        .map_err(|error| format!("the linker failed on this file: {error}"))??;
    let descriptor = linked.describe().await?;
    linked.validate_config().await?;
    let roles = linked.roles().to_vec();
    let loaded_at = now;
    let parts =
        Parts { plugin, source, descriptor, roles, limits, grants, effective, linked, tasks, loaded_at, effort };
    Ok(Generation::new(parts)?)
}
