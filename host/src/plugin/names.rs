//! What plugins may be called, and which kinds a pattern covers.

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
