//! `taskhost plugin new` and `taskhost plugin wit`

use std::io;
use std::path::{Path, PathBuf};

use super::template::{self, Language};
use crate::cli::{Exit, complain, print};

/// Bytes of a new plugin's name at most: a kind's and a crate's name are made of it.
const MAX_NAME_BYTES: usize = 64;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct NewArguments {
    /// What the plugin and its kind are called: small letters, digits and dashes, beginning with a letter
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// The folder to create [default: NAME]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct WitArguments {
    /// Where to: the `wit/deps` of a plugin in Python, JavaScript or C, the `wit` of one in Rust
    #[arg(value_name = "FOLDER")]
    dir: PathBuf,
}

/// Writes a plugin that works, into a folder that is new or empty, and says how to build it.
pub(in crate::cli) fn new(arguments: NewArguments) -> Exit {
    let NewArguments { name, lang, dir } = arguments;
    if let Some(mistake) = mistake(&name) {
        return failed(&mistake);
    }
    let dir = dir.unwrap_or_else(|| PathBuf::from(&name));
    match is_free(&dir) {
        Ok(true) => {}
        Ok(false) => return failed(&format!("{} is there and not empty: choose another --dir", dir.display())),
        Err(error) => return failed(&format!("cannot look at {}: {error}", dir.display())),
    }
    if let Err(told) = write(&dir, lang.files(&name)) {
        return failed(&told);
    }
    let dir = dir.display();
    let commands = lang.commands(&name).join("\n  ");
    print(&format!("{dir} has a plugin that adds two numbers. Build it and try it:\n\n  cd {dir}\n  {commands}\n\n"));
    print(&format!("{dir}/README.md says how to go on.\n"));
    Exit::Done
}

/// Writes the contract, also over an older one.
pub(in crate::cli) fn wit(arguments: &WitArguments) -> Exit {
    let dir = &arguments.dir;
    // A folder that has the package of roles and worlds at its top is laid out as the host's own.
    let files = if dir.join("plugin.wit").is_file() { template::contract_at_top() } else { template::contract() };
    match write(dir, files) {
        Ok(()) => Exit::Done,
        Err(told) => failed(&told),
    }
}

fn failed(text: &str) -> Exit {
    complain(text);
    Exit::Failed
}

/// What is wrong with a name, if anything.
fn mistake(name: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(fits)
        && !name.ends_with('-');
    let rule = format!("1 to {MAX_NAME_BYTES} of a-z, 0-9 and -, beginning with a letter and not ending with a dash");
    (!good).then(|| format!("{name:?} cannot be a plugin's name: {rule}"))
}

/// Whether a folder can be filled: there is none, or nothing in it.
fn is_free(dir: &Path) -> io::Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn write(dir: &Path, files: Vec<(PathBuf, String)>) -> Result<(), String> {
    for (path, text) in files {
        let path = dir.join(path);
        let folder = path.parent().unwrap_or(dir);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(name: &str, dir: &Path) -> NewArguments {
        NewArguments { name: name.to_owned(), lang: Language::Python, dir: Some(dir.to_owned()) }
    }

    #[test]
    fn names_that_no_tool_would_take_are_refused() {
        for good in ["a", "sum-up", "a1"] {
            assert_eq!(mistake(good), None);
        }
        for bad in ["", "1a", "-a", "a-", "A", "a_b", "a.b", "../a", "ä", &"a".repeat(65)] {
            assert!(mistake(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_folder_with_anything_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "x").unwrap();
        assert_eq!(new(arguments("sum", dir.path())), Exit::Failed);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(new(arguments("Sum", &dir.path().join("fresh"))), Exit::Failed);
        assert_eq!(new(arguments("sum", &dir.path().join("fresh"))), Exit::Done);
        assert!(dir.path().join("fresh/wit/deps/plugin/plugin.wit").is_file());
    }

    #[test]
    fn the_contract_is_written_as_it_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        let wit = |dir: PathBuf| wit(&WitArguments { dir });
        let deps = dir.path().join("deps");
        assert_eq!(wit(deps.clone()), Exit::Done);
        assert!(deps.join("plugin/plugin.wit").is_file() && deps.join("task/types.wit").is_file());
        let top = dir.path().join("wit");
        std::fs::create_dir(&top).unwrap();
        std::fs::write(top.join("plugin.wit"), "old").unwrap();
        assert_eq!(wit(top.clone()), Exit::Done);
        assert!(std::fs::read_to_string(top.join("plugin.wit")).unwrap().contains("package taskhost:plugin"));
        assert!(top.join("deps/task/types.wit").is_file() && !top.join("plugin").exists());
    }
}
