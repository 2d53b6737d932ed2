//! Components that are small to write down and large to compile.

use std::fmt::Write as _;

use super::component::{encode, text};

/// The harmless fixture with something more in its core module.
fn ok_with(more: &str) -> Vec<u8> {
    let marker = "(func (export \"describe\")";
    let text = text("ok");
    assert!(text.contains(marker));
    encode(&text.replacen(marker, &format!("{more}\n{marker}"), 1))
}

/// One function of about so many instructions.
pub(crate) fn long_function(instructions: usize) -> Vec<u8> {
    let step = "local.get 0 local.get 1 i32.add local.tee 2 local.get 0 i32.mul local.set 1 ";
    ok_with(&format!("(func (param i32 i32 i32) (result i32) {} local.get 1)", step.repeat(instructions / 7)))
}

/// So many data segments.
pub(crate) fn many_segments(count: usize) -> Vec<u8> {
    ok_with(&"(data \"x\") ".repeat(count))
}

/// So many instances of an empty module beside the real one.
pub(crate) fn many_instances(count: usize) -> Vec<u8> {
    let text = text("ok");
    let marker = "(core instance $i (instantiate $m))";
    assert!(text.contains(marker));
    let more =
        format!("{marker} (core module $empty (memory 1)) {}", "(core instance (instantiate $empty)) ".repeat(count));
    encode(&text.replacen(marker, &more, 1))
}

/// A component in a component, so many times.
pub(crate) fn nested(depth: usize) -> Vec<u8> {
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    let mut inner = EMPTY.to_vec();
    for _ in 0..depth {
        // Section 4 holds a component.
        inner = [EMPTY, &[4], &leb128(inner.len()), &inner].concat();
    }
    inner
}

/// Types of which each is twice the one before it.
pub(crate) fn doubled_types(depth: usize) -> Vec<u8> {
    let mut text = String::from("(component (type $t0 (tuple string string))");
    for level in 1..=depth {
        let below = level - 1;
        write!(text, "(type $t{level} (tuple $t{below} $t{below}))").unwrap();
    }
    encode(&format!("{text} (type (func (param \"x\" $t{depth}))))"))
}

/// A component with a custom section of so many bytes at its end.
pub(crate) fn with_custom_section(component: &[u8], bytes: usize) -> Vec<u8> {
    // Its name is one byte long, and so is that length.
    [component, &[0], &leb128(bytes + 2), &[1, b'n'], &vec![0; bytes]].concat()
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
