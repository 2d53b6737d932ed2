//! Fixtures as components: a frame, and a guest in it. Also used by the benches.

use std::path::Path;

const PLACE: &str = "  ;; The guest goes here.\n";

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The whole component text of a fixture, whose name is also its kind.
pub(crate) fn text(name: &str) -> String {
    let frame = read("frame.wat").replace("KIND", name).replace("LEN", &format!("{:02x}", name.len()));
    let guest = read(&format!("{name}.wat"));
    let (head, tail) = frame.split_once(PLACE).expect("the frame has a place for the guest");
    let tail = tail.trim_end().strip_suffix(')').expect("the frame ends with its component");
    let dispatcher = if guest.contains("(export \"dispatch\")") { read("dispatcher.wat") } else { String::new() };
    format!("{head}{guest}{tail}{dispatcher})\n")
}

/// Component text as a binary component.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}
