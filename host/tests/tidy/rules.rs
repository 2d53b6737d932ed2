//! The rules that look at one file.

use super::source::Source;

/// What each module of the host may use besides itself. A missing row is an error, too.
///
/// `time, retry <- task <- schedule <- {limit, event} <- store <- {media, runner, ticker, api} <- host <- cli`
pub(crate) const EDGES: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("retry", &[]),
    ("process", &[]),
    ("sync", &[]),
    ("mac", &[]),
    ("limiter", &["sync"]),
    ("spelling", &[]),
    ("quantity", &[]),
    ("secret", &[]),
    ("task", &["time", "retry"]),
    ("schedule", &["time", "retry", "task", "spelling"]),
    ("limit", &["time", "task", "schedule"]),
    ("event", &["time", "retry", "task", "schedule"]),
    ("store", &["time", "retry", "task", "schedule", "limit", "event"]),
    // Guests reach the rest of the host only through the ports that the plugin runtime owns.
    ("plugin", &["time", "retry", "task", "quantity", "secret", "spelling", "sync", "mac"]),
    ("logs", &["time", "task", "plugin"]),
    ("ffmpeg", &["process"]),
    ("media", &["time", "retry", "task", "schedule", "event", "store"]),
    ("runner", &["time", "retry", "task", "schedule", "event", "store", "plugin", "limiter"]),
    ("ticker", &["time", "retry", "task", "schedule", "event", "store", "plugin", "limiter", "logs"]),
    // The API and the runner meet in the store only.
    (
        "api",
        &[
            "time", "retry", "task", "schedule", "limit", "event", "store", "plugin", "limiter", "media", "logs",
            "spelling",
        ],
    ),
    ("config", &["time", "retry", "task", "schedule", "limit", "limiter", "ffmpeg", "spelling", "quantity", "secret"]),
    (
        "host",
        &[
            "api", "config", "event", "ffmpeg", "limiter", "logs", "mac", "media", "plugin", "process", "retry",
            "runner", "schedule", "store", "task", "ticker", "time",
        ],
    ),
    ("cli", &["config", "host", "plugin", "quantity", "store", "task"]),
    ("main", &["cli"]),
];

/// A file is about one concept.
pub(crate) const MAX_FILE_LINES: usize = 400;
/// The life of the process fits on a screen.
pub(crate) const MAX_MAIN_LINES: usize = 60;
/// Lines of code in the body of a function.
pub(crate) const MAX_FUNCTION_LINES: usize = 60;

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

fn finding(source: &Source, line: usize, message: String) -> Finding {
    Finding { path: source.path.clone(), line, message }
}

/// Uses of another module that the table does not allow; tests may use anything.
pub(crate) fn edges(source: &Source) -> Vec<Finding> {
    let Some(path) = source.path.strip_prefix("host/src/").and_then(|path| path.strip_suffix(".rs")) else {
        return Vec::new();
    };
    let module = path.split('/').next().unwrap_or(path);
    if module == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
        return vec![finding(source, 1, format!("module `{module}` has no row in the table of edges"))];
    };
    let root = if module == "main" { "taskhost" } else { "crate" };
    let depth = if module == "main" { 0 } else { path.split('/').count() };
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        let Some(head) = head_of_root_path(source, at, root, depth) else { continue };
        if source.is_test(at) {
            continue;
        }
        for target in source.heads(head) {
            if target != module && !allowed.contains(&target.as_str()) {
                let message = format!("`{module}` must not use `{target}`; it may use {}", list(allowed));
                found.push(finding(source, source.tokens[at].line, message));
            }
        }
    }
    found
}

