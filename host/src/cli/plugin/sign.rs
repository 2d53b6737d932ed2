//! `taskhost plugin keygen` and `taskhost plugin sign`

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Apart, failed};
use crate::cli::{ConfigFile, Exit, print};
use crate::plugin::check::describe_file;
use crate::plugin::signature::{self, SignError};

/// Bytes of a file with a password at most.
const MAX_PASSWORD_BYTES: u64 = 1024;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("protection").required(true).args(["password_file", "unencrypted"])))]
pub(in crate::cli) struct KeygenArguments {
    /// The secret key to write; the public key is written beside it, with the extension `pub`
    #[arg(long, value_name = "FILE", default_value = "taskhost.key")]
    key: PathBuf,
    /// The file whose first line is the password of the secret key
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Leaves the secret key without a password: whoever can read the file can sign
    #[arg(long)]
    unencrypted: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SignArguments {
    /// The component; its name and its own version are signed with it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The secret key, made by `taskhost plugin keygen` or by minisign
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// The file whose first line is the password of the secret key
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Makes a pair of keys and says what to do with it.
pub(in crate::cli) fn keygen(arguments: &KeygenArguments) -> Exit {
    match generate(arguments) {
        Ok(told) => {
            print(&told);
            Exit::Done
        }
        Err(told) => failed(&told),
    }
}

fn generate(arguments: &KeygenArguments) -> Result<String, String> {
    let (secret, public) = (&arguments.key, arguments.key.with_extension("pub"));
    if public == *secret {
        return Err("the secret key cannot have the extension `pub`, which is the public key's".to_owned());
    }
    for path in [secret, &public] {
        if path.exists() {
            return Err(format!("{} is there already; keys are not overwritten", path.display()));
        }
    }
    let password = arguments.password_file.as_deref().map(password).transpose()?;
    let keys = signature::generate(password.as_deref()).map_err(|error| error.to_string())?;
    write_new(secret, &keys.secret, 0o600)?;
    write_new(&public, &keys.public, 0o644)?;
    let (secret, public, line, id) = (secret.display(), public.display(), &keys.line, keys.id);
    Ok(format!(
        "{secret}  the secret key {id}: keep it away from the host\n\
         {public}  the public key\n\n\
         # in the host's configuration\n[plugins]\ntrusted_keys = [\"{line}\"]\nrequire_signature = true\n"
    ))
}

/// Signs a component as the plugin and version that it says it is, into the file in which a host will look.
pub(in crate::cli) fn sign(arguments: SignArguments) -> Exit {
    let SignArguments { file, key, password_file, config } = arguments;
    let (text, password) = match secret(&key, password_file.as_deref()) {
        Ok(secret) => secret,
        Err(told) => return failed(&told),
    };
    let apart = match Apart::new(config) {
        Ok(apart) => apart,
        Err(exit) => return exit,
    };
    let described = match apart.block_on(async |settings| describe_file(settings, &file).await) {
        Ok(Ok(described)) => described,
        Ok(Err(mistakes)) => {
            return failed(&format!(
                "{} is not signed, because it is not a plugin\n  {}",
                file.display(),
                mistakes.join("\n  ")
            ));
        }
        Err(exit) => return exit,
    };
    let comment = signature::comment(&described.name, &described.version, described.digest);
    let signed = match signature::sign(&text, password.as_deref(), &described.component, &comment) {
        Ok(signed) => signed,
        Err(error) => return failed(&format!("{}: {error}", key.display())),
    };
    let path = file.with_file_name(&described.signature_file);
    if let Err(error) = replace(&path, &signed) {
        return failed(&format!("cannot write {}: {error}", path.display()));
    }
    print(&format!("{}  {}\n", path.display(), comment.replace('\t', "  ")));
    Exit::Done
}

/// The text of the secret key, and its password if it needs one.
fn secret(key: &Path, password_file: Option<&Path>) -> Result<(String, Option<String>), String> {
    let shown = key.display();
    let text = read(key, signature::MAX_KEY_BYTES)?;
    let encrypted = signature::is_encrypted(&text).map_err(|error| format!("{shown}: {error}"))?;
    match (password_file, encrypted) {
        (Some(file), _) => Ok((text, Some(password(file)?))),
        (None, false) => Ok((text, None)),
        (None, true) => Err(format!("{shown}: {}: add --password-file FILE", SignError::NoPassword)),
    }
}

/// The first line of a file.
fn password(file: &Path) -> Result<String, String> {
    let text = read(file, MAX_PASSWORD_BYTES)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{} has no password on its first line", file.display())),
    }
}

fn read(file: &Path, max_bytes: u64) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot read {}: {error}", file.display());
    let mut text = String::new();
    File::open(file).map_err(cannot)?.take(max_bytes + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > max_bytes {
        return Err(format!("{} has more than {max_bytes} bytes", file.display()));
    }
    Ok(text)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// A host that watches the folder sees the old file or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.file_name().unwrap_or_default().to_owned();
    temporary.push(".new");
    let temporary = path.with_file_name(temporary);
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}
