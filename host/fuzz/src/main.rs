//! Writes valid components that nobody wrote, always the same ones: `taskhost-fuzz COUNT FILE`.
//!
//! The file is a sequence of lengths (32 bits, little-endian) and components. `cargo xtask fuzz` throws them at the loader.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use arbitrary::{Arbitrary, Unstructured};
use fastrand::Rng;
use wasm_smith::Component;

/// Bytes of randomness that become a component.
const SEED_BYTES: std::ops::Range<usize> = 64..4096;

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: taskhost-fuzz COUNT FILE");
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().and_then(|count| count.parse().ok()).ok_or_else(usage)?;
    let mut file = BufWriter::new(File::create(arguments.next().ok_or_else(usage)?)?);
    let mut random = Rng::with_seed(1);
    for _ in 0..count {
        let component = component(&mut random);
        let length = u32::try_from(component.len()).map_err(io::Error::other)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&component)?;
    }
    file.flush()
}

/// Randomness that makes no component is passed over.
fn component(random: &mut Rng) -> Vec<u8> {
    loop {
        let length = random.usize(SEED_BYTES);
        let seed: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        if let Ok(component) = Component::arbitrary(&mut Unstructured::new(&seed)) {
            return component.to_bytes();
        }
    }
}