/// Where a path that begins at `at` goes on behind the root of the crate, if it reaches the root.
fn head_of_root_path(source: &Source, at: usize, root: &str, depth: usize) -> Option<usize> {
    if source.is(at, root) && source.is_path_separator(at + 1) {
        return Some(at + 3);
    }
    if !source.is(at, "super") || (at >= 2 && source.is_path_separator(at - 2)) {
        return None;
    }
    let mut next = at;
    while source.is(next, "super") && source.is_path_separator(next + 1) {
        next += 3;
    }
    ((next - at) / 3 >= depth + source.inline_depth(at)).then_some(next)
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing of ours".to_owned() } else { names.join(", ") }
}

/// Files and functions that are too long.
pub(crate) fn budgets(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    let bound = if source.path == "host/src/main.rs" { MAX_MAIN_LINES } else { MAX_FILE_LINES };
    if lines > bound {
        found.push(finding(source, lines, format!("the file has {lines} lines; {bound} are allowed")));
    }
    for function in source.functions() {
        if function.code_lines > MAX_FUNCTION_LINES {
            let (name, code_lines) = (&function.name, function.code_lines);
            let message = format!("`{name}` has {code_lines} lines of code; {MAX_FUNCTION_LINES} are allowed");
            found.push(finding(source, function.line, message));
        }
    }
    found
}

/// What is unfinished.
pub(crate) fn leftovers(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if ["todo", "unimplemented", "dbg"].contains(&token.text.as_str()) && source.is(at + 1, "!") {
            found.push(finding(source, token.line, format!("`{}!` is left", token.text)));
        }
    }
    for (at, line) in source.text.lines().enumerate() {
        for word in ["TODO", "FIXME", "XXX"] {
            if has_word(line, word) {
                found.push(finding(source, at + 1, format!("`{word}` is left")));
            }
        }
    }
    found
}

/// Tests that wait for time to pass instead of an event, unless a comment `// tidy: …` on the
/// line or the one above says why.
pub(crate) fn sleeps(source: &Source) -> Vec<Finding> {
    let lines: Vec<_> = source.text.lines().collect();
    let excused = |line: usize| {
        let near = lines.iter().take(line).skip(line.saturating_sub(2));
        near.filter_map(|line| line.split_once("// tidy: ")).any(|(_, why)| !why.trim().is_empty())
    };
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let called = source.is(at + 1, "(") || at >= 2 && source.is_path_separator(at - 2);
        let method = at >= 1 && (source.is(at - 1, ".") || source.is(at - 1, "fn"));
        if token.text != "sleep" || !called || method || !source.is_test(at) {
            continue;
        }
        if !excused(token.line) {
            let message = "a test waits for an event, not for time (or says why: `// tidy: …`)".to_owned();
            found.push(finding(source, token.line, message));
        }
    }
    found
}

/// Libraries that stay behind one module: what they are called, and where they may be used.
const HOMES: &[(&str, &[&str])] = &[
    ("sled", &["store"]),
    ("wasmtime", &["plugin"]),
    ("wasmtime_wasi", &["plugin"]),
    ("wasmtime_wasi_http", &["plugin"]),
    ("rustls", &["plugin", "host"]),
    ("axum", &["api", "host"]),
    ("clap", &["cli", "main"]),
    ("croner", &["schedule"]),
    ("anyhow", &["cli", "host", "main"]),
];

/// Libraries that leak out of the module that hides them.
pub(crate) fn homes(source: &Source) -> Vec<Finding> {
    let Some(path) = source.path.strip_prefix("host/src/") else { return Vec::new() };
    let module = path.split(['/', '.']).next().unwrap_or(path);
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let Some((name, homes)) = HOMES.iter().find(|(name, _)| token.text == *name) else { continue };
        // Behind `::`, `{` or `,` it is the name of one of our own modules.
        let ours = at >= 1 && [":", "{", ","].iter().any(|before| source.is(at - 1, before));
        if !ours && source.is_path_separator(at + 1) && !homes.contains(&module) && !source.is_test(at) {
            found.push(finding(source, token.line, format!("`{name}` belongs into {} only", homes.join(", "))));
        }
    }
    found
}

/// Whether `word` stands in `text` by itself.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}
