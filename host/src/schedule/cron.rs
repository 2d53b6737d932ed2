//! Cron expressions as sets of civil times. Zones are none of their business: see [`super::zoned`].

use croner::parser::{CronParser, Seconds, Year};
use croner::time::Weekday;
use jiff::civil::{Date, DateTime, Time};

/// Bytes of an expression.
pub const MAX_EXPRESSION_LEN: usize = 256;
/// What each field is called and what it holds, the seconds first.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L or 15W"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7, SUN-SAT, 5L or MON#2"),
];
/// Words for whole expressions.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A cron expression, ready to be asked.
#[derive(Clone, Debug)]
pub struct Cron {
    days: Box<croner::Cron>,
    hours: Vec<i8>,
    minutes: Vec<i8>,
    seconds: Vec<i8>,
}

impl Cron {
    /// Reads five fields, six with the seconds in front, or a word such as `@daily`. The error
    /// names the field that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_EXPRESSION_LEN {
            return Err(format!("has {} bytes; an expression has at most {MAX_EXPRESSION_LEN}", text.len()));
        }
        let text = text.trim();
        let text = match NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            Some((_, fields)) => fields,
            None if text.contains('@') => {
                let known: Vec<_> = NICKNAMES.iter().map(|(name, _)| *name).collect();
                return Err(format!("is not one of {}", known.join(", ")));
            }
            None => text,
        };
        let fields: Vec<_> = text.split_whitespace().collect();
        let skipped = match fields.len() {
            5 => 1,
            6 => 0,
            count => return Err(format!("has {count} fields; 5 are right, or 6 with the seconds in front")),
        };
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let days = parser.parse(text).map_err(|error| {
            // The library does not say which field: the one that is wrong by itself.
            let mut named = FIELDS.iter().skip(skipped).enumerate().zip(&fields);
            let culprit = named.find_map(|((at, (name, values)), field)| {
                let alone: Vec<_> = (0..fields.len()).map(|other| if other == at { *field } else { "*" }).collect();
                parser.parse(&alone.join(" ")).err().map(|error| (*name, *field, error, *values))
            });
            match culprit {
                Some((name, field, error, values)) => {
                    format!("the {name} field {field:?} is wrong: {}; it holds {values}", plain(&error))
                }
                None => plain(&error),
            }
        })?;
        let values = |values: Vec<u16>| values.into_iter().filter_map(|value| i8::try_from(value).ok()).collect();
        Ok(Self {
            hours: values(days.pattern.hours.values()),
            minutes: values(days.pattern.minutes.values()),
            seconds: values(days.pattern.seconds.values()),
            days: Box::new(days),
        })
    }

    /// Whether every hour of a day matches: such an expression is about real time, not about a
    /// time of day.
    pub fn is_every_hour(&self) -> bool {
        self.hours.len() == 24
    }

    /// The first civil time that matches, at or after `from` and before `until`.
    pub fn first_in(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        // Matches are whole seconds.
        let whole = from.with().subsec_nanosecond(0).build().ok()?;
        let from = if whole < from { whole.checked_add(jiff::SignedDuration::from_secs(1)).ok()? } else { whole };
        let (mut date, mut time) = (from.date(), from.time());
        while date.to_datetime(time) < until {
            if !self.days.pattern.month_match(date.month().unsigned_abs().into()).unwrap_or(false) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if let Some(found) = self.is_day(date).then(|| self.time_from(time)).flatten() {
                return Some(date.to_datetime(found)).filter(|found| *found < until);
            } else {
                date = date.tomorrow().ok()?;
            }
            time = Time::midnight();
        }
        None
    }

    /// Whether this civil time matches.
    #[cfg(test)]
    pub(super) fn is_match(&self, at: DateTime) -> bool {
        let month = self.days.pattern.month_match(at.month().unsigned_abs().into()).unwrap_or(false);
        month && self.is_day(at.date()) && self.time_from(at.time()) == Some(at.time())
    }

    fn is_day(&self, date: Date) -> bool {
        let weekday = match date.weekday() {
            jiff::civil::Weekday::Monday => Weekday::Monday,
            jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
            jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
            jiff::civil::Weekday::Thursday => Weekday::Thursday,
            jiff::civil::Weekday::Friday => Weekday::Friday,
            jiff::civil::Weekday::Saturday => Weekday::Saturday,
            jiff::civil::Weekday::Sunday => Weekday::Sunday,
        };
        let (year, month, day) = (date.year().into(), date.month().unsigned_abs().into(), date.day());
        self.days.pattern.day_match(year, month, day.unsigned_abs().into(), weekday).unwrap_or(false)
    }

    /// The first time of a day that matches, at or after `from`.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let same_hour = || {
            let same_minute = || {
                let found = first_from(&self.seconds, second)?;
                self.minutes.contains(&minute).then_some((minute, found))
            };
            let later = || Some((first_from(&self.minutes, minute + 1)?, *self.seconds.first()?));
            let (minute, second) = same_minute().or_else(later)?;
            self.hours.contains(&hour).then_some((hour, minute, second))
        };
        let later = || Some((first_from(&self.hours, hour + 1)?, *self.minutes.first()?, *self.seconds.first()?));
        let (hour, minute, second) = same_hour().or_else(later)?;
        Time::new(hour, minute, second, 0).ok()
    }
}

