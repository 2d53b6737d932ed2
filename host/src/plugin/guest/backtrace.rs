//! Where a guest went down, in the words of its source. Names are the guest's: they are cut and never computed with at length.

use std::fmt::Write;

use wasmtime::{FrameInfo, WasmBacktrace};

use crate::plugin::contract::clip_to;

/// Bytes of a name, of the path of a file, and of everything.
const MAX_NAME_BYTES: usize = 256;
const MAX_BYTES: usize = 2048;
/// What compilers of Rust write for characters that a symbol cannot have.
const ESCAPES: [(&str, &str); 13] = [
    ("$LT$", "<"),
    ("$GT$", ">"),
    ("$RF$", "&"),
    ("$BP$", "*"),
    ("$LP$", "("),
    ("$RP$", ")"),
    ("$C$", ","),
    ("$u20$", " "),
    ("$u5b$", "["),
    ("$u5d$", "]"),
    ("$u7b$", "{"),
    ("$u7d$", "}"),
    ("..", "::"),
];

/// The innermost functions, on one line that begins with a space.
pub(super) fn backtrace(error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let frames: Vec<_> = frames.iter().map(|frame| (name(frame), frame)).collect();
    let mut text = String::new();
    for (name, frame) in &frames[panicking(&frames)..] {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{name}", if text.is_empty() { " at " } else { " < " });
        let place = frame.symbols().first().and_then(|symbol| Some((symbol.file()?, symbol.line()?)));
        if let Some((file, line)) = place {
            let _ = write!(text, " ({}:{line})", cut(file));
        }
    }
    clip_to(text, MAX_BYTES)
}

/// How many of the innermost frames are the standard library's way from a panic to its trap: its message says more.
fn panicking(frames: &[(String, &FrameInfo)]) -> usize {
    let names = || frames.iter().map(|(name, _)| name.as_str());
    let Some(handler) = names().position(|name| name.ends_with("rust_begin_unwind")) else { return 0 };
    let of_core =
        |name: &str| ["core::panicking::", "core::option::", "core::result::"].iter().any(|at| name.starts_with(at));
    let first = handler + 1 + names().skip(handler + 1).take_while(|name| of_core(name)).count();
    if first < frames.len() { first } else { 0 }
}

fn name(frame: &FrameInfo) -> String {
    let named = frame.symbols().first().and_then(|symbol| symbol.name()).or(frame.func_name());
    named.map_or_else(|| format!("function {}", frame.func_index()), |name| readable(cut(name)))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_NAME_BYTES)]
}

/// `a::b` of Rust's symbols `_ZN1a1b17h0123456789abcdefE` and `_RNvCs12_1a1b`; other names stay as they are.
fn readable(symbol: &str) -> String {
    let parts = if let Some(rest) = symbol.strip_prefix("_ZN") {
        legacy(rest)
    } else {
        symbol.strip_prefix("_R").and_then(plain)
    };
    parts.map_or_else(|| symbol.to_owned(), |parts| parts.join("::"))
}

fn legacy(mut rest: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    while !rest.starts_with('E') {
        let (length, after) = number(rest)?;
        let (part, after) = (after.get(..length)?, after.get(length..)?);
        let part = part.strip_prefix('_').filter(|part| part.starts_with('$')).unwrap_or(part);
        parts.push(ESCAPES.iter().fold(part.to_owned(), |part, (from, to)| part.replace(from, to)));
        rest = after;
    }
    // The last one is a hash.
    if parts.last().is_some_and(|part| part.len() == 17 && part.starts_with('h')) {
        parts.pop();
    }
    (!parts.is_empty()).then_some(parts)
}

/// A path without types in it: a crate, and names within. What the newer form adds besides is left to the reader.
fn plain(mut rest: &str) -> Option<Vec<String>> {
    let mut depth = 1;
    while let Some(after) = rest.strip_prefix('N') {
        // The kind of what is named, a letter.
        rest = after.get(1..)?;
        depth += 1;
    }
    rest = rest.strip_prefix('C')?;
    let mut parts = Vec::new();
    for _ in 0..depth {
        // A number tells those of the same name apart.
        if let Some(after) = rest.strip_prefix('s') {
            rest = after.split_once('_')?.1;
        }
        let (length, after) = number(rest)?;
        // What follows the number may begin with one of its own, or with this.
        let after = after.strip_prefix('_').unwrap_or(after);
        let part = after.get(..length)?;
        parts.push(if part.is_empty() { "{closure}".to_owned() } else { part.to_owned() });
        rest = after.get(length..)?;
    }
    Some(parts)
}

/// The length of the name that follows.
fn number(text: &str) -> Option<(usize, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|digits| (1..=3).contains(digits))?;
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn names_of_rust_are_read_and_others_left_alone() {
        for (symbol, name) in [
            ("_ZN8borrower15ask_for_trouble17hdd49a03a6c61b965E", "borrower::ask_for_trouble"),
            (
                "_ZN29_$LT$a..B$u20$as$u20$c..D$GT$7execute28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
                "<a::B as c::D>::execute::{{closure}}",
            ),
            ("_ZN5_help2_$E", "_help::$"),
            ("_RNvNtCs9pv848UzQwQ_4core9panicking9panic_fmt", "core::panicking::panic_fmt"),
            ("_RNvCsfLfy6EI15iL_7___rustc17rust_begin_unwind", "__rustc::rust_begin_unwind"),
            ("_RNCNvNtCshXfaRvt2tfW_3std9panicking13panic_handler0B5_", "std::panicking::panic_handler::{closure}"),
            ("_RINvNtNtCshXfaRvt2tfW_3std3sys9backtrace3endE", "_RINvNtNtCshXfaRvt2tfW_3std3sys9backtrace3endE"),
            ("executor_execute", "executor_execute"),
            ("_ZN9shortE", "_ZN9shortE"),
            ("_ZN1é", "_ZN1é"),
            ("_RNvC999a", "_RNvC999a"),
            ("_R", "_R"),
            ("", ""),
        ] {
            assert_eq!(readable(symbol), name);
        }
    }
}
