//! Tasks that a guest asks for, by the rules that clients have.

use super::{clip, types};
use crate::retry::{Backoff, Growth, Jitter};
use crate::task::{BadPaths, NewTask, StateSet, UniqueMode, UniqueRule, is_valid_kind, key_of_paths, rules};
use crate::time::Timestamp;

/// The task, or what is wrong with it. Its source is the caller's to set.
pub(in crate::plugin) fn new_task(
    wish: types::NewTask,
    max_input_bytes: u64,
    now: Timestamp,
) -> Result<NewTask, String> {
    if !is_valid_kind(&wish.kind) {
        let kind = clip(&wish.kind);
        return Err(format!("{kind:?} is not a kind: lower-case words joined by dots, such as video.cut"));
    }
    if wish.input.len() as u64 > max_input_bytes {
        return Err(format!("the input has {} bytes, the limit is {max_input_bytes}", wish.input.len()));
    }
    let mut new = NewTask::new(wish.kind, wish.input);
    match (wish.run_at, wish.delay) {
        (Some(_), Some(_)) => return Err("delay: cannot be joined with run-at: give one of them".to_owned()),
        (Some(run_at), None) => new.run_at = Some(Timestamp::from_millis(run_at)),
        (None, delay) => new.run_at = delay.map(|delay_ms| now.plus_millis(delay_ms)),
    }
    new.priority = wish.priority.unwrap_or(new.priority);
    new.max_attempts = wish.max_attempts.unwrap_or(new.max_attempts);
    new.timeout_ms = wish.timeout;
    new.backoff = wish.backoff.map_or(new.backoff, backoff);
    new.deadline = wish.deadline.map(Timestamp::from_millis);
    new.queue = wish.queue.unwrap_or(new.queue);
    new.attributes = wish.attributes;
    match (wish.unique_key, wish.unique) {
        (Some(_), Some(_)) => return Err("unique-key: cannot be joined with unique: give one of them".to_owned()),
        (Some(key), None) => new.unique_key = Some(checked(key)?),
        (None, Some(wish)) => {
            new.unique = UniqueRule { states: wish.states.map_or(StateSet::LIVE, states), mode: mode(wish.mode) };
            new.unique_key = key(wish.by, &new)?;
        }
        (None, None) => {}
    }
    match rules::check(&new, now).first() {
        Some(mistake) => Err(mistake.to_guest()),
        None => Ok(new),
    }
}

fn backoff(wish: types::Backoff) -> Backoff {
    let types::Backoff { growth, jitter, base, cap } = wish;
    let growth = match growth {
        types::Growth::Fixed => Growth::Fixed,
        types::Growth::Exponential => Growth::Exponential,
    };
    let jitter = match jitter {
        types::Jitter::None => Jitter::None,
        types::Jitter::Equal => Jitter::Equal,
        types::Jitter::Full => Jitter::Full,
    };
    Backoff { base_ms: base, cap_ms: cap, growth, jitter }
}

fn mode(mode: types::UniqueMode) -> UniqueMode {
    match mode {
        types::UniqueMode::Existing => UniqueMode::Existing,
        types::UniqueMode::Reject => UniqueMode::Reject,
        types::UniqueMode::Replace => UniqueMode::Replace,
        types::UniqueMode::Debounce(window_ms) => UniqueMode::Debounce(window_ms),
        types::UniqueMode::Throttle(window_ms) => UniqueMode::Throttle(window_ms),
        types::UniqueMode::KeepLastIfActive => UniqueMode::KeepLast,
    }
}

fn states(states: types::TaskStates) -> StateSet {
    let names = [
        (types::TaskStates::QUEUED, "waiting"),
        (types::TaskStates::QUEUED, "queued"),
        (types::TaskStates::RUNNING, "running"),
        (types::TaskStates::SUCCEEDED, "succeeded"),
        (types::TaskStates::FAILED, "failed"),
        (types::TaskStates::CANCELLED, "cancelled"),
    ];
    let wanted = names.into_iter().filter(|(flag, _)| states.contains(*flag)).map(|(_, name)| name);
    StateSet::of(wanted).unwrap_or(StateSet::LIVE)
}

fn key(by: types::UniqueBy, new: &NewTask) -> Result<Option<String>, String> {
    let paths = match by {
        types::UniqueBy::Key(key) => return checked(key).map(Some),
        types::UniqueBy::Paths(paths) => paths,
    };
    key_of_paths(&new.kind, &new.input, &paths).map_err(|wrong| match wrong {
        BadPaths::Count(message) => format!("unique.paths: {message}"),
        BadPaths::Missing(missing) => {
            let first = missing.first().and_then(|at| paths.get(*at)).map_or("", |path| clip(path));
            format!("unique.paths: {first:?} does not exist in the input")
        }
    })
}

