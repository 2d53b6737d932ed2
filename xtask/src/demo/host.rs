//! The host's process.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{note, step};
use crate::deadline::{Deadline, now};
use crate::http::Client;
use crate::plugins::{PLUGINS, place};
use crate::shell::{cargo, run, target};

/// Lines of the host's log that a failure shows.
const LOG_TAIL_LINES: usize = 40;

const CONFIG: &str = r#"# Clears what was trashed, once its grace has passed.
[[schedule]]
name = "video-clear"
every = "1s"
dispatch = "video-clear"
"#;

/// A running host. It is killed when this is dropped.
pub(super) struct Host {
    child: RefCell<Child>,
    data: PathBuf,
    log: PathBuf,
    kept: Cell<bool>,
}

/// Builds the host and answers its binary.
pub(super) fn build(release: bool) -> Result<PathBuf> {
    let (profile, flags): (_, &[&str]) = if release { ("release", &["--release"]) } else { ("debug", &[]) };
    // The whole workspace decides on features, as it does in the tests: dependencies are built once.
    run(&mut cargo(&[&["build", "--workspace", "--bin", "taskhost"], flags].concat()))?;
    Ok(target().join(profile).join("taskhost"))
}

impl Host {
    /// Starts a host with its own copy of the plugins, an empty data directory and a free port.
    pub(super) fn start(binary: &Path, plugins: &Path, dir: &Path, keep: bool) -> Result<Self> {
        step("Starting the host on an empty data directory and a free port");
        let (data, own_plugins, config) = (dir.join("data"), dir.join("plugins"), dir.join("taskhost.toml"));
        fs::create_dir_all(&own_plugins)?;
        for (name, _) in PLUGINS {
            for file in [format!("{name}.toml"), format!("{name}.wasm")] {
                place(&plugins.join(&file), &own_plugins.join(&file))?;
            }
        }
        fs::write(&config, CONFIG)?;
        let log = dir.join("host.log");
        let output = File::create(&log)?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&config).arg("--data").arg(&data).arg("--plugins").arg(&own_plugins);
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        if keep {
            // Outlives this tool, also when its terminal is interrupted.
            command.process_group(0);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { child: RefCell::new(child), data, log, kept: Cell::new(false) })
    }

    /// Waits until it serves, and answers its address.
    pub(super) fn wait_until_ready(&self) -> Result<String> {
        let (started, deadline) = (now(), Deadline::seconds(60));
        let file = self.data.join("address");
        let address = deadline.until("the host to say its address", || {
            self.check_alive()?;
            let address = fs::read_to_string(&file).unwrap_or_default();
            Ok(Some(address.trim().to_owned()).filter(|address| !address.is_empty()))
        })?;
        let client = Client::new(&address);
        deadline.until("the host to be ready", || {
            self.check_alive()?;
            Ok(client.get("/readyz", &[]).ok().filter(|answer| answer.status.is_success()))
        })?;
        note(&format!("ready at http://{address} after {} ms", started.elapsed().as_millis()));
        Ok(address)
    }

    fn check_alive(&self) -> Result<()> {
        match self.exit_status()? {
            Some(status) => bail!("the host ended: {status}"),
            None => Ok(()),
        }
    }

    fn exit_status(&self) -> Result<Option<ExitStatus>> {
        Ok(self.child.borrow_mut().try_wait()?)
    }

    fn id(&self) -> u32 {
        self.child.borrow_mut().id()
    }

    /// Asks it to stop and waits for a clean end.
    pub(super) fn stop(&self) -> Result<()> {
        run(Command::new("kill").args(["-TERM", &self.id().to_string()]))?;
        let status = Deadline::seconds(30).until("the host to stop", || self.exit_status())?;
        if !status.success() {
            bail!("the host did not stop cleanly: {status}\n{}", self.log_tail());
        }
        Ok(())
    }

    /// Leaves it running when this tool ends, and answers its process id.
    pub(super) fn leave_running(&self) -> u32 {
        self.kept.set(true);
        self.id()
    }

    /// The end of what it logged.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
        format!("the end of the host's log:\n{}", tail.join("\n"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.kept.get() {
            let child = self.child.get_mut();
            // Either may fail because it has ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
