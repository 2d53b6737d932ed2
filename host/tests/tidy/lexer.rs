//! Splits Rust into words, literals and single characters; comments are left out.

use std::ops::RangeInclusive;

/// A word, a literal or one character of punctuation.
pub(crate) struct Token {
    /// As written; empty for a literal, so that its content is never taken for code.
    pub(crate) text: String,
    /// Counts from 1.
    pub(crate) line: usize,
    pub(crate) last_line: usize,
}

impl Token {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }

    pub(crate) fn lines(&self) -> RangeInclusive<usize> {
        self.line..=self.last_line
    }
}

/// The tokens of a file.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return false };
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(block_comment(rest));
        } else if let Some(len) = string(rest).or_else(|| character(rest)) {
            self.push(len, true);
        } else if first.is_alphanumeric() || first == '_' {
            let word = rest.strip_prefix("r#").unwrap_or(rest);
            let len = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
            self.skip(rest.len() - word.len());
            self.push(len, false);
        } else {
            self.push(first.len_utf8(), false);
        }
        true
    }

    fn skip(&mut self, len: usize) -> &str {
        let (skipped, rest) = self.rest.split_at(len);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
        skipped
    }

    fn push(&mut self, len: usize, literal: bool) {
        let line = self.line;
        let text = self.skip(len);
        let text = if literal { String::new() } else { text.to_owned() };
        self.tokens.push(Token { text, line, last_line: self.line });
    }
}

/// The length of a nested block comment.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a string, also a raw, a byte or a C string.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            let quoted = if prefix.ends_with('r') { rest.trim_start_matches('#') } else { rest };
            quoted.starts_with('"')
        })
    })?;
    let body = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let content = &body[hashes + 1..];
        let len = content.find(&end).map_or(content.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + len);
    }
    Some(prefix.len() + quoted(body, '"'))
}

/// The length of a character, also of a byte; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let prefix = usize::from(text.starts_with("b'"));
    let body = text[prefix..].strip_prefix('\'')?;
    let first = body.chars().next()?;
    (first == '\\' || body[first.len_utf8()..].starts_with('\'')).then(|| prefix + quoted(&text[prefix..], '\''))
}

/// The length of what stands between two `quote`s, both included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}
