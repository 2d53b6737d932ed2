//! `taskhost:host/config`: the operator's settings for the plugin.

use crate::plugin::contract::config::Host;
use crate::plugin::guest::Guest;

impl Host for Guest {
    fn get(&mut self, key: String) -> Option<String> {
        if self.describing() {
            return None;
        }
        self.code.config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        if self.describing() { Vec::new() } else { self.code.config.clone() }
    }
}
