//! The examples in other languages than Rust, each built by its language's own tools.
//!
//! Everything happens below `target/languages`: `tools` has what was installed, `plugins` the components and their
//! manifests, and the other folders are copies of the examples, where the tools may write what they like.

mod c;
mod javascript;
mod python;
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::plugins::place;
use crate::shell::{cargo, output, root, run, say, target};
use crate::tools::WASM_TARGET;

/// A language that plugins are written in, and its tools.
struct Language {
    /// What `taskhost plugin new --lang` calls it.
    name: &'static str,
    /// What of its tools is not there yet.
    missing: fn() -> Option<String>,
    /// Installs its tools.
    install: fn() -> Result<()>,
    /// Builds the component in a folder, and answers where it is. The second argument is the plugin's name.
    compile: fn(&Path, &str) -> Result<PathBuf>,
}

const LANGUAGES: [Language; 4] = [
    Language { name: "rust", missing: || None, install: crate::tools::need_wasm_target, compile: rust },
    Language {
        name: "python",
        missing: python::missing,
        install: python::install,
        compile: |dir, name| python::compile(dir, name),
    },
    Language {
        name: "js",
        missing: javascript::missing,
        install: javascript::install,
        compile: |dir, name| javascript::compile(dir, name),
    },
    Language { name: "c", missing: c::missing, install: c::install, compile: |dir, name| c::compile(dir, name) },
];

/// The examples: the language, the folder and the plugin's name. Those in Rust are built with the workspace.
const EXAMPLES: [(&str, &str, &str); 3] = [
    ("python", "examples/python", "text-stats"),
    ("js", "examples/javascript", "video-poster"),
    ("c", "examples/c", "checksum"),
];

/// Plugins that only tests use.
const TESTERS: [(&str, &str, &str); 2] =
    [("python", "host/tests/guests/web-python", "web-python"), ("js", "host/tests/guests/web-js", "web-js")];

/// Where the tools are installed and the components are built.
fn home() -> PathBuf {
    target().join("languages")
}

/// Where the components and their manifests are.
pub(crate) fn plugins() -> PathBuf {
    home().join("plugins")
}

fn language(name: &str) -> Result<&'static Language> {
    LANGUAGES.iter().find(|language| language.name == name).with_context(|| format!("no language {name:?}"))
}

/// Builds the examples whose tools are there, and says what the others lack.
pub(crate) fn build_possible() -> Result<()> {
    for (name, folder, plugin) in EXAMPLES {
        match (language(name)?.missing)() {
            None => example(name, folder, plugin)?,
            Some(what) => say(&format!("{plugin} is left out: {what}; `cargo xtask languages` installs it")),
        }
    }
    Ok(())
}

/// Installs what is missing and builds every example; with `templates` also what tests need: what `taskhost plugin new`
/// writes, once a language (`add-rust`, `add-python`, `add-js` and `add-c`), and plugins of their own.
pub(crate) fn build(templates: bool) -> Result<()> {
    for language in &LANGUAGES {
        (language.install)()?;
    }
    for (name, folder, plugin) in EXAMPLES {
        example(name, folder, plugin)?;
    }
    if templates {
        run(&mut cargo(&["build", "--workspace", "--bin", "taskhost"]))?;
        for language in &LANGUAGES {
            template(language)?;
        }
        for (name, folder, plugin) in TESTERS {
            example(name, folder, plugin)?;
        }
    }
    Ok(())
}

/// Installs what one language needs and builds its example.
pub(crate) fn build_one(wanted: &str) -> Result<()> {
    (language(wanted)?.install)()?;
    let one = EXAMPLES.iter().find(|(name, ..)| *name == wanted);
    let (name, folder, plugin) = one.with_context(|| format!("no example in {wanted:?}"))?;
    example(name, folder, plugin)
}

fn example(name: &str, folder: &str, plugin: &str) -> Result<()> {
    let staged = home().join(plugin);
    stage::example(&root().join(folder), &staged)?;
    finish(language(name)?, &staged, plugin)
}

fn template(language: &Language) -> Result<()> {
    let plugin = format!("add-{}", language.name);
    let fresh = home().join("new").join(&plugin);
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove {}", fresh.display()))?;
    }
    let taskhost = target().join("debug/taskhost");
    let mut new = Command::new(taskhost);
    output(new.args(["plugin", "new", &plugin, "--lang", language.name, "--dir"]).arg(&fresh))?;
    let staged = home().join(&plugin);
    stage::copy(&fresh, &staged)?;
    finish(language, &staged, &plugin)
}

/// Builds what is staged, unless nothing has changed since it was built, and puts it with the others.
fn finish(language: &Language, staged: &Path, plugin: &str) -> Result<()> {
    let component = plugins().join(format!("{plugin}.wasm"));
    let stamp = staged.join(".built");
    let inputs = stage::fingerprint(staged)?;
    if component.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|built| built == inputs) {
        return Ok(());
    }
    say(&format!("building {plugin} ({})", language.name));
    let built = (language.compile)(staged, plugin)?;
    std::fs::create_dir_all(plugins())?;
    let manifest = format!("{plugin}.toml");
    // A test writes what it grants by itself.
    if staged.join(&manifest).is_file() {
        place(&staged.join(&manifest), &plugins().join(&manifest))?;
    }
    place(&built, &component)?;
    std::fs::write(&stamp, inputs).with_context(|| format!("cannot write {}", stamp.display()))
}

fn rust(dir: &Path, plugin: &str) -> Result<PathBuf> {
    let out = home().join("rust-target");
    let mut build = cargo(&["build", "--release", "--target", WASM_TARGET]);
    run(build.current_dir(dir).env("CARGO_TARGET_DIR", &out))?;
    Ok(out.join(WASM_TARGET).join("release").join(format!("{}.wasm", plugin.replace('-', "_"))))
}

/// What a program says about its version, if it is there.
fn version(program: &str, argument: &str) -> Option<String> {
    output(Command::new(program).arg(argument)).ok().map(|text| text.trim().to_owned())
}

/// Makes sure that a program is there, by Debian's packages if need be.
fn need(program: &str, argument: &str, packages: &[&str]) -> Result<()> {
    if version(program, argument).is_some() {
        return Ok(());
    }
    crate::tools::apt(packages)?;
    if version(program, argument).is_none() {
        bail!("`{program} {argument}` fails, although {} is installed", packages.join(" "));
    }
    Ok(())
}
