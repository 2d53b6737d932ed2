//! The files of a new plugin, a language each. They lie in `templates/`; the contract comes from `wit/` and the crate
//! for Rust from `plugins/sdk`, so that a plugin gets those of the host that writes it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// A language that plugins are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// With the crate taskhost-sdk; the smallest and fastest plugins
    Rust,
    /// With componentize-py
    Python,
    /// With componentize-js
    #[value(alias = "javascript")]
    Js,
    /// With clang, wasi-libc and wit-bindgen
    C,
}

/// A file below a folder, and what is in it.
type File = (&'static str, &'static str);

macro_rules! files {
    ($root:literal: $($path:literal $(=> $name:literal)?),+ $(,)?) => {
        &[$(files!(@one $root, $path $(, $name)?)),+]
    };
    (@one $root:literal, $path:literal) => {
        ($path, include_str!(concat!("../../../", $root, $path)))
    };
    (@one $root:literal, $path:literal, $name:literal) => {
        ($name, include_str!(concat!("../../../", $root, $path)))
    };
}

/// The package of roles and worlds.
const PLUGIN_PACKAGE: &str = "plugin.wit";
/// The contract as it lies in `wit/`.
const CONTRACT: &[File] = files!("../wit/":
    "plugin.wit",
    "deps/exec/command.wit",
    "deps/host/host.wit",
    "deps/media/media.wit",
    "deps/task/types.wit",
);
const SDK: &[File] = files!("../plugins/sdk/":
    "src/actuator.rs",
    "src/bindings.rs",
    "src/context.rs",
    "src/error.rs",
    "src/http.rs",
    "src/http/error.rs",
    "src/http/later.rs",
    "src/command.rs",
    "src/http/url.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/role.rs",
    "src/task.rs",
);
const WORLD: &[File] = files!("templates/": "world.wit" => "wit/world.wit");
const RUST: &[File] = files!("templates/rust/":
    "Cargo.toml.txt" => "Cargo.toml",
    "sdk.toml.txt" => "taskhost/sdk/Cargo.toml",
    "lib.rs" => "src/lib.rs",
    "manifest.toml" => "{{name}}.toml",
    "gitignore" => ".gitignore",
    "README.md",
);
const PYTHON: &[File] = files!("templates/python/":
    "app.py",
    "requirements.txt",
    "manifest.toml" => "{{name}}.toml",
    "gitignore" => ".gitignore",
    "README.md",
);
const JS: &[File] = files!("templates/js/":
    "app.js",
    "package.json",
    "manifest.toml" => "{{name}}.toml",
    "gitignore" => ".gitignore",
    "README.md",
);
const C: &[File] = files!("templates/c/":
    "plugin.c",
    "Makefile",
    "manifest.toml" => "{{name}}.toml",
    "gitignore" => ".gitignore",
    "README.md",
);

impl Language {
    /// What builds a plugin in its folder and starts a host with it, a line each.
    pub(super) fn commands(self, name: &str) -> Vec<String> {
        let build: &[&str] = match self {
            Self::Rust => &[
                "rustup target add wasm32-wasip2",
                "cargo build --release --target wasm32-wasip2",
                "cp target/wasm32-wasip2/release/{{module}}.wasm {{name}}.wasm",
            ],
            Self::Python => &[
                "python3 -m venv .venv",
                ".venv/bin/pip install -r requirements.txt",
                ".venv/bin/componentize-py -d wit -w plugin componentize app -o {{name}}.wasm",
            ],
            Self::Js => &["npm install", "npm run build"],
            Self::C => &["wit-bindgen c wit --world plugin --out-dir generated", "make"],
        };
        let host = [
            "taskhost plugin check {{name}}.wasm",
            "taskhost plugin test {{name}}.wasm --input '{\"a\": 1, \"b\": 2}'",
            "taskhost serve --plugins . --dev",
        ];
        build.iter().chain(&host).map(|line| fill(line, name)).collect()
    }

