//! Copies of examples with the contract beside them, where tools may write what they like.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::plugins::place;
use crate::shell::{cargo, output, root};

/// What tools make: neither copied nor looked at.
const MADE: [&str; 8] =
    [".built", ".venv", "__pycache__", "generated", "node_modules", "target", "package-lock.json", "Cargo.lock"];

/// Copies an example, and the contract into its `wit/deps`, as `taskhost plugin wit` does; WASI, too, where its world imports
/// that.
pub(super) fn example(from: &Path, to: &Path) -> Result<()> {
    copy(from, to)?;
    let (wit, deps) = (root().join("wit"), to.join("wit/deps"));
    copy(&wit.join("deps"), &deps)?;
    std::fs::create_dir_all(deps.join("plugin"))?;
    if std::fs::read_to_string(to.join("wit/world.wit")).is_ok_and(|world| world.contains("import wasi:")) {
        copy(&wasi()?, &deps)?;
    }
    place(&wit.join("plugin.wit"), &deps.join("plugin/plugin.wit"))
}

/// The WIT of WASI, which comes with its bindings for Rust.
fn wasi() -> Result<PathBuf> {
    let metadata: Value = serde_json::from_str(&output(&mut cargo(&["metadata", "--format-version", "1"]))?)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let bindings = packages.into_iter().find(|package| package["name"] == "wasip2");
    let manifest = bindings.and_then(|package| package["manifest_path"].as_str()).map(Path::new);
    let folder = manifest.and_then(Path::parent).context("cargo names no package wasip2")?;
    Ok(folder.join("wit/deps"))
}

/// Copies a folder, leaving alone what has not changed.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    each(from, &mut |path| {
        let target = to.join(path.strip_prefix(from).unwrap_or(path));
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        place(path, &target)
    })
}

/// Changes when anything in a folder does that a component is built from, or the version of this tool.
pub(super) fn fingerprint(dir: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    each(dir, &mut |path| {
        path.hash(&mut hasher);
        std::fs::read(path)?.hash(&mut hasher);
        Ok(())
    })?;
    Ok(format!("{:016x}", hasher.finish()))
}

/// Every file that is not made by a tool, in the order of names.
fn each(dir: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if MADE.contains(&name.as_str()) || [".wasm", ".o"].iter().any(|end| name.ends_with(end)) {
            continue;
        }
        if path.is_dir() {
            each(&path, visit)?;
        } else {
            visit(&path)?;
        }
    }
    Ok(())
}
