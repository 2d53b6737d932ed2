//! What was measured, as a table for people or one JSON object a line.

use std::io::{self, Write};

/// Collects rows; prints each as it comes.
pub(crate) struct Report {
    json: bool,
    /// The first failure to print.
    printed: io::Result<()>,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, printed: Ok(()) }
    }

    /// Adds a measurement; `ratio` sets it against another one of the same run, by name.
    pub(crate) fn add(&mut self, bench: &str, metric: &str, value: f64, unit: &str, ratio: Option<(f64, &str)>) {
        let line =
            if self.json { json(bench, metric, value, unit, ratio) } else { row(bench, metric, value, unit, ratio) };
        if self.printed.is_ok() {
            self.printed = writeln!(io::stdout(), "{line}");
        }
    }

    /// Whether everything could be printed.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.printed
    }
}

fn json(bench: &str, metric: &str, value: f64, unit: &str, ratio: Option<(f64, &str)>) -> String {
    let mut object = serde_json::json!({ "bench": bench, "metric": metric, "value": value, "unit": unit });
    if let Some((ratio, against)) = ratio {
        object["ratio"] = ratio.into();
        object["against"] = against.into();
    }
    object.to_string()
}

fn row(bench: &str, metric: &str, value: f64, unit: &str, ratio: Option<(f64, &str)>) -> String {
    let number = if value < 100.0 { format!("{value:.3}") } else { format!("{value:.0}") };
    let ratio = ratio.map(|(ratio, against)| format!("  {ratio:.2} x {against}")).unwrap_or_default();
    format!("{bench:<10} {metric:<36} {number:>12} {unit:<10}{ratio}")
}
