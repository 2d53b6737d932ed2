//! What plugins may be called, which kinds a pattern covers, and what is wrong with an expression.

/// Bytes of a plugin's name.
const MAX_PLUGIN_LEN: usize = 64;

/// Whether a file may be called `<name>.wasm`: small letters, digits and dashes, not starting with a dash.
pub(super) fn is_plugin(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= MAX_PLUGIN_LEN
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte == b'-')
}

/// Whether a queue grant's pattern (`video.cut`, `video.*`, `*`) covers a kind.
pub(super) fn covers(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.len() > prefix.len() && kind.starts_with(prefix),
        None => pattern == kind,
    }
}

/// What is wrong with a regular expression, in a line: the error itself stands below a drawing of the place.
pub(super) fn expression_error(error: &regex::Error) -> String {
    let error = error.to_string();
    let line = error.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    line.unwrap_or_else(|| error.lines().next().unwrap_or_default()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{covers, is_plugin};

    #[test]
    fn names_are_plain() {
        for good in ["a", "video-cut", "0", "a1-"] {
            assert!(is_plugin(good), "{good}");
        }
        for bad in ["", "-a", "Video", "video_cut", "a.b", "../a", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_plugin(bad), "{bad}");
        }
    }

    #[test]
    fn a_pattern_covers_what_is_below_it() {
        assert!(covers("video.*", "video.cut") && covers("video.cut", "video.cut") && covers("*", "echo"));
        assert!(!covers("video.*", "video") && !covers("video.*", "videos.cut") && !covers("video.cut", "video.cut2"));
    }
}
