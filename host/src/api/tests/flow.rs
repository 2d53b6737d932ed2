//! Tasks that come after others, through the routes.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::harness::{Answer, Api};
use crate::task::{Failure, NewTask, Outcome, Source, TaskId};

fn success(output: &str) -> Outcome {
    Outcome::Succeeded { output: output.to_owned(), outbox: Vec::new() }
}

async fn after(api: &Api, parents: &[TaskId], rest: &str) -> TaskId {
    let ids: Vec<_> = parents.iter().map(ToString::to_string).collect();
    let body = format!(r#"{{"kind":"echo","after":{}{rest}}}"#, json!(ids));
    let answer = api.post_json("/v1/tasks", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()["id"].as_str().unwrap().parse().unwrap()
}

async fn task(api: &Api, id: TaskId) -> Value {
    api.get(&format!("/v1/tasks/{id}")).await.json()
}

/// The pointers and messages of a problem.
#[track_caller]
fn wrong(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    let json = answer.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    json["errors"].as_array().unwrap().iter().map(|e| (text(&e["pointer"]), text(&e["message"]))).collect()
}

#[tokio::test]
async fn a_task_waits_for_its_parents_and_shows_them() {
    let api = Api::new().await;
    let [a, b] = [api.enqueue(r#"{"kind":"echo"}"#).await, api.enqueue(r#"{"kind":"echo"}"#).await];
    let child = after(&api, &[a, b, a], "").await;
    let shown = task(&api, child).await;
    assert_eq!((&shown["state"], &shown["on_parent_failure"]), (&json!("waiting"), &json!("fail")));
    assert_eq!(shown["after"], json!([a.to_string(), b.to_string()]), "each once");
    assert_eq!(api.get("/v1/tasks?state=waiting").await.json()["tasks"][0]["id"], json!(child.to_string()));
    let listed = api.get(&format!("/v1/tasks?after={b}")).await.json();
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1);

    assert_eq!(api.claim("echo").await, a);
    api.finish(a, success("[1]")).await;
    let shown = task(&api, child).await;
    assert_eq!(shown["state"], "waiting");
    assert_eq!((&shown["parents"][0]["state"], &shown["parents"][1]["state"]), (&json!("succeeded"), &json!("queued")));
    assert_eq!(task(&api, a).await["dependents"], 1);
    assert_eq!(api.claim("echo").await, b);
    api.finish(b, success("2")).await;
    assert_eq!(task(&api, child).await["state"], "queued");
    assert_eq!(api.claim("echo").await, child);
    // One that comes after ended ones only does not wait.
    assert_eq!(task(&api, after(&api, &[a], "").await).await["state"], "queued");
}

#[tokio::test]
async fn the_rule_says_what_follows_from_a_failed_parent() {
    let api = Api::new().await;
    let parent = api.enqueue(r#"{"kind":"echo"}"#).await;
    let rule = |rule: &str| format!(r#","on_parent_failure":"{rule}""#);
    let [fail, run, cancel] = [
        after(&api, &[parent], "").await,
        after(&api, &[parent], &rule("run")).await,
        after(&api, &[parent], &rule("cancel")).await,
    ];
    let grandchild = after(&api, &[fail], &rule("fail")).await;
    api.claim("echo").await;
    api.finish(parent, Outcome::Fatal(Failure::new("broken", "no"))).await;
    let failed = task(&api, fail).await;
    assert_eq!((&failed["state"], &failed["error"]["code"]), (&json!("failed"), &json!("parent-failed")));
    assert_eq!(failed["error"]["details"], json!({"parent": parent.to_string()}));
    assert_eq!(failed["parents"][0]["error"], "broken");
    assert_eq!(task(&api, run).await["state"], "queued");
    assert_eq!(task(&api, cancel).await["state"], "cancelled");
    assert_eq!(task(&api, grandchild).await["error"]["details"], json!({"parent": fail.to_string()}));
    // It counts also when it has ended before.
    let late = after(&api, &[parent], "").await;
    assert_eq!(task(&api, late).await["error"]["code"], "parent-failed");

    // Put back in any order of the flow, but the first one first.
    let refused = api.post(&format!("/v1/tasks/{fail}/retry")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text().contains(&parent.to_string()), "{refused:?}");
    let redriven = api.post_json("/v1/tasks/redrive", "{}").await.json();
    assert_eq!(redriven["redriven"].as_array().unwrap().len(), 4, "{redriven}");
    for id in [fail, grandchild, late] {
        assert_eq!(task(&api, id).await["state"], "waiting");
    }
}

#[tokio::test]
async fn tasks_of_one_request_refer_to_each_other_by_name() {
    let api = Api::new().await;
    let body = r##"{"tasks":[{"kind":"echo","ref":"last","after":["#a","#b"],"input":0},
        {"kind":"echo","ref":"a","input":1},{"kind":"echo","ref":"b","after":["#a"],"input":2}]}"##;
    let answer = api.post_json("/v1/tasks/batch", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let ids: Vec<TaskId> = answer.json()["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["id"].as_str().unwrap().parse().unwrap())
        .collect();
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(task(&api, *id).await["input"], at, "in the order of the request");
    }
    for id in [ids[1], ids[2], ids[0]] {
        assert_eq!(api.claim("echo").await, id);
        api.finish(id, success("1")).await;
    }
}

#[tokio::test]
async fn what_cannot_come_after_is_refused_and_nothing_is_created() {
    let api = Api::new().await;
    let unknown = TaskId::generate();
    let single = async |body: &str| wrong(&api.post_json("/v1/tasks", body.to_owned()).await);
    let batch = async |tasks: &str| wrong(&api.post_json("/v1/tasks/batch", format!(r#"{{"tasks":[{tasks}]}}"#)).await);
    let known = api.enqueue(r#"{"kind":"echo"}"#).await;

    let found = single(&format!(r#"{{"kind":"echo","after":["{known}","{known}","{unknown}"]}}"#)).await;
    assert_eq!((found.len(), found[0].0.as_str()), (1, "/after/2"));
    assert!(found[0].1.contains(&unknown.to_string()), "{found:?}");
    let found = single(r##"{"kind":"echo","after":["#a",5],"ref":"a b"}"##).await;
    assert_eq!(found.iter().map(|e| e.0.as_str()).collect::<Vec<_>>(), ["/ref", "/after", "/ref"]);
    let found = single(r##"{"kind":"echo","after":["#a","x"]}"##).await;
    assert_eq!(found.iter().map(|e| e.0.as_str()).collect::<Vec<_>>(), ["/after/1", "/after/0"]);
    assert_eq!(single(r#"{"kind":"echo","on_parent_failure":"run"}"#).await[0].0, "/on_parent_failure");
    let replacing = format!(r#"{{"kind":"echo","after":["{known}"],"unique":{{"key":"k","mode":"replace"}}}}"#);
    assert_eq!(single(&replacing).await[0].0, "/after");
    let many = json!({"kind": "echo", "after": vec![known.to_string(); 1_001]}).to_string();
    assert!(single(&many).await[0].1.contains("1000 at most"));

    let cycle = r##"{"kind":"echo","ref":"a","after":["#c"]},{"kind":"echo","ref":"b","after":["#a"]},
        {"kind":"echo","ref":"c","after":["#b"]}"##;
    let expected = "a cycle: #a comes after #c comes after #b comes after #a";
    assert_eq!(batch(cycle).await, [("/tasks/0/after".to_owned(), expected.to_owned())]);
    let found = batch(r##"{"kind":"echo"},{"kind":"echo","ref":"me","after":["#me"]}"##).await;
    assert_eq!(found, [("/tasks/1/after".to_owned(), "a cycle: #me comes after #me".to_owned())]);
    let found = batch(r##"{"kind":"echo","ref":"a"},{"kind":"echo","ref":"a","after":["#a","#b"]}"##).await;
    assert_eq!(found.iter().map(|e| e.0.as_str()).collect::<Vec<_>>(), ["/tasks/1/ref", "/tasks/1/after/1"]);
    let found = batch(&format!(r##"{{"kind":"echo","after":["#z","{unknown}"]}},{{"kind":"echo","ref":"z"}}"##)).await;
    assert_eq!(found[0].0, "/tasks/0/after/1");

    assert_eq!(api.get("/v1/tasks").await.json()["tasks"].as_array().unwrap().len(), 1);
    let both = api.get(&format!("/v1/tasks?after={known}&parent={known}")).await;
    assert!(both.text().contains("give one of them"), "{both:?}");
}

#[tokio::test]
async fn the_tree_has_what_was_created_below() {
    let api = Api::new().await;
    let root = api.enqueue(r#"{"kind":"echo"}"#).await;
    let new = |parent| NewTask { source: Source::Task(parent), ..NewTask::new("echo", "{}") };
    let finish = async |id| {
        assert_eq!(api.claim("echo").await, id);
        let outbox = vec![new(id), new(id)];
        api.finish(id, Outcome::Succeeded { output: "1".to_owned(), outbox }).await;
    };
    finish(root).await;
    let children = api.get(&format!("/v1/tasks?parent={root}&limit=1")).await;
    assert_eq!(children.json()["tasks"].as_array().unwrap().len(), 1);
    let next = children.json()["next_cursor"].as_str().unwrap().to_owned();
    let older = api.get(&format!("/v1/tasks?parent={root}&cursor={next}")).await.json();
    let first: TaskId = older["tasks"][0]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(older.get("next_cursor"), None);
    finish(first).await;

    let tree = api.get(&format!("/v1/tasks/{root}/tree")).await.json();
    assert_eq!((&tree["id"], &tree["state"]), (&json!(root.to_string()), &json!("succeeded")));
    assert_eq!(tree["children"][0]["id"], first.to_string());
    assert_eq!(tree["children"][0]["children"].as_array().unwrap().len(), 2);
    assert_eq!((&tree["children"][1]["state"], &tree["truncated"]), (&json!("queued"), &json!(false)));
    assert_eq!(task(&api, root).await["children"], 2);
    assert_eq!(api.get(&format!("/v1/tasks/{}/tree", TaskId::generate())).await.status, StatusCode::NOT_FOUND);
}