fn checked(key: String) -> Result<String, String> {
    match rules::unique_key(&key) {
        Some(message) => Err(format!("the unique key {message}")),
        None => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::{Timestamp, new_task, types};
    use crate::retry::{Backoff, Growth, Jitter};
    use crate::task::{NewTask, StateSet, UniqueMode, UniqueRule};

    fn wish() -> types::NewTask {
        types::NewTask {
            kind: "thumb.make".to_owned(),
            input: r#"{"id":1}"#.to_owned(),
            unique_key: None,
            priority: None,
            run_at: None,
            attributes: Vec::new(),
            queue: None,
            delay: None,
            deadline: None,
            timeout: None,
            max_attempts: None,
            backoff: None,
            unique: None,
        }
    }

    fn read(wish: types::NewTask) -> Result<NewTask, String> {
        new_task(wish, 100, Timestamp::from_millis(1_000))
    }

    #[test]
    fn what_is_absent_is_what_a_client_would_get() {
        assert_eq!(read(wish()).unwrap(), NewTask::new("thumb.make", r#"{"id":1}"#));
    }

    #[test]
    fn every_option_arrives() {
        let backoff = types::Backoff { growth: types::Growth::Fixed, jitter: types::Jitter::Full, base: 1, cap: 2 };
        let unique = types::Unique {
            by: types::UniqueBy::Paths(vec!["/id".to_owned()]),
            mode: types::UniqueMode::Debounce(7),
            states: Some(types::TaskStates::QUEUED | types::TaskStates::FAILED),
        };
        let wish = types::NewTask {
            priority: Some(9),
            attributes: vec![("tenant".to_owned(), "a".to_owned())],
            queue: Some("slow".to_owned()),
            delay: Some(5),
            deadline: Some(2_000),
            timeout: Some(3),
            max_attempts: Some(2),
            backoff: Some(backoff),
            unique: Some(unique),
            ..wish()
        };
        let new = read(wish).unwrap();
        let states = StateSet::of(["waiting", "queued", "failed"]).unwrap();
        assert!(new.unique_key.as_deref().is_some_and(|key| key.starts_with("paths:")), "{:?}", new.unique_key);
        let expected = NewTask {
            priority: 9,
            attributes: vec![("tenant".to_owned(), "a".to_owned())],
            queue: "slow".to_owned(),
            run_at: Some(Timestamp::from_millis(1_005)),
            deadline: Some(Timestamp::from_millis(2_000)),
            timeout_ms: Some(3),
            max_attempts: 2,
            backoff: Backoff { growth: Growth::Fixed, jitter: Jitter::Full, base_ms: 1, cap_ms: 2 },
            unique_key: new.unique_key.clone(),
            unique: UniqueRule { states, mode: UniqueMode::Debounce(7) },
            ..NewTask::new("thumb.make", r#"{"id":1}"#)
        };
        assert_eq!(new, expected);
    }

    #[test]
    fn a_guest_is_told_what_a_client_would_be_told() {
        let refused = |change: fn(&mut types::NewTask)| {
            let mut wish = wish();
            change(&mut wish);
            read(wish).unwrap_err()
        };
        let unique = |by, mode, states| Some(types::Unique { by, mode, states });
        assert!(refused(|wish| wish.kind = "No".to_owned()).starts_with("\"No\" is not a kind"));
        assert!(refused(|wish| wish.priority = Some(10)).starts_with("priority: 10"));
        assert!(refused(|wish| wish.max_attempts = Some(0)).starts_with("max-attempts: 0"));
        assert!(refused(|wish| wish.timeout = Some(0)).starts_with("timeout: 0"));
        assert!(refused(|wish| wish.deadline = Some(1_000)).ends_with("has passed"));
        assert!(refused(|wish| wish.delay = Some(u64::MAX)).ends_with("more than ten years away"));
        assert!(refused(|wish| (wish.run_at, wish.delay) = (Some(1), Some(1))).contains("give one of them"));
        assert!(refused(|wish| wish.queue = Some("A b".to_owned())).starts_with("queue: \"A b\" is not a queue"));
        assert!(refused(|wish| wish.unique_key = Some(String::new())).contains("a key has 1 to 256"));
        let gone = || types::UniqueBy::Paths(vec!["/no".to_owned()]);
        let mut wish = wish();
        wish.unique = unique(gone(), types::UniqueMode::Existing, None);
        assert_eq!(read(wish.clone()).unwrap_err(), "unique.paths: \"/no\" does not exist in the input");
        wish.unique = unique(types::UniqueBy::Key("k".to_owned()), types::UniqueMode::Throttle(0), None);
        assert!(read(wish.clone()).unwrap_err().starts_with("unique.window: is a whole number"));
        let states = Some(types::TaskStates::RUNNING);
        wish.unique = unique(types::UniqueBy::Key("k".to_owned()), types::UniqueMode::Existing, states);
        assert!(read(wish).unwrap_err().starts_with("unique.states: \"queued\" is missing"));
    }
}
