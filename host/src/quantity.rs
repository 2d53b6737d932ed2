//! Sizes and durations as people write them, in the configuration and in manifests: `64MiB`, `30s`.

/// Units of size, largest first, in bytes.
const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// Units of time, largest first, in milliseconds.
const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a size such as `64MiB` into bytes. The error says what would be right.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    parse(text, &SIZES).ok_or_else(|| {
        // Decimal units would make `1MB` and `1MiB` differ by five percent without anybody noticing.
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let hint = match text[digits.len()..].trim_end_matches(['B', 'b']) {
            unit @ ("k" | "K" | "M" | "G" | "T") if is_digits(digits) => {
                format!("; did you mean `{digits}{}iB`?", unit.to_uppercase())
            }
            _ => String::new(),
        };
        format!("a size is a whole number with B, KiB, MiB, GiB or TiB, such as `64MiB`, or an integer of bytes{hint}")
    })
}

/// Parses a duration such as `30s` into milliseconds. The error says what would be right.
pub fn parse_millis(text: &str) -> Result<u64, String> {
    parse(text, &DURATIONS).ok_or_else(|| {
        "a duration is a whole number with ms, s, m, h or d, such as `30s`, or an integer of milliseconds".to_owned()
    })
}

/// Writes bytes in the largest unit that is exact.
pub fn show_bytes(bytes: u64) -> String {
    show(bytes, &SIZES)
}

/// Writes milliseconds in the largest unit that is exact.
pub fn show_millis(millis: u64) -> String {
    show(millis, &DURATIONS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ');
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .or(units.last())
        .map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{parse_bytes, parse_millis, show_bytes, show_millis};

    #[test]
    fn sizes_and_durations_are_exact_and_read_back() {
        for (text, bytes) in [("0B", 0), ("17B", 17), ("256KiB", 262_144), ("64MiB", 67_108_864), ("2TiB", 2 << 40)] {
            assert_eq!(parse_bytes(text), Ok(bytes));
            assert_eq!(show_bytes(bytes), text);
        }
        for (text, millis) in [("0ms", 0), ("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("7d", 604_800_000)] {
            assert_eq!(parse_millis(text), Ok(millis));
            assert_eq!(show_millis(millis), text);
        }
        assert_eq!(show_millis(90_000), "90s");
        assert_eq!((parse_bytes("64 MiB"), parse_millis("30 s")), (Ok(64 << 20), Ok(30_000)));
    }

    #[test]
    fn what_is_not_a_size_or_a_duration_is_told_what_would_be() {
        for text in ["", "MiB", "64", "1.5GiB", "-1B", "64mib", "99999999TiB", "64MiBé"] {
            assert!(parse_bytes(text).unwrap_err().contains("such as `64MiB`"), "{text}");
        }
        assert!(parse_bytes("64MB").unwrap_err().ends_with("did you mean `64MiB`?"));
        assert!(parse_bytes("64k").unwrap_err().ends_with("did you mean `64KiB`?"));
        for text in ["", "s", "30", "1h30m", "30S", "1w", "999999999999999999d"] {
            assert!(parse_millis(text).unwrap_err().contains("such as `30s`"), "{text}");
        }
    }
}
