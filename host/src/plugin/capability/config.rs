//! `taskhost:host/config`: the operator's settings for the plugin, and what stands for its secrets.

use crate::plugin::contract::config::Host;
use crate::plugin::guest::Guest;

/// What a key begins with that asks for a secret.
const SECRET: &str = "secret.";

impl Host for Guest {
    fn get(&mut self, key: String) -> Option<String> {
        if self.describing() {
            return None;
        }
        if let Some(secret) = key.strip_prefix(SECRET) {
            return self.placeholder(secret);
        }
        self.code.config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        if self.describing() { Vec::new() } else { self.code.config.clone() }
    }
}
