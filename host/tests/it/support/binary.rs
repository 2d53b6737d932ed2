//! The real binary as a process of its own, for tests that kill it.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::events::PATIENCE;
use super::folder::{self, Folder};

/// A directory for the real binary.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    /// A directory with these fixtures; nothing happens by itself.
    pub(crate) fn with(fixtures: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let place = Self { dir };
        std::fs::create_dir(place.path("plugins")).unwrap();
        std::fs::write(place.path("taskhost.toml"), CONFIG).unwrap();
        for name in fixtures {
            place.plugins().put(name, &folder::fixture(name), None);
        }
        place
    }

    /// Adds a plugin that `cargo xtask plugins` has built.
    pub(crate) fn built(self, name: &str) -> Self {
        let (component, manifest) = folder::built(name);
        self.plugins().put(name, &component, manifest.as_deref());
        self
    }

    /// The plugins folder.
    pub(crate) fn plugins(&self) -> Folder {
        Folder::new(self.path("plugins"), self.path("staged"))
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the binary here; it may refuse.
    pub(crate) fn spawn(&self) -> Process {
        self.spawn_with(&[])
    }

    fn spawn_with(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskhost"));
        // Settings of whoever runs the tests.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TASKHOST_")) {
            command.env_remove(name);
        }
        let mut child = command
            .arg("serve")
            .arg("--config")
            .arg(self.path("taskhost.toml"))
            .arg("--data")
            .arg(self.path("data"))
            .arg("--plugins")
            .arg(self.path("plugins"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (line, lines) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        readers.spawn(read(child.stdout.take().unwrap(), line.clone()));
        readers.spawn(read(child.stderr.take().unwrap(), line));
        Process { child, lines, said: Vec::new(), readers }
    }

    /// Starts the binary here and waits until it is ready.
    pub(crate) async fn start(&self) -> Served {
        self.start_with(&[]).await
    }

    /// The same, with more arguments.
    pub(crate) async fn start_with(&self, arguments: &[&str]) -> Served {
        let mut process = self.spawn_with(arguments);
        let base = process.address().await;
        let served = Served { base, client: super::client(), process };
        served.ready().await;
        served
    }
}

const CONFIG: &str = "\
[runner]
shutdown_grace = \"5s\"
[log]
level = \"info\"
format = \"json\"
[[schedule]]
name = \"video-clear\"
enabled = false
";

async fn read(from: impl AsyncRead + Unpin, to: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if to.send(line).is_err() {
            return;
        }
    }
}

/// A process of the binary and what it said so far.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    said: Vec<String>,
    readers: JoinSet<()>,
}

impl Process {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("a process that has not been waited for")
    }

    /// Waits until it has ended by itself: whether it succeeded, and everything it said.
    pub(crate) async fn ended(mut self) -> (bool, String) {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("the process ends in time").unwrap();
        while self.readers.join_next().await.is_some() {}
        while let Ok(line) = self.lines.try_recv() {
            self.said.push(line);
        }
        (status.success(), self.said.join("\n"))
    }

    async fn address(&mut self) -> String {
        let found = async {
            while let Some(line) = self.lines.recv().await {
                let address = address_in(&line);
                self.said.push(line);
                if address.is_some() {
                    return address;
                }
            }
            None
        };
        let found = timeout(PATIENCE, found).await.ok().flatten();
        found.unwrap_or_else(|| panic!("the host did not say where it listens:\n{}", self.said.join("\n")))
    }
}

/// `http://127.0.0.1:PORT` in a log line.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty() && port != "0").then(|| format!("http://127.0.0.1:{port}"))
}

/// The binary, serving.
pub(crate) struct Served {
    /// `http://ADDR`.
    pub(crate) base: String,
    /// A client for it.
    pub(crate) client: reqwest::Client,
    process: Process,
}

impl Served {
    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.process.child.kill().await.unwrap();
    }

    /// Asks it to stop with SIGTERM and waits until it has.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        timeout(PATIENCE, self.process.child.wait()).await.expect("the host stops in time").unwrap()
    }

    /// Lets it live for a while; fails when it ends by itself meanwhile.
    pub(crate) async fn live_for(&mut self, life: Duration) {
        if let Ok(status) = timeout(life, self.process.child.wait()).await {
            let status = status.unwrap();
            panic!("the host ended by itself: {status}\n{}", self.process.said.join("\n"));
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The first line with this text that it has said or says.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        if let Some(line) = self.process.said.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let found = async {
            while let Some(line) = self.process.lines.recv().await {
                self.process.said.push(line.clone());
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the host has ended");
        };
        let found = timeout(PATIENCE, found).await.ok();
        found.unwrap_or_else(|| panic!("the host did not say {text:?}:\n{}", self.process.said.join("\n")))
    }

    async fn ready(&self) {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        let ready = async {
            loop {
                pace.tick().await;
                let answer = self.client.get(format!("{}/readyz", self.base)).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
            }
        };
        timeout(PATIENCE, ready).await.expect("the host becomes ready");
    }
}

/// Names of running processes, this one apart, that hold a file below `folder` open.
pub(crate) fn holding(folder: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let others = processes.filter(|process| process.file_name().to_string_lossy() != own);
    let holders = others.filter(|process| {
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { return false };
        files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).any(|target| target.starts_with(folder))
    });
    holders.filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok()).collect()
}
