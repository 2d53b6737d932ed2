//! One plugin by itself, without a folder that is watched: for an author who tries it.

use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use super::engine::Sandbox;
use super::link::TaskCheck;
use super::ports::Ports;
use super::registry::generation::Generation;
use super::registry::load;
use super::reload::folder;
use super::{InputError, Settings};

/// A sandbox with one plugin in it.
#[derive(Debug)]
pub struct Alone {
    sandbox: Arc<Sandbox>,
    generation: Arc<Generation>,
}

impl Alone {
    /// Loads `<name>.wasm` with the manifest beside it, as a host would. Compiled code is looked for, and kept, in
    /// `settings.cache_dir`; `settings.dir` is not touched.
    pub async fn load(settings: &Settings, path: &Path, ports: Ports) -> Result<Self, String> {
        let (owned, max_bytes) = (path.to_owned(), settings.max_component_bytes);
        let candidate = tokio::task::spawn_blocking(move || folder::read_once(&owned, max_bytes))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let sandbox = Sandbox::start(settings, ports).map_err(|error| error.to_string())?;
        let own = Arc::new(Own::default());
        let now = crate::time::now();
        let checks = Arc::clone(&own) as Arc<dyn TaskCheck>;
        let loaded = load::load(&sandbox, candidate, checks, &|_| {}, now).await;
        let generation = Arc::new(loaded.map_err(|error| error.to_string())?);
        // Nobody else has it, so nothing is there yet.
        let _first = own.0.set(Arc::downgrade(&generation));
        Ok(Self { sandbox, generation })
    }

    /// The plugin.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Whether it would take a task of this kind with this input.
    pub fn check_input(&self, kind: &str, input: &str) -> Result<(), InputError> {
        let known = || self.generation.kinds().map(|kind| kind.name.clone()).collect();
        let checked = self.generation.check_input(kind, input);
        checked.unwrap_or_else(|| Err(InputError::UnknownKind { kind: kind.to_owned(), known: known() }))
    }

    /// Ends whatever still runs.
    pub fn stop(&self) {
        self.sandbox.stop();
    }
}

/// Other plugins are not there, so tasks for them are taken as they are; the plugin's own kinds are checked.
#[derive(Default)]
struct Own(OnceLock<Weak<Generation>>);

impl TaskCheck for Own {
    fn check(&self, kind: &str, input: &str) -> Result<(), InputError> {
        let own = self.0.get().and_then(Weak::upgrade);
        own.and_then(|own| own.check_input(kind, input)).unwrap_or(Ok(()))
    }
}
