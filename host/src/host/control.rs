//! Changes of plugins, lent to the API.

use std::sync::Arc;

use async_trait::async_trait;

use crate::api::PluginControl;
use crate::plugin::{Condition, Disobeyed, History, Obeyed, Plugins, Upload};

/// Changes of plugins as the API asks for them.
pub(super) struct Control {
    pub(super) plugins: Arc<Plugins>,
    pub(super) max_component_bytes: u64,
}

#[async_trait]
impl PluginControl for Control {
    async fn put(&self, name: &str, upload: Upload, condition: Condition) -> Result<Obeyed, Disobeyed> {
        self.plugins.put(name, upload, condition).await
    }

    async fn remove(&self, name: &str, condition: Condition) -> Result<Obeyed, Disobeyed> {
        self.plugins.remove(name, condition).await
    }

    async fn roll_back(&self, name: &str, condition: Condition) -> Result<Obeyed, Disobeyed> {
        self.plugins.roll_back(name, condition).await
    }

    fn history(&self, name: &str) -> Option<History> {
        self.plugins.history(name)
    }

    fn max_component_bytes(&self) -> u64 {
        self.max_component_bytes
    }
}
