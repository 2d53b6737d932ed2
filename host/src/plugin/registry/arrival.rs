//! A candidate on its way.

use crate::plugin::Loading;
use crate::plugin::compile::Stage;
use crate::task::Digest;
use crate::time::now;

use super::Registry;

/// Shows a candidate as loading for as long as it exists.
pub(super) struct Arrival<'a> {
    registry: &'a Registry,
    name: &'a str,
    digest: Digest,
}

impl<'a> Arrival<'a> {
    pub(super) fn new(registry: &'a Registry, name: &'a str, digest: Digest) -> Self {
        Self { registry, name, digest }
    }

    /// It has got to a stage.
    pub(super) fn at(&self, stage: Stage) {
        let Self { registry, name, digest } = *self;
        match stage {
            Stage::Compiling => tracing::info!(plugin = name, %digest, "compiling a plugin"),
            Stage::Queued | Stage::Checking | Stage::Canary => {
                tracing::debug!(plugin = name, stage = stage.name(), "loading a plugin");
            }
        }
        registry.book().arrive(name, Loading { digest, stage, since: now() });
        registry.bump();
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.registry.book().arrived(self.name, self.digest);
        self.registry.bump();
    }
}
