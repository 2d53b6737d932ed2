//! `taskhost store export`, `import` and `check`

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{ConfigFile, Exit, complain, config, print};
use crate::config::Flags;
use crate::host::STORE_FOLDER;
use crate::store::dump::Counts;
use crate::store::sled::offline::{self, Epoch, ExportError, ImportError};

/// Which store.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    file: ConfigFile,
    /// The folder of everything that is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    fn dir(self) -> Result<PathBuf, Exit> {
        let flags = Flags { data: self.data, ..Flags::default() };
        Ok(config::load(self.file.config, flags)?.config.data.join(STORE_FOLDER))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArguments {
    /// The export; `-` is the standard output. It is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArguments {
    /// The export; `-` is the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The exported store will not be used again: clients go on with the events where they are
    #[arg(long)]
    keep_epoch: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    place: Place,
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn failed(exit: Exit, text: &str) -> Exit {
    complain(text);
    exit
}

/// Writes an export.
pub(super) fn export(arguments: ExportArguments) -> Exit {
    let dir = match arguments.place.dir() {
        Ok(dir) => dir,
        Err(exit) => return exit,
    };
    let file = arguments.file;
    let exported =
        if is_standard(&file) { offline::export(&dir, BufWriter::new(io::stdout())) } else { export_to(&dir, &file) };
    match exported {
        Ok(counts) => {
            let text = format!("exported {counts}");
            if is_standard(&file) {
                complain(&text);
            } else {
                print(&format!("{text}\n"));
            }
            Exit::Done
        }
        Err(ExportError::Store(error)) => failed(Exit::Store, &format!("cannot export: {}", with_causes(&error))),
        Err(error @ ExportError::Write(_)) => failed(Exit::Failed, &format!("{}: {error}", file.display())),
    }
}

/// Whoever looks at `file` finds the old export or the new one as a whole. Only the owner can read
/// it: inputs may be confidential.
fn export_to(dir: &Path, file: &Path) -> Result<Counts, ExportError> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = file.with_file_name(name);
    let begin = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
    let out = begin().map_err(ExportError::Write)?;
    let exported = offline::export(dir, BufWriter::new(&out)).and_then(|counts| {
        let keep = || {
            out.sync_all()?;
            std::fs::rename(&partial, file)?;
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        keep().map_err(ExportError::Write)?;
        Ok(counts)
    });
    if exported.is_err() {
        // The error is what matters; the next export replaces what is left.
        drop(std::fs::remove_file(&partial));
    }
    exported
}

/// Makes a store of an export.
pub(super) fn import(arguments: ImportArguments) -> Exit {
    let ImportArguments { file, keep_epoch, place } = arguments;
    let dir = match place.dir() {
        Ok(dir) => dir,
        Err(exit) => return exit,
    };
    let epoch = if keep_epoch { Epoch::Kept } else { Epoch::New };
    let imported = if is_standard(&file) {
        offline::import(&dir, BufReader::new(io::stdin()), epoch)
    } else {
        match File::open(&file) {
            Ok(source) => offline::import(&dir, BufReader::new(source), epoch),
            Err(error) => return failed(Exit::Failed, &format!("{}: {error}", file.display())),
        }
    };
    match imported {
        Ok(counts) => {
            print(&format!("imported {counts}\n"));
            Exit::Done
        }
        Err(error @ (ImportError::Read(_) | ImportError::Inconsistent(_))) => {
            failed(Exit::Failed, &format!("{}: {error}; nothing was imported", file.display()))
        }
        Err(error @ (ImportError::Store(_) | ImportError::NotEmpty(_))) => {
            failed(Exit::Store, &format!("cannot import: {}", with_causes(&error)))
        }
    }
}

/// Looks at every record.
pub(super) fn check(arguments: CheckArguments) -> Exit {
    let dir = match arguments.place.dir() {
        Ok(dir) => dir,
        Err(exit) => return exit,
    };
    let report = match offline::check(&dir) {
        Ok(report) => report,
        Err(error) => return failed(Exit::Store, &format!("cannot check: {}", with_causes(&error))),
    };
    for problem in &report.problems {
        print(&format!("{problem}\n"));
    }
    let found = report.problems.len() as u64 + report.untold;
    if report.untold > 0 {
        print(&format!("… and {} more\n", report.untold));
    }
    print(&format!("commit {}, event {}: {}\n", report.commit, report.last_event, report.counts));
    if found == 0 {
        print("no problem found\n");
        return Exit::Done;
    }
    failed(Exit::Failed, &format!("{found} problems in {}", dir.display()))
}

/// What happened, and what was behind it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
