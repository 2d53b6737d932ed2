//! Writes the effective configuration with the origin of each value.

use std::fmt;

use super::key::{KEYS, quote};
use super::mistake::Place;
use super::preset;
use super::source::Loaded;
use crate::limit::{LimitRule, Rate};
use crate::quantity::show_millis;
use crate::schedule::{Action, CatchUp, Overlap, ScheduleSpec, Trigger};

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
        for (name, preset) in &self.config.ffmpeg.presets {
            let origin = self.presets.get(name).unwrap_or(&Place::Default);
            writeln!(f, "\n{:<ORIGIN_COLUMN$} # {origin}", format!("[ffmpeg.presets.{name}]"))?;
            preset::show(f, preset)?;
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
        for rule in &self.config.limits {
            let origin = self.limits.get(&rule.name).unwrap_or(&Place::Default);
            writeln!(f, "\n{:<ORIGIN_COLUMN$} # {origin}", "[[limit]]")?;
            show_limit(f, rule)?;
        }
        if let Some(fairness) = &self.config.fairness {
            let origin = self.origins.get("fairness").unwrap_or(&Place::Default);
            writeln!(f, "\n{:<ORIGIN_COLUMN$} # {origin}", "[fairness]")?;
            writeln!(f, "key = {}", quote(&fairness.key.to_string()))?;
            let weights = fairness.weights.iter().map(|(group, weight)| format!("{} = {weight}", quote(group)));
            writeln!(f, "weights = {{ {} }}", weights.collect::<Vec<_>>().join(", "))?;
        }
        if !self.secrets.is_empty() {
            writeln!(f, "\n[secrets]")?;
        }
        for (name, (keeper, origin)) in &self.secrets {
            let line = format!("{name} = {}", keeper.show());
            writeln!(f, "{line:<ORIGIN_COLUMN$} # {origin}")?;
        }
        Ok(())
    }
}

fn show_limit(f: &mut fmt::Formatter<'_>, rule: &LimitRule) -> fmt::Result {
    writeln!(f, "name = {}", quote(&rule.name))?;
    for (field, names) in [("queues", &rule.queues), ("kinds", &rule.kinds)] {
        if !names.is_empty() {
            let names: Vec<_> = names.iter().map(|name| quote(name)).collect();
            writeln!(f, "{field} = [{}]", names.join(", "))?;
        }
    }
    if let Some(key) = &rule.key {
        writeln!(f, "key = {}", quote(&key.to_string()))?;
    }
    if let Some(concurrency) = rule.concurrency {
        writeln!(f, "concurrency = {concurrency}")?;
    }
    if let Some(Rate { tasks, per_ms, burst }) = rule.rate {
        writeln!(f, "rate = {{ tasks = {tasks}, per = {}, burst = {burst} }}", quote(&show_millis(per_ms)))?;
    }
    Ok(())
}

fn show_schedule(f: &mut fmt::Formatter<'_>, schedule: &ScheduleSpec) -> fmt::Result {
    writeln!(f, "name = {}", quote(&schedule.name))?;
    show_trigger(f, &schedule.trigger)?;
    show_policy(f, schedule)?;
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

fn show_trigger(f: &mut fmt::Formatter<'_>, trigger: &Trigger) -> fmt::Result {
    match trigger {
        Trigger::Interval { every_ms, phase_ms } => {
            writeln!(f, "every = {}", quote(&show_millis(*every_ms)))?;
            if *phase_ms > 0 {
                writeln!(f, "phase = {}", quote(&show_millis(*phase_ms)))?;
            }
            Ok(())
        }
        Trigger::Cron { expression, zone, dst } => {
            writeln!(f, "cron = {}\nzone = {}", quote(expression), quote(zone))?;
            let (gap, overlap) = (quote(dst.gap.name()), quote(dst.overlap.name()));
            writeln!(f, "dst = {{ gap = {gap}, overlap = {overlap} }}")
        }
        Trigger::Instants(instants) => {
            let instants: Vec<_> = instants.iter().map(|instant| quote(&instant.to_string())).collect();
            writeln!(f, "at = [{}]", instants.join(", "))
        }
    }
}

/// What differs from a schedule of which nothing is said.
fn show_policy(f: &mut fmt::Formatter<'_>, schedule: &ScheduleSpec) -> fmt::Result {
    if schedule.overlap != schedule.action.default_overlap() {
        writeln!(f, "overlap = {}", quote(schedule.overlap.name()))?;
        if let Overlap::QueueAll(cap) = schedule.overlap {
            writeln!(f, "overlap_cap = {cap}")?;
        }
    }
    if schedule.catch_up != CatchUp::default() {
        writeln!(f, "catch_up = {}", quote(schedule.catch_up.name()))?;
        match schedule.catch_up {
            CatchUp::All(cap) => writeln!(f, "catch_up_cap = {cap}")?,
            CatchUp::Window(window_ms) => writeln!(f, "catch_up_window = {}", quote(&show_millis(window_ms)))?,
            CatchUp::Skip | CatchUp::Latest => {}
        }
    }
    if schedule.jitter_ms > 0 {
        writeln!(f, "jitter = {}", quote(&show_millis(schedule.jitter_ms)))?;
    }
    for (name, instant) in [("start", schedule.start), ("end", schedule.end)] {
        if let Some(instant) = instant {
            writeln!(f, "{name} = {}", quote(&instant.to_string()))?;
        }
    }
    if let Some(max) = schedule.max_fires {
        writeln!(f, "max_fires = {max}")?;
    }
    if let Some(bound) = schedule.pause_on_failure {
        writeln!(f, "pause_on_failure = {bound}")?;
    }
    Ok(())
}
