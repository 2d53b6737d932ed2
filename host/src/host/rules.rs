//! What the configuration says about every plugin.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::config::{Config, Plugins};
use crate::plugin::Rules;
use crate::plugin::manifest::Cap;
use crate::plugin::signature::{MAX_KEY_BYTES, Trust, TrustedKey};

/// No plugin gets more than the host as a whole has, and signatures are compared with the trusted keys, which may be
/// in files. The error says which key cannot be used, and why.
pub fn plugin_rules(config: &Config) -> Result<Rules, String> {
    let caps = vec![
        Cap { key: "limits.memory", at_most: config.plugins.memory_total_bytes, by: "plugins.memory_total" },
        Cap { key: "limits.concurrency", at_most: u64::from(config.runner.concurrency), by: "runner.concurrency" },
        Cap { key: "limits.log_bytes", at_most: config.log.task_log_bytes, by: "log.task_log" },
    ];
    Ok(Rules { caps, trust: trust(&config.plugins)? })
}

fn trust(plugins: &Plugins) -> Result<Trust, String> {
    let mut keys: Vec<TrustedKey> = Vec::with_capacity(plugins.trusted_keys.len());
    for said in &plugins.trusted_keys {
        let key = TrustedKey::parse(said).or_else(|mistake| {
            // What may be a path is one.
            if said.contains('/') || Path::new(said).extension().is_some() { read(said) } else { Err(mistake) }
        });
        let key = key.map_err(|mistake| format!("`plugins.trusted_keys`: {said}: {mistake}"))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(Trust { keys, required: plugins.require_signature })
}

fn read(path: &str) -> Result<TrustedKey, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY_BYTES).read_to_string(&mut text));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    TrustedKey::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::signature::generate;

    #[test]
    fn trusted_keys_are_texts_or_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("release.pub");
        let keys = generate(None).unwrap();
        std::fs::write(&file, &keys.public).unwrap();
        let mut config = Config::default();
        config.plugins.trusted_keys = vec![keys.line, file.to_str().unwrap().to_owned()];
        config.plugins.require_signature = true;
        let trust = plugin_rules(&config).unwrap().trust;
        assert_eq!((trust.keys.len(), trust.keys[0].id(), trust.required), (1, keys.id, true));
        std::fs::write(&file, "untrusted comment: a\nRWnothing\n").unwrap();
        assert!(plugin_rules(&config).unwrap_err().contains("release.pub: this is not a public key"));
        std::fs::remove_file(&file).unwrap();
        assert!(plugin_rules(&config).unwrap_err().contains("release.pub: cannot be read"));
    }
}
