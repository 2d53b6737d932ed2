//! `[secrets]`: where the operator keeps what is filled into requests of plugins. What is shown, told and logged is
//! where a secret comes from, never what it is.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, raw};
use super::key::{abridged, quote, text};
use super::mistake::{Place, suggestion};
use super::source::Draft;
use crate::secret::{MAX_SECRET_BYTES, Secret, is_valid_name};

/// Secrets of one host at most.
const MAX_SECRETS: usize = 256;
const FIELDS: [&str; 2] = ["env", "file"];
const RULE: &str = "expected `{ env = \"VARIABLE\" }` or `{ file = \"PATH\" }`";

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// In a variable of the environment.
    Variable(String),
    /// In a file of its own.
    File(PathBuf),
}

impl Keeper {
    /// As it is written in a file.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Variable(name) => format!("{{ env = {} }}", quote(name)),
            Self::File(path) => format!("{{ file = {} }}", quote(&path.to_string_lossy())),
        }
    }
}

/// Reads `[secrets]` of a file: where they are, not yet what they are.
pub(super) fn read(value: &Spanned<DeValue<'_>>, place: Place, document: Document<'_>, draft: &mut Draft) {
    let DeValue::Table(table) = value.get_ref() else {
        return draft.wrong(place, "`secrets` is a section: write `[secrets]` with `NAME = …` below it".to_owned());
    };
    if table.len() > MAX_SECRETS {
        return draft.wrong(place, format!("{} secrets, more than {MAX_SECRETS}", table.len()));
    }
    for (name, value) in table {
        if !is_valid_name(name.get_ref()) {
            let rule = "capital letters, digits and underscores, a letter first, at most 64";
            let message = format!("`{}` is not a name of a secret: {rule}", abridged(name.get_ref()));
            draft.wrong(document.place(&name.span()), message);
            continue;
        }
        let place = document.place(&value.span());
        match keeper(value.get_ref()) {
            Ok(keeper) => drop(draft.secrets.insert(name.get_ref().to_string(), (keeper, place))),
            Err(message) => draft.wrong(place, format!("`{}`: {message}", name.get_ref())),
        }
    }
}

/// A value that is the secret itself is not repeated.
fn keeper(value: &DeValue<'_>) -> Result<Keeper, String> {
    let DeValue::Table(table) = value else { return Err(RULE.to_owned()) };
    if let Some(unknown) = table.keys().find(|key| !FIELDS.contains(&key.get_ref().as_ref())) {
        let hint = suggestion(unknown.get_ref(), FIELDS.iter().copied());
        return Err(format!("unknown key `{}`{hint}: {RULE}", abridged(unknown.get_ref())));
    }
    let word = |name: &str| {
        let word = table.get(name).map(|value| text(raw(value.get_ref())).map_err(|_| RULE.to_owned()));
        word.transpose().map(|word| word.filter(|word| !word.is_empty() && !word.contains('\0')))
    };
    match (word("env")?, word("file")?) {
        (Some(name), None) => Ok(Keeper::Variable(name)),
        (None, Some(path)) => Ok(Keeper::File(path.into())),
        (Some(_), Some(_)) | (None, None) => Err(RULE.to_owned()),
    }
}

impl Draft {
    /// Whether a variable is a secret's, and so no setting.
    pub(super) fn keeps_secret(&self, variable: &str) -> bool {
        self.secrets.values().any(|(keeper, _)| matches!(keeper, Keeper::Variable(name) if name == variable))
    }

    /// Reads what the secrets are.
    pub(super) fn fetch_secrets(&mut self, variables: &[(OsString, OsString)]) {
        for (name, (keeper, place)) in self.secrets.clone() {
            match fetch(&keeper, variables) {
                Ok(secret) => drop(self.config.secrets.insert(name, secret)),
                Err(message) => self.wrong(place, format!("`{name}`: {message}")),
            }
        }
    }
}

fn fetch(keeper: &Keeper, variables: &[(OsString, OsString)]) -> Result<Secret, String> {
    match keeper {
        Keeper::Variable(name) => {
            let value = variables.iter().find(|(known, _)| *known == **name).map(|(_, value)| value);
            let value = value.ok_or_else(|| format!("the environment has no variable `{}`", abridged(name)))?;
            let value = value.to_str().ok_or_else(|| format!("the variable `{}` is not UTF-8", abridged(name)))?;
            Secret::new(value)
        }
        Keeper::File(path) => {
            let text = read_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Secret::new(&text)
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than fits says that it is too long; two are a line's end.
    File::open(path)?.take(MAX_SECRET_BYTES as u64 + 3).read_to_string(&mut text)?;
    Ok(text)
}
