//! `Retry-After`: when the other side wants to be asked again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who wants to be left alone for longer is asked again after this.
const MOST: Duration = Duration::from_hours(24);
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The delay that a header's value asks for: seconds, or an instant such as `Wed, 21 Oct 2026 07:28:00 GMT`. Absent when it is
/// neither, and when it is over: then the host's own backoff is right.
pub(super) fn delay(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let delay = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than enough.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        instant(value)?.duration_since(now).ok()?
    };
    (!delay.is_zero()).then_some(delay.min(MOST))
}

fn instant(value: &str) -> Option<SystemTime> {
    let (_, date) = value.split_once(", ")?;
    let [day, month, year, time, "GMT"] = *date.split(' ').collect::<Vec<_>>() else { return None };
    let [hour, minute, second] = *time.split(':').collect::<Vec<_>>() else { return None };
    let number = |text: &str, most: u64| text.parse::<u64>().ok().filter(|number| *number <= most);
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let (day, year) = (number(day, 31)?, number(year, 9999).filter(|year| *year >= 1970)?);
    let (hour, minute, second) = (number(hour, 23)?, number(minute, 59)?, number(second, 60)?);
    // Years that begin in March have their leap day last.
    let (years, months) = if month >= 2 { (year, month - 2) } else { (year - 1, month + 10) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day;
    let days = days.checked_sub(DAYS_BEFORE_1970)?;
    Some(UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// From the first of March of the year 0, which is day 1.
const DAYS_BEFORE_1970: u64 = 719_469;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_seconds_or_an_instant_within_a_day() {
        let now = UNIX_EPOCH + Duration::from_mins(29_876_128);
        for (value, seconds) in [
            ("120", Some(120)),
            (" 1 ", Some(1)),
            ("99999999999999999999999", Some(86_400)),
            ("Wed, 21 Oct 2026 07:28:30 GMT", Some(30)),
            ("Thu, 22 Oct 2026 07:27:00 GMT", Some(86_340)),
            ("Tue, 29 Feb 2028 00:00:00 GMT", Some(86_400)),
            // Over, or nothing that was agreed.
            ("0", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("Wed, 21 Oct 2026 07:28:30 CET", None),
            ("Wed, 21 Oct 2026 07:28:30", None),
            ("Wed, 32 Okt 99999 25:61:61 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(delay(value, now).map(|delay| delay.as_secs()), seconds, "{value:?}");
        }
        assert_eq!(instant("Thu, 01 Jan 1970 00:00:00 GMT"), Some(UNIX_EPOCH));
        assert_eq!(instant("Thu, 01 Mar 2001 00:00:01 GMT"), Some(UNIX_EPOCH + Duration::from_secs(983_404_801)));
    }
}
