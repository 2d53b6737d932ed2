use std::io::{BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt as _;

use super::*;

fn shell(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

fn alive(pid: u32) -> bool {
    // A zombie is gone as far as we are concerned: whoever adopted it reaps it.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

/// Starts `script`, whose first line of output is passed on.
async fn started(supervisor: &Supervisor, script: &str) -> (Process, String) {
    let (line_tx, line) = oneshot::channel();
    let mut line_tx = Some(line_tx);
    let mut command = shell(script);
    command.stdout = Stdout::Lines(Box::new(move |line| {
        if let Some(line_tx) = line_tx.take() {
            line_tx.send(line.to_owned()).unwrap();
        }
    }));
    let process = supervisor.spawn(command).await.unwrap();
    (process, line.await.unwrap())
}

#[tokio::test]
async fn output_code_and_stdin_are_passed_on() {
    let supervisor = Supervisor::new().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"hello").unwrap();
    let mut command = shell("cat /dev/stdin; echo oops >&2; exit 3");
    command.stdin = Some(file);
    command.stdout = Stdout::Collect { max_bytes: 4 };
    let exit = supervisor.run(command).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert_eq!((exit.stdout.as_slice(), exit.stdout_truncated), (&b"hell"[..], true));
    assert_eq!(exit.stderr_tail, "oops");
}

#[tokio::test]
async fn the_environment_is_cleared_and_nothing_is_inherited() {
    let supervisor = Supervisor::new().unwrap();
    let mut command = Command::new("/usr/bin/env");
    command.stdout = Stdout::Collect { max_bytes: 4096 };
    let exit = supervisor.run(command).await.unwrap();
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), "LC_ALL=C\n");
    // A file that the host has open is not open in the child.
    let secret = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("/bin/ls").args(["-l", "/proc/self/fd"]);
    command.stdout = Stdout::Collect { max_bytes: 4096 };
    let exit = supervisor.run(command).await.unwrap();
    let open = String::from_utf8(exit.stdout).unwrap();
    assert!(open.contains("/dev/null") && !open.contains(secret.path().to_str().unwrap()), "{open}");
}

#[tokio::test]
async fn limits_hold() {
    let supervisor = Supervisor::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command = shell("while :; do echo 0123456789012345678901234567890123456789; done > out");
    dir.path().clone_into(&mut command.cwd);
    command.limits.file_size_bytes = 10_000;
    let exit = supervisor.run(command).await.unwrap();
    assert!(!exit.success());
    assert_eq!(std::fs::metadata(dir.path().join("out")).unwrap().len(), 10_000);

    let mut command = shell("ulimit -c; ulimit -n; while :; do :; done");
    command.limits.cpu_seconds = 1;
    command.limits.open_files = 17;
    command.stdout = Stdout::Collect { max_bytes: 100 };
    let exit = supervisor.run(command).await.unwrap();
    assert!(exit.signal.is_some(), "{exit:?}");
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), "0\n17\n");
}

#[tokio::test]
async fn c6_terminate_returns_when_the_whole_group_is_gone() {
    let supervisor = Supervisor::new().unwrap();
    // Both the shell and its child ignore the polite signal.
    let script = "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $!; wait; wait";
    let (process, grandchild) = started(&supervisor, script).await;
    let (leader, grandchild) = (process.id().unwrap(), grandchild.parse().unwrap());
    assert!(alive(leader) && alive(grandchild));
    let exit = process.terminate().await.unwrap();
    assert!(exit.stopped);
    assert_eq!(exit.signal, Some(9));
    assert!(!alive(leader) && !alive(grandchild));
    supervisor.stop().await;
}

#[tokio::test]
async fn dropping_the_handle_ends_the_group_and_stop_waits_for_it() {
    let supervisor = Supervisor::new().unwrap();
    let (process, grandchild) = started(&supervisor, "sleep 1000 & echo $!; wait").await;
    let (leader, grandchild) = (process.id().unwrap(), grandchild.parse().unwrap());
    drop(process);
    supervisor.idle().await;
    assert!(!alive(leader) && !alive(grandchild));

    let (process, grandchild) = started(&supervisor, "trap '' TERM; sleep 1000 & echo $!; wait; wait").await;
    let grandchild = grandchild.parse().unwrap();
    supervisor.stop().await;
    assert!(!alive(grandchild));
    assert!(process.wait().await.unwrap().signal.is_some());
    assert!(matches!(supervisor.run(shell("true")).await, Err(SpawnError::Stopped)));
}

#[tokio::test]
async fn c6_what_the_leader_leaves_behind_is_killed() {
    let supervisor = Supervisor::new().unwrap();
    let (process, grandchild) = started(&supervisor, "sleep 1000 & echo $!").await;
    let exit = process.wait().await.unwrap();
    assert!(exit.success());
    assert!(!alive(grandchild.parse().unwrap()));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let supervisor = Supervisor::new().unwrap();
    let error = supervisor.run(Command::new("/nowhere/tool")).await.unwrap_err();
    assert!(matches!(&error, SpawnError::NotFound(path) if path == Path::new("/nowhere/tool")));
    assert_eq!(error.to_string(), "there is no program /nowhere/tool");
}

