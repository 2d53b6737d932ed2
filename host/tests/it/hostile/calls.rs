//! A guest that has much under way when it is stopped: files in every state, and a command.

use serde_json::json;

use crate::command::{gone, pids, shell};
use crate::support::folder::hostile;
use crate::support::{Home, attempts, files};

#[tokio::test]
async fn a_cancel_and_a_stop_amid_files_and_a_command_leave_neither() {
    let home = Home::new().built("echo").configure(|config| config.runner.shutdown_grace_ms = 300);
    let command = shell("echo $$; exec sleep 1000");
    let grants = "[grant]\nlibrary = { add = true }\n[[grant.http]]\nhost = \"example.test\"\n";
    let manifest = format!("{grants}[grant.command.tool]\n{command}");
    home.plugins().put("calls-the-rest", &hostile("calls-the-rest"), Some(&manifest));
    let host = home.start().await;

    let id = host.enqueue("calls-the-rest", &json!({})).await;
    let processes = pids(&host, &id, 1).await;
    assert_eq!(host.files("media").len(), 2, "one is finished, one is being written: {:?}", host.files("media"));
    host.cancel(&id).await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("cancelled"), 1), "{task:#}");
    gone(&processes).await;
    assert_eq!(host.files("media").len(), 0, "{:?}", host.files("media"));
    assert_eq!(host.run("echo", &json!([1])).await["output"], json!([1]), "the host is as well as before");

    let id = host.enqueue("calls-the-rest", &json!({})).await;
    let processes = pids(&host, &id, 1).await;
    let media = host.data().join("media");
    let _home = host.stop().await;
    gone(&processes).await;
    assert_eq!(files(&media).len(), 0, "{:?}", files(&media));
}
