//! The real binary as a process of its own: what it weighs is the host's weight only.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::{Connection, get};

/// A host that was started, killed when it is dropped.
pub(crate) struct Child {
    process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From the start until it said that it is ready.
    pub(crate) ready: Duration,
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the binary on `dir/data` and `dir/plugins` and waits until it says that it is ready.
pub(crate) async fn start(dir: &Path, variables: &[(&str, &str)]) -> Child {
    let address_file = dir.join("data/address");
    // Of the start before.
    let _ = std::fs::remove_file(&address_file);
    let begin = Instant::now();
    let process = Command::new(env!("CARGO_BIN_EXE_taskhost"))
        .arg("serve")
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--plugins")
        .arg(dir.join("plugins"))
        .args(["--listen", "127.0.0.1:0"])
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Child { process, address: ([127, 0, 0, 1], 0).into(), ready: Duration::ZERO };
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    loop {
        pace.tick().await;
        assert!(child.process.try_wait().unwrap().is_none(), "the host ended");
        let Ok(text) = std::fs::read_to_string(&address_file) else { continue };
        let Ok(address) = text.trim().parse() else { continue };
        if Connection::open(address).await.send(&get(address, "/readyz")).await == 200 {
            (child.address, child.ready) = (address, begin.elapsed());
            return child;
        }
    }
}

impl Child {
    /// A line of the process's status, in MiB: `VmRSS` is what it takes now, `VmHWM` the most so far.
    pub(crate) fn resident(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }
}

/// Puts a plugin where [`start`] looks for it.
pub(crate) fn install(dir: &Path, name: &str, component: &[u8], manifest: &str) {
    let folder = dir.join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.toml")), manifest).unwrap();
    std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
}
