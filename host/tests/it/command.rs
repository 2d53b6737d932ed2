//! Running commands with the real plugin: their output, their arguments, their end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::events::{Events, PATIENCE};
use crate::support::{Home, TestHost, attempts, folder, list};

/// A host whose plugin may run these commands, each a section of the manifest without its header.
async fn runner(commands: &[(&str, &str)]) -> TestHost {
    let home = Home::new();
    let sections = commands.iter().map(|(name, keys)| format!("[grant.command.{name}]\n{keys}\n"));
    home.plugins().put("command", &folder::built("command").0, Some(&sections.collect::<String>()));
    home.start().await
}

/// A shell is what tests run: it starts other processes. The host never adds one.
pub(crate) fn shell(script: &str) -> String {
    format!("program = \"/bin/sh\"\narguments = [\"-c\", '''{script}''', \"sh\", {{ pattern = \".*\", rest = 9 }}]\n")
}

/// Runs a command in a task that is tried once.
async fn once(host: &TestHost, input: &Value) -> Value {
    let id = host.create(&json!({ "kind": "command.run", "input": input, "max_attempts": 1 })).await;
    host.wait_task(&id).await
}

/// The log of a task: source and text of each line.
async fn log(host: &TestHost, id: &str) -> Vec<(String, String)> {
    let page = host.get(&format!("/v1/tasks/{id}/logs")).await;
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    list(&page).iter().map(|line| (text(line, "source"), text(line, "message"))).collect()
}

