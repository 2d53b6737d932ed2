//! Building the plugins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::shell::{cargo, root, run, target};
use crate::tools::WASM_TARGET;

/// The plugins of this repository: the crate's name, which is the plugin's too, and its folder.
pub(crate) const PLUGINS: [(&str, &str); 6] = [
    ("video-cut", "plugins/video-cut"),
    ("video-clear", "plugins/video-clear"),
    ("command", "plugins/command"),
    ("echo", "examples/echo"),
    ("webhook", "examples/webhook"),
    ("remote-cut", "examples/remote-cut"),
];

/// Plugins that only tests use.
pub(crate) const TESTERS: [(&str, &str); 3] = [
    ("borrower", "host/tests/guests/borrower"),
    ("outside", "host/tests/guests/outside"),
    ("web-probe", "host/tests/guests/web-probe"),
];

/// Builds every plugin and puts them with their manifests into `target/plugins`, which it answers; those for tests into
/// `target/test-plugins`.
pub(crate) fn build() -> Result<PathBuf> {
    let packages: Vec<&str> = PLUGINS.iter().chain(&TESTERS).flat_map(|(name, _)| ["--package", name]).collect();
    compile(&packages)?;
    let dir = target().join("plugins");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, folder) in PLUGINS {
        // The manifest first: a host that watches the folder never sees a plugin without its grants.
        let manifest = format!("{name}.toml");
        place(&root().join(folder).join(&manifest), &dir.join(&manifest))?;
        place(&built(name), &dir.join(format!("{name}.wasm")))?;
    }
    let testers = testers();
    fs::create_dir_all(&testers).with_context(|| format!("cannot create {}", testers.display()))?;
    for (name, _) in TESTERS {
        place(&built(name), &testers.join(format!("{name}.wasm")))?;
    }
    Ok(dir)
}

/// Where the plugins that only tests use are.
pub(crate) fn testers() -> PathBuf {
    target().join("test-plugins")
}

/// Builds a second version of echo, which answers `[input, input]`, into a file of its own, which it answers.
pub(crate) fn build_second_echo() -> Result<PathBuf> {
    compile(&["--package", "echo", "--features", "twice"])?;
    let file = target().join("echo-twice.wasm");
    place(&built("echo"), &file)?;
    Ok(file)
}

fn compile(what: &[&str]) -> Result<()> {
    let arguments = [&["build", "--target", WASM_TARGET, "--profile", "guest"], what].concat();
    run(cargo(&arguments).env("CARGO_ENCODED_RUSTFLAGS", portable_paths()?.join("\u{1f}")))
}

/// What makes a component the same, byte by byte, wherever it is built: panics name their place in the source.
fn portable_paths() -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("no home directory")?;
    // Each registry has a folder of its own, named after it.
    let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten().map(|entry| entry.path());
    let places = registries.map(|registry| (registry, "deps")).chain([(root(), ".")]);
    Ok(places.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect())
}

fn built(name: &str) -> PathBuf {
    target().join(WASM_TARGET).join("guest").join(format!("{}.wasm", name.replace('-', "_")))
}

/// Copies a file in one step for those who watch: they see the old one or the new one. What has not changed is left
/// alone, so that nobody reloads for nothing.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let temporary = to.with_file_name(format!(".{name}.tmp"));
    fs::write(&temporary, bytes).with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, to).with_context(|| format!("cannot rename to {}", to.display()))
}
