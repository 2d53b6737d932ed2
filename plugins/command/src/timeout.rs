//! A duration as a task writes it: `"30s"` or a number of milliseconds, as in manifests.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// How long a command may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Duration);

struct TimeoutVisitor;

impl Visitor<'_> for TimeoutVisitor {
    type Value = Timeout;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"30s\" (ms, s, m, h, d) or a number of milliseconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timeout, E> {
        let wrong = || E::invalid_value(Unexpected::Str(text), &self);
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit_ms: u64 = match text[end..].trim_start() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..end].parse().map_err(|_| wrong())?;
        number.checked_mul(unit_ms).map(|ms| Timeout(Duration::from_millis(ms))).ok_or_else(wrong)
    }

    fn visit_u64<E: Error>(self, ms: u64) -> Result<Timeout, E> {
        Ok(Timeout(Duration::from_millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeoutVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let read = |json: &str| serde_json::from_str::<Timeout>(json).map(|timeout| timeout.0.as_millis()).ok();
        assert_eq!(read("\"30s\""), Some(30_000));
        assert_eq!(read("\"2 h\""), Some(7_200_000));
        assert_eq!(read("1500"), Some(1_500));
        for wrong in ["\"\"", "\"30\"", "\"s\"", "\"-1s\"", "\"99999999999999999999d\"", "-1", "1.5", "\"1.5s\"", "[]"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
