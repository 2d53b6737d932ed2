//! The administrator's token: a file in the data directory, made at the first start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use uuid::Uuid;

use super::DataDirectory;

/// Characters of a token at least: 128 bits, however it is written.
const MIN_CHARS: usize = 22;
/// Bytes of the file at most.
const MAX_BYTES: u64 = 4096;

/// The token in a file, which is made when it is missing.
pub(super) fn token(path: &Path) -> anyhow::Result<String> {
    let cannot = |what: &str| DataDirectory::cannot(what, path);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = fresh();
            write(path, &token).with_context(|| cannot("write"))?;
            tracing::info!(file = %path.display(), "the administrator's token was made");
            return Ok(token);
        }
        Err(error) => return Err(error).with_context(|| cannot("read")),
    };
    if metadata.len() > MAX_BYTES {
        bail!("{} is no token: it has {} bytes", path.display(), metadata.len());
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others may read the administrator's token: chmod 600");
    }
    let text = fs::read_to_string(path).with_context(|| cannot("read"))?;
    let token = text.trim();
    if token.len() < MIN_CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(
            "{} is no token: at least {MIN_CHARS} printable ASCII characters without spaces are expected; \
             without the file one is made",
            path.display()
        );
    }
    Ok(token.to_owned())
}

/// Each half is 122 bits of the system's randomness.
fn fresh() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn write(path: &Path, token: &str) -> io::Result<()> {
    let part = path.with_extension("new");
    drop(fs::remove_file(&part));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::token;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin-token");
        let made = token(&path).unwrap();
        assert!(made.len() >= 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(token(&path).unwrap(), made);
        assert_ne!(token(&dir.path().join("other")).unwrap(), made);
    }

    #[test]
    fn a_token_that_could_be_guessed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin-token");
        for (text, is_good) in [
            ("", false),
            ("secret\n", false),
            ("with a space in between it", false),
            ("abcdefghijklmnopqrstuv\n", true),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(token(&path).is_ok(), is_good, "{text:?}");
        }
    }
}