#[tokio::test]
async fn lines_arrive_while_the_child_runs() {
    let supervisor = Supervisor::new().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let mut command = shell("echo one; echo two");
    command.stdout = Stdout::Lines(Box::new(move |line| seen.lock().unwrap().push(line.to_owned())));
    assert!(supervisor.run(command).await.unwrap().success());
    assert_eq!(*lines.lock().unwrap(), ["one", "two"]);
}

/// What [`c16_a_killed_host_takes_its_children_with_it`] kills; ends with its input.
#[tokio::test]
#[ignore = "a helper that another test starts"]
async fn host_to_be_killed() {
    let mut fifo = String::new();
    std::io::stdin().read_line(&mut fifo).unwrap();
    let supervisor = Supervisor::new().unwrap();
    let script = format!("exec 3> '{}'; echo ready; exec sleep 1000", fifo.trim());
    let (process, ready) = started(&supervisor, &script).await;
    writeln!(std::io::stdout(), "child={ready}").unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    process.terminate().await.unwrap();
}

#[tokio::test]
async fn c16_a_killed_host_takes_its_children_with_it() {
    if !Path::new("/usr/bin/setpriv").exists() {
        return;
    }
    // The child holds the one writing end: the reader sees its death as the end.
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
    let mut host = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "process::tests::host_to_be_killed"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = host.stdin.take().unwrap();
    writeln!(stdin, "{}", fifo.display()).unwrap();
    let mut lines = std::io::BufReader::new(host.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("child=ready")));
    host.kill().unwrap();
    host.wait().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), reader.read(&mut [0])).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn c6_what_left_the_group_the_session_and_its_environment_is_killed_with_the_tree() {
    let supervisor = Supervisor::new().unwrap();
    // A daemon as they are written: a session of its own, a second fork, no environment, no open files.
    let script =
        "env -i setsid sh -c 'sleep 1000 >/dev/null 2>&1 </dev/null & echo $!' | { read pid; echo $pid; sleep 1000; }";
    for by_itself in [false, true] {
        let script = if by_itself { script.replace("; sleep 1000; }", "; }") } else { script.to_owned() };
        let (line_tx, line) = oneshot::channel();
        let mut line_tx = Some(line_tx);
        let mut command = shell(&script);
        command.whole_tree = true;
        let (held, dropped) = oneshot::channel::<()>();
        command.held = Some(Box::new(held));
        command.stdout = Stdout::Lines(Box::new(move |line| {
            if let Some(line_tx) = line_tx.take() {
                line_tx.send(line.to_owned()).unwrap();
            }
        }));
        let process = supervisor.spawn(command).await.unwrap();
        let stray: u32 = line.await.unwrap().parse().unwrap();
        if by_itself {
            assert!(process.wait().await.unwrap().success());
        } else {
            assert!(alive(stray));
            drop(process);
            dropped.await.unwrap_err();
        }
        assert!(!alive(stray), "{by_itself}");
    }
    supervisor.stop().await;
}

#[tokio::test]
async fn the_end_of_both_streams_is_kept_and_all_of_them_is_heard() {
    let supervisor = Supervisor::new().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = |heard: &Arc<Mutex<Vec<u8>>>| -> OnBytes {
        let heard = Arc::clone(heard);
        Box::new(move |bytes| heard.lock().unwrap().extend_from_slice(bytes))
    };
    let mut command = shell("printf abcdef; sleep 0.01; printf 123456 >&2");
    command.stdout = Stdout::Tail { max_bytes: 4, on_bytes: hear(&heard) };
    command.stderr_tail_bytes = 6;
    command.on_stderr = Some(hear(&heard));
    let exit = supervisor.run(command).await.unwrap();
    assert_eq!((exit.stdout.as_slice(), exit.stdout_truncated), (&b"cdef"[..], true));
    assert_eq!((exit.stderr.as_slice(), exit.stderr_truncated), (&b"123456"[..], false));
    assert_eq!(heard.lock().unwrap().len(), 12);
}

#[tokio::test]
async fn open_files_and_an_open_program_are_handed_over() {
    let supervisor = Supervisor::new().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"content").unwrap();
    // A program that is a script is opened once more by its interpreter.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    std::fs::write(&path, "#!/bin/sh\ncat \"$2\"; echo \"$1$A\"; ls -l /proc/self/fd | grep -c -- '-> /'\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut command = Command::new(&path).args(["one", ""]);
    command.executable = Some(File::open(&path).unwrap());
    command.files = vec![(1, file)];
    command.env = vec![("A".into(), "two".into()), ("PATH".into(), "/usr/bin:/bin".into())];
    command.stdout = Stdout::Collect { max_bytes: 100 };
    // Another one takes its place: what was opened is run.
    std::fs::rename(&path, dir.path().join("moved")).unwrap();
    std::fs::write(&path, "#!/bin/sh\necho other\n").unwrap();
    let exit = supervisor.run(command).await.unwrap();
    let said = String::from_utf8(exit.stdout).unwrap();
    assert!(said.starts_with("contentonetwo\n"), "{said} {}", exit.stderr_tail);
}