fn first_from(values: &[i8], from: i8) -> Option<i8> {
    values.iter().copied().find(|value| *value >= from)
}

/// The library's message in our style.
fn plain(error: &croner::errors::CronError) -> String {
    let text = error.to_string();
    let text = ["Component error: ", "Invalid pattern: ", "Pattern contains illegal characters: CronPattern "]
        .iter()
        .fold(text.as_str(), |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::Cron;

    #[test]
    fn c8_what_is_wrong_is_refused_with_its_field() {
        let said = |text: &str| Cron::parse(text).unwrap_err();
        assert!(said("61 * * * *").starts_with("the minute field \"61\" is wrong: "), "{}", said("61 * * * *"));
        assert!(said("0 25 * * *").starts_with("the hour field \"25\" is wrong: "));
        assert!(said("70 0 0 * * *").starts_with("the second field \"70\" is wrong: "));
        assert!(said("0 0 * * FOO").starts_with("the day of week field \"FOO\" is wrong: "));
        assert!(said("5/10 * * * *").starts_with("the minute field \"5/10\" is wrong: "));
        assert!(said("0 0 0 13 *").starts_with("the day of month field \"0\" is wrong: "), "{}", said("0 0 0 13 *"));
        assert!(said("* * *").starts_with("has 3 fields; 5 are right"));
        assert!(said("0 0 0 1 1 * 2030").starts_with("has 7 fields"));
        assert!(said("").starts_with("has 0 fields"));
        assert!(said("@reboot").starts_with("is not one of @yearly"));
        assert!(said(&"1,".repeat(1_000)).contains("at most 256"));
        for right in
            ["*/5 * * * *", "0 0 * * 7", "0 0 L * *", "0 9 15W * *", "0 9 * * MON#2", "@Daily", "1-5,7 * * * * *"]
        {
            Cron::parse(right).unwrap();
        }
    }

    #[test]
    fn civil_matches_are_found_in_order_within_the_bounds() {
        let cron = Cron::parse("15,45 30 2,4 29 2 *").unwrap();
        let mut from = date(2023, 1, 1).at(0, 0, 0, 0);
        let until = date(2028, 3, 1).at(0, 0, 0, 0);
        let mut found = Vec::new();
        while let Some(at) = cron.first_in(from, until) {
            assert!(cron.is_match(at));
            found.push(at.to_string());
            from = at.checked_add(jiff::SignedDuration::from_millis(1)).unwrap();
        }
        let times = ["02:30:15", "02:30:45", "04:30:15", "04:30:45"];
        let expected: Vec<_> =
            ["2024", "2028"].iter().flat_map(|year| times.map(|time| format!("{year}-02-29T{time}"))).collect();
        assert_eq!(found, expected);
        let never = Cron::parse("0 0 30 2 *").unwrap();
        assert_eq!(never.first_in(date(2000, 1, 1).at(0, 0, 0, 0), date(2400, 1, 1).at(0, 0, 0, 0)), None);
    }
}
