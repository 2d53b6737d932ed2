use std::sync::{Arc, Mutex};

use super::{Book, MAX_LINE_BYTES};
use crate::plugin::ports::{LogLevel, LogLine, LogPort, LogSource};
use crate::secret::{Censor, Secret};
use crate::task::TaskId;

#[derive(Default)]
struct Lines(Mutex<Vec<LogLine>>);

impl LogPort for Lines {
    fn append(&self, _task: TaskId, line: LogLine) -> bool {
        self.0.lock().unwrap().push(line);
        true
    }
}

fn book(limit_bytes: u64) -> (Arc<Lines>, Book) {
    let lines = Arc::new(Lines::default());
    let book = Book::new(lines.clone(), "p", (Some((TaskId::from_u128(1), 1)), Arc::default()), limit_bytes);
    (lines, book)
}

fn texts(lines: &Lines) -> Vec<String> {
    lines.0.lock().unwrap().iter().map(|line| line.message.clone()).collect()
}

#[test]
fn output_is_cut_into_lines_wherever_the_writes_end() {
    let (lines, book) = book(1000);
    book.output(LogSource::Stdout, b"one\r\ntw");
    book.output(LogSource::Stderr, b"oops\n");
    book.output(LogSource::Stdout, b"o\n\nrest");
    book.finish();
    assert_eq!(texts(&lines), ["one", "oops", "two", "", "rest"]);
}

#[test]
fn output_without_a_lines_end_is_cut_at_the_bound() {
    let (lines, book) = book(1 << 20);
    book.output(LogSource::Stdout, &vec![b'a'; 2 * MAX_LINE_BYTES + 3]);
    book.finish();
    assert_eq!(texts(&lines).iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE_BYTES, MAX_LINE_BYTES, 3]);
}

#[test]
fn what_is_over_the_share_is_counted_and_told_once() {
    let (lines, book) = book(10);
    book.line(LogLevel::Info, "12345".to_owned(), Vec::new());
    book.line(LogLevel::Info, "123456".to_owned(), Vec::new());
    book.line(LogLevel::Info, "1".to_owned(), Vec::new());
    drop(book);
    let texts = texts(&lines);
    assert_eq!(texts.len(), 2);
    assert!(texts[1].starts_with("2 lines (9 bytes) dropped"), "{texts:?}");
}

#[test]
fn the_end_of_standard_error_is_kept_also_beyond_the_share() {
    let (_lines, book) = book(10);
    book.output(LogSource::Stdout, b"not this\n");
    assert_eq!(book.last_words(), None);
    book.output(LogSource::Stderr, b"Traceback:\n\n  ValueError: no");
    book.output(LogSource::Stderr, b" such luck");
    assert_eq!(book.last_words().unwrap(), "Traceback: | ValueError: no such luck");
    book.output(LogSource::Stderr, "ä".repeat(2000).as_bytes());
    assert_eq!(book.last_words().unwrap(), "ä".repeat(512));
}

#[test]
fn messages_and_fields_are_bounded() {
    let (lines, book) = book(1 << 20);
    book.line(LogLevel::Info, "ä".repeat(MAX_LINE_BYTES), vec![("k".repeat(1000), "v".repeat(10_000)); 100]);
    book.line(LogLevel::Info, "a\nb".to_owned(), Vec::new());
    book.finish();
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines[0].message.len(), MAX_LINE_BYTES);
    assert_eq!(lines[0].fields.len(), 32);
    assert!(lines[0].fields.iter().all(|(key, value)| key.len() == 128 && value.len() == 4096));
    assert_eq!(lines[1].message, "a\\nb");
    assert!(lines[2].message.starts_with("0 lines ("), "{}", lines[2].message);
}

fn hiding(secret: &str) -> (Arc<Lines>, Book) {
    let censor = Censor::of(&[("KEY".to_owned(), Secret::new(secret).unwrap())]);
    let (lines, book) = book(1 << 20);
    (lines, book.hiding(&Arc::new(censor)))
}

#[test]
fn no_line_shows_a_secret_wherever_it_is_cut() {
    const SECRET: &str = "k3y/of+everything";
    for before in MAX_LINE_BYTES - 40..MAX_LINE_BYTES + 40 {
        let (lines, book) = hiding(SECRET);
        let text = format!("{}{SECRET}{SECRET} and so on", "x".repeat(before));
        for piece in text.as_bytes().chunks(4099) {
            book.output(LogSource::Stdout, piece);
        }
        book.finish();
        let texts = texts(&lines);
        assert!(texts.iter().all(|text| text.len() <= MAX_LINE_BYTES), "{before}");
        assert!(
            !texts.concat().contains("k3y") && texts.concat().ends_with("[secret KEY][secret KEY] and so on"),
            "{before}"
        );
    }
}

#[test]
fn no_message_and_no_field_shows_a_secret() {
    const SECRET: &str = "k3y/of+everything";
    let (lines, book) = hiding(SECRET);
    for before in [0, MAX_LINE_BYTES - 5, 4091, 123] {
        let text = format!("{}{SECRET}", "x".repeat(before));
        book.line(LogLevel::Info, text.clone(), vec![(text.clone(), text)]);
    }
    book.host(LogLevel::Warn, format!("the host says {SECRET}"));
    book.output(LogSource::Stderr, format!("panicked: {SECRET}").as_bytes());
    assert_eq!(book.last_words().unwrap(), "panicked: [secret KEY]");
    for line in &*lines.0.lock().unwrap() {
        let fields = line.fields.iter().flat_map(|(key, value)| [key, value]);
        assert!(fields.chain([&line.message]).all(|text| !text.contains("k3y")), "{line:?}");
    }
}
