//! The `Content-Disposition` header, both ways: a file's name in ASCII and in UTF-8 (RFC 6266).

use std::fmt::Write as _;

use axum::http::HeaderValue;

/// The file name that a header gives; the UTF-8 form wins over the plain one.
pub(super) fn file_name(header: &str) -> Option<String> {
    let mut plain = None;
    for (name, value) in parameters(header) {
        if name.eq_ignore_ascii_case("filename*") {
            if let Some(name) = extended(&value) {
                return Some(name);
            }
        } else if name.eq_ignore_ascii_case("filename") && plain.is_none() {
            plain = Some(value);
        }
    }
    plain.filter(|name| !name.is_empty())
}

/// `name=value` and `name="value"` after the first semicolon.
fn parameters(header: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, left) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = after.find(';').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        found.push((name.trim_matches([' ', '\t', ';']), value));
        rest = left;
    }
    found
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// `UTF-8''percent-encoded` (RFC 8187).
fn extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut left = encoded.bytes();
    while let Some(byte) = left.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [left.next()?, left.next()?];
        let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(&digits)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

/// The header for a file. Only sound, pictures and video are shown in place; the rest is saved.
pub(super) fn of_file(name: &str, content_type: &str) -> HeaderValue {
    let shown = ["video/", "audio/", "image/"].iter().any(|sort| content_type.starts_with(sort));
    let mut text = String::from(if shown { "inline" } else { "attachment" });
    let fallback: String = name
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%' | '/') { c } else { '_' })
        .collect();
    // Writing to a string does not fail.
    let _ = write!(text, "; filename=\"{fallback}\"");
    if fallback != name {
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::{file_name, of_file};

    #[test]
    fn reads_both_forms() {
        let of = |header| file_name(header);
        assert_eq!(of("attachment; filename=a.mp4").as_deref(), Some("a.mp4"));
        assert_eq!(of(r#"form-data; name="file"; filename="a \"b\"; c.mp4""#).as_deref(), Some("a \"b\"; c.mp4"));
        assert_eq!(of("attachment; filename=\"x\"; FILENAME*=utf-8'en'%C3%A9.mp4").as_deref(), Some("é.mp4"));
        for nothing in ["attachment", "attachment; filename=", "; filename*=UTF-8''%zz", "x; filename*=latin1''a", ""] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_cannot_split_the_header() {
        for name in ["plain.mp4", "é \"x\" \\ %41.mp4", "a\r\nSet-Cookie: b", "日本.mkv", "a;b=c"] {
            let header = of_file(name, "video/mp4");
            let text = header.to_str().unwrap();
            assert!(text.starts_with("inline; ") && text.is_ascii() && !text.contains(['\r', '\n']), "{text}");
            assert_eq!(file_name(text).as_deref(), Some(name), "{text}");
        }
        assert!(of_file("x.html", "text/html").to_str().unwrap().starts_with("attachment; "));
    }
}