    /// Every file of a new plugin: its path and what is in it.
    pub(super) fn files(self, name: &str) -> Vec<(PathBuf, String)> {
        let own = match self {
            Self::Rust => RUST,
            Self::Python => PYTHON,
            Self::Js => JS,
            Self::C => C,
        };
        let world = if self == Self::Rust { &[] } else { WORLD };
        let commands = self.commands(name).join("\n");
        let mut files: Vec<_> = own
            .iter()
            .chain(world)
            .map(|(path, text)| (PathBuf::from(fill(path, name)), fill(text, name).replace("{{commands}}", &commands)))
            .collect();
        if self == Self::Rust {
            // The crate expects the contract as it lies in the host's repository.
            files.extend(contract_at_top().into_iter().map(|(path, text)| (Path::new("wit").join(path), text)));
            files.extend(SDK.iter().map(|(path, text)| (Path::new("taskhost/sdk").join(path), (*text).to_owned())));
        } else {
            let deps = contract();
            files.extend(deps.into_iter().map(|(path, text)| (Path::new("wit/deps").join(path), text)));
        }
        files
    }
}

/// The contract's packages, a folder each, as the `deps` of a world.
pub(super) fn contract() -> Vec<(PathBuf, String)> {
    let place = |path: &str| match path.strip_prefix("deps/") {
        Some(package) => PathBuf::from(package),
        None => Path::new("plugin").join(PLUGIN_PACKAGE),
    };
    CONTRACT.iter().map(|(path, text)| (place(path), (*text).to_owned())).collect()
}

/// The contract as it lies in the host's repository: the package of roles and worlds with its `deps`.
pub(super) fn contract_at_top() -> Vec<(PathBuf, String)> {
    CONTRACT.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect()
}

fn fill(text: &str, name: &str) -> String {
    text.replace("{{name}}", name).replace("{{module}}", &name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Language; 4] = [Language::Rust, Language::Python, Language::Js, Language::C];

    fn below(folder: &str, extension: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        let mut found = BTreeSet::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == extension) {
                    found.insert(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found
    }

    fn paths(files: &[File]) -> BTreeSet<String> {
        files.iter().map(|(path, _)| (*path).to_owned()).collect()
    }

    #[test]
    fn a_new_plugin_carries_the_whole_contract_and_the_whole_crate() {
        let mut contract = below("wit", "wit");
        // What was released is for the check of the contract only.
        contract.retain(|path| !path.starts_with("released/"));
        assert_eq!(paths(CONTRACT), contract);
        assert_eq!(paths(SDK), below("plugins/sdk", "rs"));
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_no_path_leaves_the_folder() {
        for language in ALL {
            let files = language.files("sum-up");
            for (path, text) in &files {
                assert!(!text.contains("{{") && !path.to_string_lossy().contains("{{"), "{}", path.display());
                assert!(path.is_relative() && path.iter().all(|part| part != ".."), "{}", path.display());
            }
            let names: BTreeSet<_> = files.iter().map(|(path, _)| path).collect();
            assert_eq!(names.len(), files.len());
            for needed in ["README.md", "sum-up.toml", ".gitignore"] {
                assert!(names.contains(&PathBuf::from(needed)), "{language:?}: {needed}");
            }
        }
    }

    #[test]
    fn the_versions_of_tools_are_those_that_are_tested() {
        let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path));
        let template = |files: &[File], name: &str| files.iter().find(|(path, _)| *path == name).unwrap().1.to_owned();
        assert_eq!(template(PYTHON, "requirements.txt"), read("examples/python/requirements.txt").unwrap());
        let line = |text: &str, word: &str| text.lines().find(|line| line.contains(word)).unwrap().trim().to_owned();
        let tool = "\"@bytecodealliance/componentize-js\":";
        assert_eq!(
            line(&template(JS, "package.json"), tool),
            line(&read("examples/javascript/package.json").unwrap(), tool)
        );
        let bindgen = "wit-bindgen = ";
        assert_eq!(
            line(&template(RUST, "taskhost/sdk/Cargo.toml"), bindgen),
            line(&read("Cargo.toml").unwrap(), bindgen)
        );
    }
}