/// The log of a task as soon as `wanted` accepts it: a line has no event.
async fn log_until(host: &TestHost, id: &str, wanted: impl Fn(&[(String, String)]) -> bool) -> Vec<(String, String)> {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let found = async {
        loop {
            pace.tick().await;
            let lines = log(host, id).await;
            if wanted(&lines) {
                return lines;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the awaited line comes")
}

/// The process ids that a command wrote, one a line, once `count` of them are there.
pub(crate) async fn pids(host: &TestHost, id: &str, count: usize) -> Vec<u32> {
    let numbers = |lines: &[(String, String)]| -> Vec<u32> {
        lines.iter().filter_map(|(_, message)| message.parse().ok()).collect()
    };
    numbers(&log_until(host, id, |lines| numbers(lines).len() == count).await)
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

/// Waits until none of the processes is left.
pub(crate) async fn gone(pids: &[u32]) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let gone = async {
        while pids.iter().any(|pid| alive(*pid)) {
            pace.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap_or_else(|_| panic!("left over: {pids:?}"));
}

/// A program of the test's own.
fn script(folder: &TempDir, text: &str) -> (PathBuf, String) {
    let path = folder.path().join("program");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (path, pin(text.as_bytes()))
}

fn pin(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_exit_code_decides_and_the_output_is_kept() {
    let script = "cat; echo out; echo oops >&2; exit $1";
    let host = runner(&[("try", &format!("{}stdin_bytes = 100\n", shell(script)))]).await;
    let task = once(&host, &json!({ "command": "try", "arguments": ["0"], "stdin": "in " })).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    let output = &task["output"];
    assert_eq!((&output["exit_code"], &output["signal"]), (&json!(0), &Value::Null), "{task:#}");
    assert_eq!((&output["stdout"], &output["stderr"]), (&json!("in out\n"), &json!("oops\n")), "{task:#}");
    assert!(output["truncated"] == json!(false) && output["duration_ms"].is_u64(), "{task:#}");

    let failed = once(&host, &json!({ "command": "try", "arguments": ["3"] })).await;
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let error = &attempts(&failed)[0]["error"];
    assert_eq!(error["code"], "command-failed", "{failed:#}");
    assert_eq!(error["message"], "try ended with exit code 3: oops", "{failed:#}");
    assert!(error.to_string().contains("exit_code"), "the details: {failed:#}");
    let input = json!({ "command": "try", "arguments": ["3"], "success_codes": [0, 3] });
    assert_eq!(once(&host, &input).await["output"]["exit_code"], 3);

    // Tried again, or not.
    for (on_failure, tried) in [("retry", 2), ("fatal", 1)] {
        let input = json!({ "command": "try", "arguments": ["4"], "on_failure": on_failure });
        let backoff = json!({ "kind": "fixed", "base_ms": 1 });
        let task = json!({ "kind": "command.run", "input": input, "max_attempts": 2, "backoff": backoff });
        let id = host.create(&task).await;
        let task = host.wait_task(&id).await;
        assert_eq!((&task["state"], attempts(&task).len()), (&json!("failed"), tried), "{task:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn c5_the_output_of_a_command_is_in_the_log_while_it_runs() {
    let host = runner(&[("slow", &shell("echo first; echo problem >&2; exec sleep 1000"))]).await;
    let id = host.enqueue("command.run", &json!({ "command": "slow" })).await;
    let mut followed = Events::of(
        host.request(Method::GET, &format!("/v1/tasks/{id}/logs?follow=true")).send().await.expect("the host answers"),
    );
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let line = followed.next().await.expect("the task runs").data;
        lines.push((line["source"].as_str().unwrap().to_owned(), line["message"].as_str().unwrap().to_owned()));
    }
    let line = |source: &str, message: &str| (source.to_owned(), message.to_owned());
    assert!(lines.contains(&line("stdout", "first")) && lines.contains(&line("stderr", "problem")), "{lines:?}");
    assert_eq!(host.task(&id).await["state"], "running");
    host.cancel(&id).await;
    assert_eq!(host.wait_task(&id).await["state"], "cancelled");
    let last = followed.drain().await.pop().expect("the end is told");
    assert_eq!((&*last.name, &last.data["state"]), ("end", &json!("cancelled")));
    host.stop().await;
}

#[tokio::test]
async fn output_that_is_no_text_is_shown_as_far_as_it_is() {
    let host = runner(&[("bytes", &shell("printf 'a\\377b\\000c\\n'"))]).await;
    let task = once(&host, &json!({ "command": "bytes" })).await;
    assert_eq!(task["output"]["stdout"], "a\u{fffd}b\u{0}c\n", "{task:#}");
    let lines = log(&host, task["id"].as_str().unwrap()).await;
    assert!(lines[0].1.starts_with("a\u{fffd}b"), "{lines:?}");
    host.stop().await;
}

/// Starts children that ignore the polite signal: one of the group, one with a session of its own.
const FAMILY: &str = "trap '' TERM; sleep 1000 & echo $!; \
                      env -i setsid sh -c 'echo $$; exec sleep 1000' </dev/null & echo $$; wait; wait";

#[tokio::test]
async fn c6_cancelling_a_command_ends_its_whole_tree() {
    let host = runner(&[("family", &shell(FAMILY))]).await;
    let id = host.enqueue("command.run", &json!({ "command": "family" })).await;
    let pids = pids(&host, &id, 3).await;
    assert!(pids.iter().all(|pid| alive(*pid)), "{pids:?}");
    host.cancel(&id).await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "cancelled", "{task:#}");
    gone(&pids).await;
    host.stop().await;
}

#[tokio::test]
async fn c6_a_command_that_takes_too_long_is_ended_with_its_whole_tree() {
    let host = runner(&[("family", &format!("{}timeout = \"1s\"\n", shell(FAMILY)))]).await;
    let id = host.create(&json!({ "kind": "command.run", "input": { "command": "family" }, "max_attempts": 1 })).await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["error"]["code"], "timed-out", "{task:#}");
    // Nothing is left when it is told.
    let left: Vec<_> = pids(&host, &id, 3).await.into_iter().filter(|pid| alive(*pid)).collect();
    assert_eq!(left, [] as [u32; 0]);
    // A task may ask for less time, not for more.
    let task = once(&host, &json!({ "command": "family", "timeout": "10ms" })).await;
    assert_eq!(task["error"]["code"], "timed-out", "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn i14_a_stop_of_the_host_ends_commands_and_they_run_again() {
    let home = Home::new().configure(|config| config.runner.shutdown_grace_ms = 0);
    let flag = TempDir::new().unwrap();
    let flag = flag.path().join("again");
    let script = format!("[ -e {0} ] && exit 0; touch {0}; echo $$; exec sleep 1000", flag.display());
    let manifest = format!("[grant.command.twice]\n{}", shell(&script));
    home.plugins().put("command", &folder::built("command").0, Some(&manifest));
    let host = home.start().await;
    let id = host.enqueue("command.run", &json!({ "command": "twice" })).await;
    let pids = pids(&host, &id, 1).await;
    let home = host.stop().await;
    assert!(!alive(pids[0]), "a host that has stopped leaves no process behind");
    let host = home.start().await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["failures"]), (&json!("succeeded"), &json!(0)), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_program_that_is_not_the_pinned_one_is_not_run() {
    let folder = TempDir::new().unwrap();
    let (path, sha256) = script(&folder, "#!/bin/sh\necho one\n");
    let keys = format!("program = \"{}\"\nsha256 = \"{sha256}\"\n", path.display());
    let host = runner(&[("mine", &keys)]).await;
    let task = once(&host, &json!({ "command": "mine" })).await;
    assert_eq!(task["output"]["stdout"], "one\n", "{task:#}");

    let found = script(&folder, "#!/bin/sh\necho two\n").1;
    let task = once(&host, &json!({ "command": "mine" })).await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("denied")), "{task:#}");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains(&found) && message.contains("[grant.command.mine] in plugins/command.toml"), "{message}");

    std::fs::remove_file(&path).unwrap();
    let task = once(&host, &json!({ "command": "mine" })).await;
    assert_eq!(task["error"]["code"], "unavailable", "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn arguments_are_not_smuggled_and_there_is_no_shell() {
    let keys = "program = \"/bin/echo\"\narguments = [\"hello\", { name = \"who\", pattern = \"[^!]+\" }]\n";
    let host = runner(&[("greet", keys)]).await;
    let harmless = "$(id) `id` ; id | id > x * ~ \\n";
    let task = once(&host, &json!({ "command": "greet", "arguments": [harmless] })).await;
    assert_eq!(task["output"]["stdout"], format!("hello {harmless}\n"), "{task:#}");
    for arguments in
        [json!(["-x"]), json!(["--"]), json!(["a\nb"]), json!(["a\u{0}b"]), json!(["a!"]), json!([]), json!(["a", "b"])]
    {
        let task = once(&host, &json!({ "command": "greet", "arguments": arguments })).await;
        assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("bad-argument")), "{task:#}");
        let message = task["error"]["message"].as_str().unwrap();
        let place = "`arguments` under [grant.command.greet] in plugins/command.toml says what it takes";
        assert!(message.starts_with("greet: ") && message.ends_with(place), "{message}");
    }
    let task = once(&host, &json!({ "command": "greet", "arguments": ["a!"] })).await;
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains("argument 1 (WHO): \"a!\" does not match the pattern \"[^!]+\""), "{message}");
    let task = once(&host, &json!({ "command": "sh", "arguments": ["-c", "id"] })).await;
    assert_eq!(task["error"]["code"], "unknown-command", "{task:#}");
    assert!(task["error"]["message"].as_str().unwrap().contains("[grant.command.sh]"), "{task:#}");
    // What does not even look like it is refused at the door.
    for input in [json!({}), json!({ "command": "../sh" }), json!({ "command": "greet", "shell": true })] {
        let (status, problem) = host.post("/v1/tasks", &json!({ "kind": "command.run", "input": input })).await;
        assert_eq!(status, 422, "{problem:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_command_has_its_own_environment_folder_and_files_and_nothing_of_the_hosts() {
    let folder = TempDir::new().unwrap();
    let keys = format!(
        "program = \"/usr/bin/env\"\nenvironment = {{ ONLY = \"this\" }}\ndirectory = \"{}\"\n",
        folder.path().display()
    );
    let print = "program = \"/bin/cat\"\narguments = [\"--\", { media = true }]\n";
    let place = format!("{}directory = \"{}\"\n", shell("pwd; ls -l /proc/self/fd"), folder.path().display());
    let host = runner(&[("env", &keys), ("cat", print), ("place", &place)]).await;
    let task = once(&host, &json!({ "command": "env" })).await;
    assert_eq!(task["output"]["stdout"], "ONLY=this\n", "{task:#}");
    let task = once(&host, &json!({ "command": "place" })).await;
    let said = task["output"]["stdout"].as_str().unwrap();
    assert!(said.starts_with(folder.path().to_str().unwrap()), "{said}");
    assert!(!said.contains(host.data().to_str().unwrap()), "files of the host are open: {said}");

    let media = host.upload("note.txt", "what it says").await;
    let task = once(&host, &json!({ "command": "cat", "arguments": [media["id"]] })).await;
    assert_eq!(task["output"]["stdout"], "what it says", "{task:#}");
    let task = once(&host, &json!({ "command": "cat", "arguments": ["/etc/passwd"] })).await;
    assert_eq!(task["error"]["code"], "bad-argument", "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn output_time_and_memory_of_a_command_are_bounded() {
    let flood = format!("{}output_bytes = \"1KiB\"\n", shell("yes 0123456789 | head -c 100000010; echo end"));
    let spin = format!("{}cpu = \"1s\"\n", shell("while :; do :; done"));
    let alone = format!("{}jobs = 1\n", shell("mkdir $1 && sleep 0.05 && rmdir $1"));
    let host = runner(&[("flood", &flood), ("spin", &spin), ("alone", &alone)]).await;
    let task = once(&host, &json!({ "command": "flood" })).await;
    let stdout = task["output"]["stdout"].as_str().unwrap();
    assert!(stdout.len() == 1024 && stdout.ends_with("789\nend\n"), "{stdout}");
    assert_eq!(task["output"]["truncated"], true, "{task:#}");
    // All of the 100 MB is counted; the log has its own bound.
    let counts = host.get(&format!("/v1/tasks/{}/attempts", task["id"].as_str().unwrap())).await;
    let told = &list(&counts)[0]["log"];
    let (kept, dropped) = (told["bytes"].as_u64().unwrap(), told["dropped_bytes"].as_u64().unwrap());
    assert!(
        kept <= 1 << 20 && dropped > 50_000_000 && told["dropped_lines"].as_u64().unwrap() > 5_000_000,
        "{counts:#}"
    );
    let task = once(&host, &json!({ "command": "spin" })).await;
    assert!(task["error"]["message"].as_str().unwrap().starts_with("spin ended with signal"), "{task:#}");
    // Of those with one place, none meets another.
    let folder = TempDir::new().unwrap();
    let meet = folder.path().join("here");
    let input = json!({ "command": "alone", "arguments": [meet] });
    let tasks = [once(&host, &input), once(&host, &input), once(&host, &input)];
    for task in futures_util::future::join_all(tasks).await {
        assert_eq!(task["state"], "succeeded", "{task:#}");
    }
    assert!(!Path::new(&meet).exists());
    host.stop().await;
}

#[tokio::test]
async fn a_schedule_runs_a_command_and_its_settings_are_checked() {
    let home = Home::new();
    let component = folder::built("command").0;
    let manifest = "[grant.command.date]\nprogram = \"/bin/date\"\n";
    home.plugins().put("command", &component, Some(manifest));
    let host = home.start().await;
    let mut events = host.events().await;
    let action = json!({ "type": "enqueue", "kind": "command.run", "input": { "command": "date" } });
    let schedule = json!({ "name": "tick", "cron": "* * * * * *", "action": action, "max_fires": 1 });
    let put = host.post("/v1/schedules", &schedule).await;
    assert!(put.0.is_success(), "{put:?}");
    let done = events.until(|event| event.name == "task.succeeded").await.pop().unwrap();
    let task = host.task(done.task()).await;
    assert!(task["output"]["stdout"].as_str().unwrap().contains(':'), "{task:#}");

    // A setting that is none keeps the version that works.
    let wrong = format!("{manifest}[config]\non_failure = \"never\"\n");
    host.plugins().put("command", &component, Some(&wrong));
    let plugin = host.plugin_until("command", |plugin| !plugin["error"].is_null()).await;
    assert!(plugin.to_string().contains("`on_failure` is"), "{plugin:#}");
    assert_eq!(once(&host, &json!({ "command": "date" })).await["state"], "succeeded");
    host.stop().await;
}
