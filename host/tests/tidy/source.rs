//! A Rust file as tokens, with what the rules need to know of its structure.

use std::collections::BTreeSet;
use std::ops::Range;

use super::lexer::{Token, tokens};

/// One file.
pub(crate) struct Source {
    /// Relative to the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// Ranges of tokens that are compiled for tests only.
    tests: Vec<Range<usize>>,
    /// Ranges of tokens within inline modules.
    modules: Vec<Range<usize>>,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Lines of its body that hold code.
    pub(crate) code_lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let mut source =
            Self { path: path.to_owned(), text: text.to_owned(), tokens, tests: Vec::new(), modules: Vec::new() };
        for at in 0..source.tokens.len() {
            if source.is_test_attribute(at) {
                let inner = source.is(at + 1, "!");
                let end = if inner { source.tokens.len() } else { source.end_of_item(at) };
                source.tests.push(at..end);
            }
            if source.is(at, "mod") && source.is(at + 2, "{") {
                source.modules.push(at + 3..source.closing(at + 2));
            }
        }
        if path.starts_with("host/tests/") {
            source.tests.push(0..source.tokens.len());
        }
        source
    }

    /// Marks the whole file as compiled for tests only.
    pub(crate) fn mark_as_test(&mut self) {
        self.tests.push(0..self.tokens.len());
    }

    /// Whether the token at `at` is `text`.
    pub(crate) fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }

    /// Whether `::` begins at `at`.
    pub(crate) fn is_path_separator(&self, at: usize) -> bool {
        self.is(at, ":") && self.is(at + 1, ":")
    }

    /// Whether the token at `at` is compiled for tests only.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// Inline modules around the token at `at`.
    pub(crate) fn inline_depth(&self, at: usize) -> usize {
        self.modules.iter().filter(|range| range.contains(&at)).count()
    }

    /// The lines that are compiled for tests only, comments included.
    pub(crate) fn test_text(&self) -> String {
        if self.tests.contains(&(0..self.tokens.len())) {
            return self.text.clone();
        }
        let line = |at: usize| self.tokens.get(at).map_or(usize::MAX, |token| token.last_line);
        let ranges: Vec<_> =
            self.tests.iter().map(|range| line(range.start)..=line(range.end.saturating_sub(1))).collect();
        let lines = self.text.lines().enumerate();
        let lines = lines.filter(|(at, _)| ranges.iter().any(|range| range.contains(&(at + 1))));
        lines.flat_map(|(_, line)| [line, "\n"]).collect()
    }

    /// Names of modules in other files that are compiled for tests only.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let of_range = |range: &Range<usize>| {
            let at = range.clone().find(|at| self.is(*at, "mod") && self.is(at + 2, ";"))?;
            Some(self.tokens[at + 1].text.clone())
        };
        self.tests.iter().filter_map(of_range).collect()
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        (0..self.tokens.len()).filter(|at| self.is(*at, "fn")).filter_map(|at| self.function(at)).collect()
    }

    /// What the path that goes on at `at` (behind a `::`) begins with: one name, or those of a group.
    pub(crate) fn heads(&self, at: usize) -> Vec<String> {
        if !self.is(at, "{") {
            return self.tokens.get(at).map(|token| token.text.clone()).into_iter().collect();
        }
        let (mut heads, mut depth) = (Vec::new(), 0_usize);
        for i in at..self.closing(at) {
            match self.tokens[i].text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                text if depth == 1 && (i == at + 1 || self.is(i - 1, ",")) => heads.push(text.to_owned()),
                _ => {}
            }
        }
        heads
    }

    fn function(&self, at: usize) -> Option<Function> {
        let name = self.tokens.get(at + 1).filter(|token| token.is_word())?;
        let open = self.opening(at)?;
        let body = open + 1..self.closing(open);
        let lines: BTreeSet<usize> = self.tokens[body].iter().flat_map(Token::lines).collect();
        Some(Function { name: name.text.clone(), line: name.line, code_lines: lines.len() })
    }

    /// `#[cfg(test)]`, `#[cfg(all(test, …))]` or `#![cfg(test)]`, but not `#[cfg(not(test))]`.
    fn is_test_attribute(&self, at: usize) -> bool {
        let bracket = if self.is(at + 1, "!") { at + 2 } else { at + 1 };
        if !(self.is(at, "#") && self.is(bracket, "[") && self.is(bracket + 1, "cfg")) {
            return false;
        }
        let words = &self.tokens[bracket..self.closing(bracket)];
        words.iter().any(|token| token.text == "test") && words.iter().all(|token| token.text != "not")
    }

    /// Behind the item that begins with the attribute at `at`.
    fn end_of_item(&self, at: usize) -> usize {
        let mut start = at;
        while self.is(start, "#") && self.is(start + 1, "[") {
            start = self.closing(start + 1) + 1;
        }
        match self.opening(start) {
            Some(open) => self.closing(open) + 1,
            None => (start..self.tokens.len()).find(|at| self.is(*at, ";")).map_or(self.tokens.len(), |at| at + 1),
        }
    }

    /// The `{` of the item at `at`, unless the item ends with `;` before one.
    fn opening(&self, mut at: usize) -> Option<usize> {
        loop {
            match self.tokens.get(at)?.text.as_str() {
                "{" => return Some(at),
                ";" => return None,
                "(" | "[" => at = self.closing(at) + 1,
                _ => at += 1,
            }
        }
    }

    /// The bracket that closes the one at `at`.
    fn closing(&self, at: usize) -> usize {
        let mut depth = 0_usize;
        for i in at..self.tokens.len() {
            match self.tokens[i].text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" if depth <= 1 => return i,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
        }
        self.tokens.len()
    }
}
