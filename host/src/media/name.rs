//! What people call a file, and what it is.

use mime_guess::Mime;

use super::MediaId;

/// Characters of a display name.
const MAX_NAME_CHARS: usize = 255;
/// Bytes of a content type.
const MAX_CONTENT_TYPE_BYTES: usize = 255;
const UNKNOWN: &str = "application/octet-stream";

/// A name that is safe to show and to offer for download; the id when nothing is left.
pub(super) fn display_name(name: &str, id: MediaId) -> String {
    let clean = |c: char| if is_harmful(c) { '_' } else { c };
    let name: String = name.trim().chars().take(MAX_NAME_CHARS).map(clean).collect();
    let name = name.trim();
    if name.is_empty() || name == "." || name == ".." { id.to_string() } else { name.to_owned() }
}

/// Control characters, separators of paths, and marks that reorder or hide text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The given type if it says something, else a guess from the name's extension.
pub(super) fn content_type(given: Option<&str>, name: &str) -> String {
    let given = given.map(str::trim).filter(|text| text.len() <= MAX_CONTENT_TYPE_BYTES);
    let parsed = given.and_then(|text| text.parse::<Mime>().ok()).filter(|mime| mime.essence_str() != UNKNOWN);
    match parsed {
        Some(mime) => mime.to_string(),
        None => mime_guess::from_path(name).first_raw().unwrap_or(UNKNOWN).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_harmless() {
        let id = MediaId::generate();
        for (name, shown) in [
            ("holiday.mp4", "holiday.mp4"),
            ("  Überfahrt 3.mp4 ", "Überfahrt 3.mp4"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("a\\b\0c\nd", "a_b_c_d"),
            ("evil\u{202e}4pm.exe", "evil_4pm.exe"),
        ] {
            assert_eq!(display_name(name, id), shown);
        }
        for name in ["", "   ", ".", "..", " .. "] {
            assert_eq!(display_name(name, id), id.to_string());
        }
        assert_eq!(display_name(&"é".repeat(1000), id).chars().count(), MAX_NAME_CHARS);
    }

    #[test]
    fn types_are_given_or_guessed() {
        for (given, name, expected) in [
            (Some("video/webm"), "a.mp4", "video/webm"),
            (Some(" text/plain; charset=utf-8 "), "a", "text/plain; charset=utf-8"),
            (Some("application/octet-stream"), "a.mp4", "video/mp4"),
            (Some("nonsense"), "a.mkv", "video/x-matroska"),
            (Some("text/plain\r\nx: y"), "a.mp3", "audio/mpeg"),
            (None, "a.mp4", "video/mp4"),
            (None, "a.unheard-of", "application/octet-stream"),
            (None, "", "application/octet-stream"),
        ] {
            assert_eq!(content_type(given, name), expected, "{given:?} {name}");
        }
        assert_eq!(content_type(Some(&format!("video/{}", "x".repeat(300))), "a.mp4"), "video/mp4");
    }
}
