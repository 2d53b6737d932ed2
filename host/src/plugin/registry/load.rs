//! From the bytes of a component and its manifest to a generation. Nothing of it is visible to
//! anybody until it is adopted.

use std::sync::Arc;

use crate::plugin::compile::{Effort, Stage};
use crate::plugin::engine::{Compiled, Sandbox};
use crate::plugin::link::{LinkRequest, LoadError, TaskCheck};
use crate::plugin::manifest::{Canary, Manifest};
use crate::plugin::signature::{SignatureError, Signed, Subject, Trust};
use crate::plugin::{Rules, names};
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
    let manifest = manifest(&name, &source, &sandbox.rules)?;
    let (component, signed) = vouched(sandbox, &name, (&source, &manifest), component).await?;
    let code = sandbox.code(source.digest, component, on_stage).await?;
    on_stage(Stage::Checking);
    let (compiled, request) = (code.0.clone(), request(&name, source.digest, &manifest));
    let canaries: Vec<Canary> = manifest.reload.canary().into_iter().chain(canary).collect();
    let generation = finish(sandbox, code, Checked { name, source, manifest, signed }, Arc::clone(&tasks), now).await?;
    for canary in &canaries {
        on_stage(Stage::Canary);
        let subject = (&generation, Arc::clone(&tasks));
        canary::rehearse(sandbox, (compiled.clone(), request.clone()), subject, canary, now).await?;
    }
    Ok(generation)
}

fn request(name: &str, digest: Digest, manifest: &Manifest) -> LinkRequest {
    let Manifest { limits, grants, config, .. } = manifest.clone();
    let config = config.into_iter().collect();
    LinkRequest { name: name.to_owned(), digest, limits, grants, config }
}

/// A candidate of which everything is known but what it says of itself.
pub(in crate::plugin) struct Checked {
    pub(in crate::plugin) name: String,
    pub(in crate::plugin) source: Source,
    pub(in crate::plugin) manifest: Manifest,
    pub(in crate::plugin) signed: Option<Signed>,
}

/// Who signed a candidate; off the runtime's threads, since the whole component is hashed.
pub(in crate::plugin) async fn vouched(
    sandbox: &Arc<Sandbox>,
    name: &str,
    (source, manifest): (&Source, &Manifest),
    component: Arc<[u8]>,
) -> Result<(Arc<[u8]>, Option<Signed>), String> {
    let (on, name, source, named) =
        (Arc::clone(sandbox), name.to_owned(), source.clone(), manifest.signature.is_some());
    let verify = move || {
        let signed = signed(&on.rules.trust, &name, (&source, named), &component);
        signed.map(|signed| (component, signed))
    };
    let verified = tokio::task::spawn_blocking(verify).await;
    verified.map_err(|error| format!("checking the signature failed: {error}"))?.map_err(|error| error.to_string())
}

/// Who signed a component. A signature that the manifest names has to be there.
pub(in crate::plugin) fn signed(
    trust: &Trust,
    name: &str,
    (source, named): (&Source, bool),
    component: &[u8],
) -> Result<Option<Signed>, SignatureError> {
    if named && source.signature.is_none() {
        return Err(SignatureError::NotThere { file: source.signature_file.clone() });
    }
    let subject = Subject { name, digest: source.digest, component };
    trust.verify(subject, &source.signature_file, source.signature.as_deref())
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
    checked: Checked,
    tasks: Arc<dyn TaskCheck>,
    now: Timestamp,
) -> Result<Generation, NotLoaded> {
    let Checked { name: plugin, source, manifest, signed } = checked;
    let effective = Arc::new(manifest.effective(&format!("{plugin}.toml")));
    let request = request(&plugin, source.digest, &manifest);
    let Manifest { limits, grants, reload, .. } = manifest;
    let (on, checks) = (Arc::clone(sandbox), Arc::clone(&tasks));
    let linked = tokio::task::spawn_blocking(move || on.link(&compiled, request, checks))
        .await
        .map_err(|error| format!("the linker failed on this file: {error}"))??;
    let descriptor = linked.describe().await?;
    if let Some(signed) = &signed {
        let checked = signed.check_version(&source.signature_file, &descriptor.version);
        checked.map_err(|error| error.to_string())?;
    }
    linked.validate_config().await?;
    let roles = linked.roles().to_vec();
    let loaded_at = now;
    let parts = Parts {
        plugin,
        source,
        signed,
        descriptor,
        roles,
        limits,
        grants,
        effective,
        linked,
        tasks,
        reload,
        loaded_at,
        effort,
    };
    Ok(Generation::new(parts)?)
}
