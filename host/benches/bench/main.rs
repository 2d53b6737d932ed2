//! Measures the host's parts: `cargo bench --bench bench -- [--json] [NAME]...`
//!
//! Without names, everything runs but what takes minutes. One file a bench; each adds rows to the [`report::Report`].

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod cancel;
mod child;
mod churn;
mod cut;
mod guest;
mod idle;
mod intake;
mod languages;
mod latency;
mod limits;
mod live;
mod pipeline;
mod recovery;
mod reload;
mod report;
mod responsiveness;
mod rig;
mod scale;
mod schedules;
mod store;
mod wire;

use report::Report;

/// Measures something and reports it.
type Bench = fn(&mut Report);

/// Benches by name, in the order of their runs.
const BENCHES: &[(&str, Bench)] = &[
    ("store", store::store),
    ("intake", intake::run),
    ("guest", guest::run),
    ("pipeline", pipeline::run),
    ("latency", latency::run),
    ("schedules", schedules::run),
    ("limits", limits::run),
    ("cut", cut::run),
    ("cancel", cancel::run),
    ("idle", idle::run),
    ("recovery", recovery::run),
    ("spin", responsiveness::run),
    ("reload", reload::run),
    ("scale", scale::run),
    ("languages", languages::run),
];

/// Those that take minutes: they only run by name.
const LONG: &[(&str, Bench)] = &[("churn", churn::run)];

fn main() -> std::io::Result<()> {
    let mut names = Vec::new();
    let mut json = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            // Cargo adds this one.
            "--bench" => {}
            name if BENCHES.iter().chain(LONG).any(|(bench, _)| *bench == name) => names.push(argument),
            unknown => {
                let known: Vec<_> = BENCHES.iter().chain(LONG).map(|(bench, _)| *bench).collect();
                return Err(std::io::Error::other(format!("no bench `{unknown}`: there are {}", known.join(", "))));
            }
        }
    }
    let mut report = Report::new(json);
    for (name, bench) in BENCHES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            bench(&mut report);
        }
    }
    for (name, bench) in LONG {
        if names.iter().any(|wanted| wanted == name) {
            bench(&mut report);
        }
    }
    report.finish()
}
