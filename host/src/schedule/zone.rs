//! Names of time zones.

use jiff::tz::TimeZone;

use crate::spelling::distance;

/// Bytes of a zone's name.
const MAX_ZONE_LEN: usize = 64;

/// The zone called `name`, in the spelling of the IANA database. The error says what is near.
pub fn find(name: &str) -> Result<(String, TimeZone), String> {
    let known = (name.len() <= MAX_ZONE_LEN).then(|| TimeZone::get(name).ok()).flatten();
    if let Some(zone) = known
        && let Some(spelling) = zone.iana_name().map(str::to_owned)
    {
        return Ok((spelling, zone));
    }
    let shown: String = name.chars().take(MAX_ZONE_LEN).collect();
    let hint = nearest(&shown).map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    Err(format!("there is no time zone {shown:?}: a zone is called like \"Europe/Berlin\" or \"UTC\"{hint}"))
}

/// The name that was probably meant: the same place, or nearly the same letters.
fn nearest(name: &str) -> Option<String> {
    let wanted = name.to_lowercase().replace(' ', "_");
    let place = wanted.rsplit('/').next().unwrap_or(&wanted);
    let bound = (wanted.chars().count() / 4).max(1);
    let rank = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let same_place = candidate.contains('/') && candidate.rsplit('/').next() == Some(place);
        let distance = distance(&wanted, &candidate);
        (same_place || distance <= bound).then_some((!same_place, distance))
    };
    let names = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    names.filter_map(|name| Some((rank(&name)?, name))).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn zones_are_found_by_name_and_unknown_ones_are_told_the_nearest() {
        assert_eq!(find("europe/berlin").unwrap().0, "Europe/Berlin");
        assert_eq!(find("UTC").unwrap().0, "UTC");
        let said = |name: &str| find(name).unwrap_err();
        assert!(said("Europe/Berlim").ends_with("did you mean \"Europe/Berlin\"?"), "{}", said("Europe/Berlim"));
        assert!(said("Berlin").ends_with("did you mean \"Europe/Berlin\"?"), "{}", said("Berlin"));
        assert!(said("Middle-earth/Shire").ends_with("or \"UTC\""), "{}", said("Middle-earth/Shire"));
        for name in ["", "/etc/passwd", "../../etc/passwd", "+02:00", &"x".repeat(10_000)] {
            assert!(said(name).len() < 300, "{name}");
        }
    }
}
