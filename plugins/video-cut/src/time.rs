//! Instants of a video as people write them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The latest instant, in seconds: ten thousand hours.
const MAX_SECONDS: u32 = 36_000_000;

/// An instant of a video, in milliseconds from its beginning. Reads as a number of seconds, or as text like
/// `[HH:]MM:SS[.mmm]`; shows as `MM:SS.mmm`, with hours when there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    /// From milliseconds.
    pub(crate) fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds from the beginning.
    pub(crate) fn as_millis(self) -> u64 {
        self.0
    }

    /// From seconds, rounded to the millisecond; `None` when negative, not finite or beyond [`MAX_SECONDS`].
    fn from_seconds(seconds: f64) -> Option<Self> {
        if !(0.0..=f64::from(MAX_SECONDS)).contains(&seconds) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and MAX_SECONDS")]
        Some(Self((seconds * 1_000.0).round() as u64))
    }
}

/// Text that is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidTime;

impl fmt::Display for InvalidTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time is [HH:]MM:SS[.mmm] such as 01:30.250, with minutes and seconds below 60")
    }
}

impl FromStr for Time {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, fraction)| (clock, Some(fraction)));
        let mut parts = clock.rsplit(':');
        let seconds = digits(parts.next(), 2..=2, 59)?;
        let minutes = digits(parts.next(), 1..=2, 59)?;
        let hours = parts.next().map_or(Ok(0), |hours| digits(Some(hours), 1..=4, 9_999))?;
        if parts.next().is_some() {
            return Err(InvalidTime);
        }
        let millis = match fraction {
            None => 0,
            // `.5` is half a second.
            Some(text) => digits(Some(text), 1..=3, 999)? * [100, 10, 1][text.len() - 1],
        };
        Ok(Self(((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis))
    }
}

/// A number of that many digits, at most `most`.
fn digits(text: Option<&str>, lengths: std::ops::RangeInclusive<usize>, most: u64) -> Result<u64, InvalidTime> {
    text.filter(|text| lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|number| *number <= most)
        .ok_or(InvalidTime)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes) = (self.0 / 3_600_000, self.0 / 60_000 % 60);
        if hours > 0 {
            write!(f, "{hours:02}:")?;
        }
        write!(f, "{minutes:02}:{:02}.{:03}", self.0 / 1_000 % 60, self.0 % 1_000)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seconds from 0 to {MAX_SECONDS} or a time as [HH:]MM:SS[.mmm]")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Time, E> {
        let whole = u32::try_from(seconds).ok().filter(|s| *s <= MAX_SECONDS);
        whole.map(|s| Time(u64::from(s) * 1_000)).ok_or_else(|| out_of_range(&seconds))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Time, E> {
        u64::try_from(seconds).map_err(|_| out_of_range(&seconds)).and_then(|seconds| self.visit_u64(seconds))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Time, E> {
        Time::from_seconds(seconds).ok_or_else(|| out_of_range(&seconds))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        text.parse().map_err(|error: InvalidTime| E::custom(format_args!("{text:?} is not a time: {error}")))
    }
}

fn out_of_range<E: Error>(seconds: &dyn fmt::Display) -> E {
    E::custom(format_args!("{seconds} seconds is out of range: a time is from 0 to {MAX_SECONDS} seconds"))
}

#[cfg(test)]
mod tests {
    use super::{InvalidTime, Time};

    fn read(json: &str) -> Result<u64, String> {
        serde_json::from_str(json).map(Time::as_millis).map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_are_seconds_rounded_to_the_millisecond() {
        for (json, millis) in
            [("0", 0), ("2", 2_000), ("2.5", 2_500), ("0.0004", 0), ("0.0005", 1), ("1e1", 10_000), ("-0.0", 0)]
        {
            assert_eq!(read(json), Ok(millis), "{json}");
        }
        assert_eq!(read("36000000"), Ok(36_000_000_000));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for json in ["-1", "-0.001", "36000001", "36000000.1", "1e300", "18446744073709551615"] {
            let error = read(json).unwrap_err();
            assert!(error.contains("out of range: a time is from 0 to 36000000 seconds"), "{json}: {error}");
        }
        assert!(read("1e999").is_err(), "not finite");
    }

    #[test]
    fn text_is_a_clock() {
        for (text, millis) in [
            ("00:00", 0),
            ("0:02", 2_000),
            ("01:30.250", 90_250),
            ("01:30.5", 90_500),
            ("01:30.05", 90_050),
            ("1:02:03", 3_723_000),
            ("01:02:03.004", 3_723_004),
            ("9999:59:59.999", 35_999_999_999),
        ] {
            assert_eq!(text.parse().map(Time::as_millis), Ok(millis), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            ":",
            "::",
            "5",
            "90.5",
            "00:60",
            "60:00",
            "1:60:00",
            "00:5",
            "00:005",
            "000:05",
            "00:05.",
            "00:05.1234",
            "00:05.5.5",
            ".5",
            "-00:05",
            "+0:05",
            "00:-5",
            " 00:05",
            "00:05 ",
            "00:0５",
            "1:2:3:04",
            "10000:00:00",
            "00:05,5",
            "ab:cd",
            "00:05\u{0}",
        ] {
            assert_eq!(text.parse::<Time>(), Err(InvalidTime), "{text:?}");
        }
        let error = read(r#""5""#).unwrap_err();
        assert!(error.starts_with(r#""5" is not a time: a time is [HH:]MM:SS[.mmm]"#), "{error}");
        assert!(read("null").unwrap_err().contains("expected seconds from 0 to 36000000"));
    }

    #[test]
    fn shows_as_it_reads() {
        for (millis, text) in [(0, "00:00.000"), (90_250, "01:30.250"), (3_723_004, "01:02:03.004")] {
            assert_eq!(Time::from_millis(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(Time::from_millis(millis)));
        }
    }
}
