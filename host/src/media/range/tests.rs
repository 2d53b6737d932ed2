use super::*;

// 1994-11-06 08:49:37 UTC, and some milliseconds that HTTP does not see.
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn validators() -> Validators {
    Validators::of_media("abc", Timestamp::from_millis(784_111_777_250))
}

fn part(start: u64, end_inclusive: u64) -> Selection {
    Selection::Partial { start, end_inclusive }
}

#[test]
fn validators_are_formatted() {
    assert_eq!(validators().etag, "\"abc\"");
    assert_eq!(validators().last_modified_date(), DATE);
}

#[test]
fn ranges_select() {
    use Selection::{Full, Unsatisfiable};
    for (header, len, expected) in [
        ("bytes=0-0", 10, part(0, 0)),
        ("bytes=0-9", 10, part(0, 9)),
        ("bytes=0-", 10, part(0, 9)),
        ("bytes=9-", 10, part(9, 9)),
        ("bytes=3-5", 10, part(3, 5)),
        ("bytes=3-3", 10, part(3, 3)),
        ("bytes=3-99", 10, part(3, 9)),
        ("bytes=3-99999999999999999999999999", 10, part(3, 9)),
        ("bytes=-1", 10, part(9, 9)),
        ("bytes=-10", 10, part(0, 9)),
        ("bytes=-99", 10, part(0, 9)),
        ("bytes=-99999999999999999999999999", 10, part(0, 9)),
        ("bytes=007-08", 10, part(7, 8)),
        ("Bytes=0-0", 10, part(0, 0)),
        ("bytes= 0-0 ", 10, part(0, 0)),
        ("bytes=0-0", 1, part(0, 0)),
        ("bytes=18446744073709551614-", u64::MAX, part(u64::MAX - 1, u64::MAX - 1)),
        // Nothing of it exists.
        ("bytes=10-", 10, Unsatisfiable),
        ("bytes=10-10", 10, Unsatisfiable),
        ("bytes=99999999999999999999999999-", 10, Unsatisfiable),
        ("bytes=-0", 10, Unsatisfiable),
        ("bytes=0-", 0, Unsatisfiable),
        ("bytes=0-0", 0, Unsatisfiable),
        ("bytes=-0", 0, Unsatisfiable),
        ("bytes=-5", 0, Full),
        // Ignored.
        ("bytes=0-0,2-2", 10, Full),
        ("bytes=0-0,", 10, Full),
        ("bytes=5-3", 10, Full),
        ("bytes=", 10, Full),
        ("bytes=-", 10, Full),
        ("bytes=--1", 10, Full),
        ("bytes=0", 10, Full),
        ("bytes=0-0-0", 10, Full),
        ("bytes=a-b", 10, Full),
        ("bytes=+1-2", 10, Full),
        ("bytes=0x1-2", 10, Full),
        ("bytes=1 - 2", 10, Full),
        ("bytes 0-0", 10, Full),
        ("0-0", 10, Full),
        ("", 10, Full),
        ("items=0-0", 10, Full),
        ("seconds=1-2", 10, Full),
    ] {
        assert_eq!(decide(Some(header), None, &validators(), len), expected, "{header} of {len}");
    }
    assert_eq!(decide(None, None, &validators(), 10), Full);
    assert_eq!(decide(None, Some("\"abc\""), &validators(), 10), Full);
}

#[test]
fn if_range_needs_the_same_bytes() {
    let hit = part(0, 0);
    for (condition, expected) in [
        ("\"abc\"", hit),
        (" \"abc\" ", hit),
        (DATE, hit),
        ("Sunday, 06-Nov-94 08:49:37 GMT", hit),
        ("\"ABC\"", Selection::Full),
        ("W/\"abc\"", Selection::Full),
        ("abc", Selection::Full),
        ("*", Selection::Full),
        ("", Selection::Full),
        (EARLIER, Selection::Full),
        (LATER, Selection::Full),
        ("yesterday", Selection::Full),
    ] {
        assert_eq!(decide(Some("bytes=0-0"), Some(condition), &validators(), 10), expected, "{condition}");
    }
    // A range that would be refused is not even looked at when the bytes are others.
    assert_eq!(decide(Some("bytes=10-"), Some("\"x\""), &validators(), 10), Selection::Full);
}

#[test]
fn conditions_follow_the_order_of_the_standard() {
    use Precondition::{NotModified, PreconditionFailed, Proceed};
    let none = Conditions::default();
    let check = |conditions: Conditions<'_>, expected| {
        assert_eq!(conditional(conditions, &validators()), expected, "{conditions:?}");
    };
    check(none, Proceed);
    for (tags, expected) in [
        ("\"abc\"", NotModified),
        ("W/\"abc\"", NotModified),
        ("\"x\", W/\"abc\" ,\"y\"", NotModified),
        ("*", NotModified),
        ("\"x\"", Proceed),
        ("abc", Proceed),
        ("", Proceed),
    ] {
        check(Conditions { if_none_match: Some(tags), ..none }, expected);
        // The date does not matter beside a tag.
        check(Conditions { if_none_match: Some(tags), if_modified_since: Some(DATE), ..none }, expected);
    }
    for (tags, expected) in [
        ("\"abc\"", Proceed),
        ("\"x\",\"abc\"", Proceed),
        ("*", Proceed),
        ("W/\"abc\"", PreconditionFailed),
        ("\"x\"", PreconditionFailed),
    ] {
        check(Conditions { if_match: Some(tags), ..none }, expected);
        check(Conditions { if_match: Some(tags), if_unmodified_since: Some(EARLIER), ..none }, expected);
    }
    for (date, since, unmodified) in [
        (DATE, NotModified, Proceed),
        (LATER, NotModified, Proceed),
        (EARLIER, Proceed, PreconditionFailed),
        ("nonsense", Proceed, Proceed),
    ] {
        check(Conditions { if_modified_since: Some(date), ..none }, since);
        check(Conditions { if_unmodified_since: Some(date), ..none }, unmodified);
    }
    check(Conditions { if_match: Some("\"abc\""), if_none_match: Some("\"abc\""), ..none }, NotModified);
    check(Conditions { if_match: Some("\"x\""), if_none_match: Some("\"abc\""), ..none }, PreconditionFailed);
}
