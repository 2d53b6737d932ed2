//! Components that nobody wrote: whatever they are, the loader refuses or loads them and goes on.

use fastrand::Rng;
use futures_util::FutureExt as _;

use crate::plugin::guest::tests::bench::{Bench, text};
use crate::plugin::limits::Limits;
use crate::plugin::link::Grants;
use crate::task::Outcome;

/// Plugins that are bent at least.
const BENT: usize = 300;

/// The components of the file that `TASKHOST_COMPONENTS` names, as `cargo xtask fuzz` writes it.
fn generated() -> Vec<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "the file is for whoever runs the tests")]
    let Ok(path) = std::env::var("TASKHOST_COMPONENTS") else { return Vec::new() };
    let file = std::fs::read(path).unwrap();
    let (mut rest, mut components) = (&file[..], Vec::new());
    while let Some((length, more)) = rest.split_first_chunk() {
        let (component, more) = more.split_at(u32::from_le_bytes(*length) as usize);
        components.push(component.to_vec());
        rest = more;
    }
    components
}

/// A plugin with some bytes changed, left out or doubled.
fn bent(random: &mut Rng, sound: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(sound).unwrap().clone();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(8..bytes.len());
        match random.u8(..4) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..(at + random.usize(1..16)).min(bytes.len()))),
            _ => {
                let piece = bytes[at..(at + random.usize(1..64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
        if bytes.len() <= 9 {
            break;
        }
    }
    bytes
}

/// Loads it as far as it goes; whether that was the whole way.
async fn load(bench: &Bench, bytes: &[u8]) -> bool {
    match bench.link(bytes, Limits::default(), Grants::default()) {
        Ok(linked) => linked.describe().await.is_ok(),
        Err(refusal) => {
            let text = refusal.to_string();
            assert!(!text.contains("panicked"), "{text}");
            false
        }
    }
}

#[tokio::test]
async fn i11_whatever_is_thrown_at_the_loader_it_goes_on() {
    let bench = Bench::new();
    let sound: Vec<Vec<u8>> = ["ok", "log", "print", "count", "dispatch-cursor", "wait"]
        .map(|fixture| wat::parse_bytes(&text(fixture)).unwrap().into_owned())
        .into();
    let mut random = Rng::with_seed(2);
    let generated = generated();
    let bent = (0..generated.len().max(BENT)).map(|_| bent(&mut random, &sound));
    let mut loaded = 0_u32;
    for bytes in generated.iter().cloned().chain(bent) {
        let Ok(went) = std::panic::AssertUnwindSafe(load(&bench, &bytes)).catch_unwind().await else {
            let path = std::env::temp_dir().join("taskhost-component.wasm");
            std::fs::write(&path, &bytes).unwrap();
            panic!("the loader panicked on {}", path.display());
        };
        loaded += u32::from(went);
    }
    assert!(loaded > 0, "some of the bent plugins still work");
    let ok = bench.load("ok", Limits::default());
    assert!(matches!(bench.run(&ok).await, Outcome::Succeeded { .. }));
    bench.all_places_are_free().await;
}
