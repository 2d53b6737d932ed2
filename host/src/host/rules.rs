//! What the configuration says about every plugin.

use crate::config::Config;
use crate::plugin::Rules;
use crate::plugin::manifest::Cap;

/// No plugin gets more than the host as a whole has.
pub fn plugin_rules(config: &Config) -> Rules {
    let caps = vec![
        Cap { key: "limits.memory", at_most: config.plugins.memory_total_bytes, by: "plugins.memory_total" },
        Cap { key: "limits.concurrency", at_most: u64::from(config.runner.concurrency), by: "runner.concurrency" },
        Cap { key: "limits.log_bytes", at_most: config.log.task_log_bytes, by: "log.task_log" },
    ];
    Rules { caps }
}
