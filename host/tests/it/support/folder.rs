//! The plugins folder, and what tests put into it.

use std::path::{Path, PathBuf};

use super::component::{encode, text};

/// A plugins folder.
pub(crate) struct Folder {
    path: PathBuf,
    staged: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: PathBuf, staged: PathBuf) -> Self {
        std::fs::create_dir_all(&staged).unwrap();
        Self { path, staged }
    }

    /// The component file of a plugin.
    pub(crate) fn component(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.wasm"))
    }

    /// Puts a plugin in, or replaces it: the manifest first, each file by a rename, as a careful operator would.
    pub(crate) fn put(&self, name: &str, component: &[u8], manifest: Option<&str>) {
        if let Some(manifest) = manifest {
            self.rename(&format!("{name}.toml"), manifest.as_bytes());
        }
        self.rename(&format!("{name}.wasm"), component);
    }

    /// Overwrites a component in place, as a careless operator would.
    pub(crate) fn overwrite(&self, name: &str, component: &[u8]) {
        std::fs::write(self.component(name), component).unwrap();
    }

    /// Removes a plugin.
    pub(crate) fn delete(&self, name: &str) {
        std::fs::remove_file(self.component(name)).unwrap();
        let manifest = self.path.join(format!("{name}.toml"));
        if manifest.exists() {
            std::fs::remove_file(manifest).unwrap();
        }
    }

    fn rename(&self, file: &str, bytes: &[u8]) {
        let staged = self.staged.join(file);
        std::fs::write(&staged, bytes).unwrap();
        std::fs::rename(staged, self.path.join(file)).unwrap();
    }
}

/// A fixture as a binary component.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    encode(&text(name))
}

/// A fixture of `hostile/`, or one of those beside it, as a binary component.
pub(crate) fn hostile(name: &str) -> Vec<u8> {
    let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.wat"));
    if plain.exists() { fixture(name) } else { super::frame::encode(name) }
}

/// A fixture with every occurrence of a text replaced; there must be one.
pub(crate) fn variant(name: &str, from: &str, to: &str) -> Vec<u8> {
    let text = text(name);
    assert!(text.contains(from), "{name}.wat does not contain {from:?}");
    encode(&text.replace(from, to))
}

/// The same code in a larger file with another digest: a custom section follows.
pub(crate) fn padded(component: &[u8], padding: usize) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // Id 0, its size in LEB128, the length of its name, its name.
    let size = padding + 4;
    assert!(size < 1 << 28, "four bytes of a size");
    let seven_bits = |shift: usize| u8::try_from((size >> shift) & 0x7f).unwrap();
    bytes.extend([0, seven_bits(0) | 0x80, seven_bits(7) | 0x80, seven_bits(14) | 0x80, seven_bits(21)]);
    bytes.extend([3, b'p', b'a', b'd']);
    bytes.resize(bytes.len() + padding, b'x');
    bytes
}

/// A plugin that `cargo xtask plugins` has built: its component and its manifest.
pub(crate) fn built(name: &str) -> (Vec<u8>, Option<String>) {
    let folder = built_folder();
    let component = read(&folder.join(format!("{name}.wasm")));
    (component, std::fs::read_to_string(folder.join(format!("{name}.toml"))).ok())
}

/// The plugin `outside` and its manifest.
pub(crate) fn outside() -> (Vec<u8>, &'static str) {
    (tester("outside"), include_str!("../../guests/outside/outside.toml"))
}

/// A plugin for tests that `cargo xtask plugins` has built.
pub(crate) fn tester(name: &str) -> Vec<u8> {
    read(&built_folder().with_file_name("test-plugins").join(format!("{name}.wasm")))
}

fn read(file: &Path) -> Vec<u8> {
    let read = std::fs::read(file);
    read.unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask plugins` first", file.display()))
}

/// Where `cargo xtask plugins` puts what it builds: beside the profile's folder that holds the binary under test.
fn built_folder() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_taskhost"));
    let target = binary.ancestors().find(|folder| folder.join("plugins").is_dir());
    target.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_path_buf).join("plugins")
}
