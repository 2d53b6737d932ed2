//! Writes the effective configuration with the origin of each value.

use std::fmt;

use super::key::{KEYS, quote};
use super::mistake::Place;
use super::source::Loaded;
use super::unit::show_millis;
use crate::schedule::{Action, ScheduleSpec};

/// Column of the origins, so that they stand below each other.
const ORIGIN_COLUMN: usize = 40;

impl fmt::Display for Loaded {
    /// A configuration file that would give the same configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut config = self.config.clone();
        let mut section = "";
        for key in KEYS {
            let (name_of_section, name) = key.split();
            if name_of_section != section {
                section = name_of_section;
                writeln!(f, "\n[{section}]")?;
            }
            let origin = self.origins.get(key.name).unwrap_or(&Place::Default);
            let line = format!("{name} = {}", key.show(&mut config));
            writeln!(f, "{line:<ORIGIN_COLUMN$} # {origin}")?;
        }
        for schedule in &self.config.schedules {
            let origin = self.schedules.get(&schedule.name).unwrap_or(&Place::Default);
            writeln!(f, "\n{:<ORIGIN_COLUMN$} # {origin}", "[[schedule]]")?;
            show_schedule(f, schedule)?;
        }
        for (name, origin) in &self.schedules {
            if !self.config.schedules.iter().any(|schedule| schedule.name == *name) {
                writeln!(f, "\n{:<ORIGIN_COLUMN$} # {origin}", "[[schedule]]")?;
                writeln!(f, "name = {}\nenabled = false", quote(name))?;
            }
        }
        Ok(())
    }
}

fn show_schedule(f: &mut fmt::Formatter<'_>, schedule: &ScheduleSpec) -> fmt::Result {
    writeln!(f, "name = {}\nevery = {}", quote(&schedule.name), quote(&show_millis(schedule.every_ms)))?;
    match &schedule.action {
        Action::Dispatch { plugin, batch, capacity } => {
            writeln!(f, "dispatch = {}\nbatch = {batch}\ncapacity = {capacity}", quote(plugin))
        }
        Action::Enqueue { kind, input } => {
            writeln!(f, "enqueue = {}", quote(kind))?;
            // The file has a table here; every input was one, so reading it back cannot fail.
            match serde_json::from_str::<toml::Value>(input) {
                Ok(table) => writeln!(f, "input = {table}"),
                Err(_) => writeln!(f, "# input: {input}"),
            }
        }
    }
}
