//! What clients get wrong, sent to the whole host: each mistake has a problem document of its own that says what
//! and where, and nothing of the request is written.

mod walk;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::events::PATIENCE;
use crate::support::{Home, TestHost, list};

const MIB: usize = 1 << 20;

/// What a host has written: the position in the event sequence, the tasks, the schedules.
async fn written(host: &TestHost) -> (u64, Value, Value) {
    let last = host.store().events(u64::MAX, 0).await.unwrap().last;
    (last, host.get("/v1/tasks?limit=1000").await, host.get("/v1/schedules").await)
}

/// Sends a request that must be refused as `status` and `code`, without a trace; answers the problem.
async fn refused(host: &TestHost, request: RequestBuilder, status: u16, code: &str) -> Value {
    let before = written(host).await;
    let answer = request.send().await.expect("the host answers");
    let (found, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    assert_eq!(headers["content-type"], "application/problem+json", "{text}");
    assert!(text.len() < 20_000, "an answer repeats little of what it was sent: {} bytes", text.len());
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((found.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem:#}");
    assert_eq!(problem["type"], format!("urn:taskhost:problem:{code}"));
    assert_eq!(problem["status"], status);
    for said in ["title", "detail"] {
        assert!(problem[said].as_str().is_some_and(|text| text.len() >= 5), "{said} in {problem:#}");
    }
    assert_eq!(written(host).await, before, "something was written");
    problem
}

fn raw(host: &TestHost, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    host.request(Method::POST, path).header("content-type", "application/json").body(body)
}

/// Sends some bytes and no more; answers what comes back until the host closes.
async fn exchange(host: &TestHost, bytes: &str) -> String {
    let mut stream = TcpStream::connect(host.base().trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

/// A task of the kind `echo` with more fields.
fn echo(fields: &str) -> String {
    format!(r#"{{"kind":"echo","input":{{"a":{{"b":[1]}}}},{fields}}}"#)
}

/// Each task must be refused with one error at `pointer` that says `what`.
async fn refuses_tasks(host: &TestHost, cases: &[(&str, &str, &str)]) {
    for (fields, pointer, what) in cases {
        let problem = refused(host, raw(host, "/v1/tasks", echo(fields)), 422, "invalid-task").await;
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[0]["pointer"]), (1, &json!(pointer)), "{fields}: {problem:#}");
        let message = errors[0]["message"].as_str().unwrap();
        assert!(message.contains(what), "{fields}: {message:?} does not say {what:?}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(pointer) && detail.contains(what), "{fields}: {detail:?}");
    }
}

async fn echo_host() -> TestHost {
    Home::new().built("echo").start().await
}

#[tokio::test]
async fn priorities_are_whole_numbers_from_0_to_9() {
    let host = echo_host().await;
    let mut cases = Vec::new();
    for wrong in ["-1", "10", "4.5", "\"9\"", "1e99", "true", "[]", "18446744073709551616", "-0.0"] {
        cases.push((format!("\"priority\":{wrong}"), format!("{wrong} is not a whole number from 0 to 9")));
    }
    let cases: Vec<_> = cases.iter().map(|(field, said)| (field.as_str(), "/priority", said.as_str())).collect();
    refuses_tasks(&host, &cases).await;
    host.stop().await;
}

#[tokio::test]
async fn no_object_of_an_input_has_a_name_twice() {
    let host = echo_host().await;
    let task = r#"{"kind":"echo","input":{"a":[0,{"x":1,"y":2,"x":1}]}}"#;
    let action = format!(r#"{{"type":"enqueue",{}"#, &task[1..]);
    for (path, body, code, place) in [
        ("/v1/tasks", task.to_owned(), "invalid-input", ""),
        ("/v1/tasks/batch", format!(r#"{{"tasks":[{{"kind":"echo"}},{task}]}}"#), "invalid-batch", "/tasks/1"),
        ("/v1/batches", format!(r#"{{"tasks":[],"on_complete":{task}}}"#), "invalid-batch", "/on_complete"),
        ("/v1/schedules", format!(r#"{{"name":"s","every_ms":1000,"action":{action}}}"#), "invalid-input", "/action"),
    ] {
        let problem = refused(&host, raw(&host, path, body), 422, code).await;
        let error = json!({ "pointer": format!("{place}/input/a/1/x"), "message": "is given more than once" });
        assert_eq!(problem["errors"], json!([error]), "{path}");
    }
    host.stop().await;
}

#[tokio::test]
async fn instants_are_to_come_and_not_absurdly_far_away() {
    let host = echo_host().await;
    let to_come = "is not an RFC 3339 instant from 1970 to 9999-12-30, such as";
    refuses_tasks(
        &host,
        &[
            (r#""deadline":"2001-01-01T00:00:00Z""#, "/deadline", "2001-01-01T00:00:00.000Z has passed"),
            (r#""deadline":"9999-12-30T00:00:00Z""#, "/deadline", "more than ten years away"),
            (r#""deadline":"10000-01-01T00:00:00Z""#, "/deadline", to_come),
            (r#""deadline":"+010000-01-01T00:00:00Z""#, "/deadline", to_come),
            (r#""deadline":"1969-12-31T23:59:59Z""#, "/deadline", to_come),
            (r#""deadline":"soon""#, "/deadline", to_come),
            (r#""deadline":"2030-02-30T00:00:00Z""#, "/deadline", to_come),
            (r#""deadline":"2030-01-01T00:00:00""#, "/deadline", to_come),
            (r#""deadline":1893456000"#, "/deadline", "1893456000 is not text"),
            (
                r#""deadline":"2030-01-01T00:00:00Z","run_at":"2030-01-01T00:00:00Z""#,
                "/deadline",
                "is not after the time",
            ),
            (r#""run_at":"10000-01-01T00:00:00Z""#, "/run_at", to_come),
            (r#""run_at":"9000-01-01T00:00:00Z""#, "/run_at", "more than ten years away"),
            (r#""run_at":"2030-01-01T00:00:00Z","delay_ms":5"#, "/delay_ms", "cannot be joined with run_at"),
            (r#""delay_ms":1000000000000000000"#, "/delay_ms", "whole number from 0 to 315360000000"),
            (r#""delay_ms":1e18"#, "/delay_ms", "1e18 is not a whole number from 0 to"),
            (r#""delay_ms":99999999999999999999999999"#, "/delay_ms", "whole number from 0 to"),
            (r#""delay_ms":-1"#, "/delay_ms", "-1 is not a whole number from 0 to"),
            (r#""timeout_ms":0"#, "/timeout_ms", "0 is not a whole number from 1 to"),
            (r#""max_attempts":0"#, "/max_attempts", "0 is not a whole number from 1 to 1000"),
            (r#""backoff":{"base_ms":1000000000000000000}"#, "/backoff/base_ms", "whole number from 0 to"),
        ],
    )
    .await;
    host.stop().await;
}

#[tokio::test]
async fn names_and_keys_are_bounded_and_paths_exist() {
    let host = Home::new().built("echo").configure(|config| config.server.max_body_bytes = 4 << 20).start().await;
    let huge = "k".repeat(MIB);
    let field = |name: &str| format!("\"{name}\":\"{huge}\"");
    let (key, queue, idempotency) = (field("unique_key"), field("queue"), field("idempotency_key"));
    let unique = format!(r#""unique":{{"key":"{huge}"}}"#);
    let path = format!(r#""unique":{{"paths":["/a","/{huge}"]}}"#);
    let value = format!(r#""attributes":{{"tenant":"{huge}"}}"#);
    let name = format!(r#""attributes":{{"{huge}":"x"}}"#);
    let many: Vec<_> = (0..33).map(|at| format!("\"k{at}\":\"v\"")).collect();
    let many = format!(r#""attributes":{{{}}}"#, many.join(","));
    refuses_tasks(
        &host,
        &[
            (&key, "/unique_key", "has 1048576 bytes; a key has 1 to 256"),
            (&unique, "/unique/key", "has 1048576 bytes; a key has 1 to 256"),
            (&queue, "/queue", "is not a queue: lower-case letters, digits, -, _ and ., at most "),
            (&idempotency, "/idempotency_key", "1 to 255 printable ASCII characters"),
            (&value, "/attributes/tenant", "has 1048576 bytes; at most 512"),
            (&name, "/attributes", "has 1048576 bytes; 1 to 64"),
            (&many, "/attributes", "has 33 entries; at most 32"),
            (&path, "/unique/paths/1", "does not exist in the input"),
            (r#""unique":{"paths":["/a/b/0","/a/b/1"]}"#, "/unique/paths/1", r#""/a/b/1" does not exist in the input"#),
            (r#""unique":{"paths":["/a","a"]}"#, "/unique/paths/1", r#""a" is not a JSON Pointer"#),
            (r#""unique":{"paths":[]}"#, "/unique/paths", "has 0 entries; 1 to 16"),
            (r#""unique":{"paths":"/a"}"#, "/unique/paths", "is not an array of JSON Pointers"),
            (r#""queue":"""#, "/queue", "is not a queue"),
            (r#""attributes":{"a":1}"#, "/attributes/a", "1 is not text"),
            (r#""attributes":[]"#, "/attributes", "must be a JSON object"),
        ],
    )
    .await;
    // The same as a header.
    let long = "k".repeat(256);
    for key in [long.as_str(), "", "é"] {
        let request = raw(&host, "/v1/tasks", echo(r#""priority":1"#)).header("idempotency-key", key);
        let problem = refused(&host, request, 422, "invalid-idempotency-key").await;
        assert_eq!(problem["errors"][0]["header"], "Idempotency-Key", "{problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains("1 to 255 printable ASCII"), "{problem:#}");
    }
    let request = raw(&host, "/v1/tasks", echo(r#""priority":1"#)).header("idempotency-key", &huge);
    let problem = refused(&host, request, 431, "head-too-large").await;
    assert_eq!(problem["detail"], "the request line and the headers have more than 65536 bytes");
    host.stop().await;
}

#[tokio::test]
async fn schedules_that_never_fire_and_zones_that_are_none_are_refused() {
    let host = echo_host().await;
    let cases = [
        (r#""cron":"0 0 30 2 *""#, "/cron", "\"0 0 30 2 *\" never fires in UTC"),
        (r#""cron":"0 0 31 4,6,9,11 *","zone":"Asia/Tokyo""#, "/cron", "never fires in Asia/Tokyo"),
        (r#""cron":"0 0 1 1 * 2001""#, "/cron", "the day of week field \"2001\" is wrong"),
        (r#""cron":"61 * * * *""#, "/cron", "the minute field \"61\" is wrong"),
        (r#""cron":"* * * *""#, "/cron", "has 4 fields"),
        (r#""cron":"""#, "/cron", "fields"),
        (r#""cron":"@dayly""#, "/cron", "@daily"),
        (r#""cron":"@daily","zone":"Europe/Berlim""#, "/zone", "did you mean \"Europe/Berlin\"?"),
        (r#""cron":"@daily","zone":"Mars/Olympus""#, "/zone", "there is no time zone \"Mars/Olympus\""),
        (r#""cron":"@daily","zone":"../../etc/passwd""#, "/zone", "there is no time zone"),
        (r#""every_ms":0"#, "/every_ms", "0"),
        (r#""every_ms":1000000000000000000"#, "/every_ms", ""),
        (r#""at":["10000-01-01T00:00:00Z"]"#, "/at", ""),
        (r#""at":["2001-01-01T00:00:00Z"]"#, "/at", "has passed"),
    ];
    for (fields, pointer, what) in cases {
        let body = format!(r#"{{"name":"s",{fields},"action":{{"type":"enqueue","kind":"echo"}}}}"#);
        let code = if what.contains("never fires") || what.contains("has passed") {
            "never-fires"
        } else {
            "invalid-schedule"
        };
        let problem = refused(&host, raw(&host, "/v1/schedules", body), 422, code).await;
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[0]["pointer"]), (1, &json!(pointer)), "{fields}: {problem:#}");
        let message = errors[0]["message"].as_str().unwrap();
        assert!(message.contains(what) && message.len() > 10, "{fields}: {message:?} does not say {what:?}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_or_has_one_mistake_is_refused_whole() {
    let host = echo_host().await;
    let batch = |tasks: &[&str]| format!(r#"{{"tasks":[{}]}}"#, tasks.join(","));
    let good = r#"{"kind":"echo"}"#;
    let problem =
        refused(&host, raw(&host, "/v1/tasks/batch", batch(&vec![good; 100_000])), 413, "too-many-tasks").await;
    assert_eq!(problem["detail"], "/tasks: has 100000 entries; a batch has at most 10000");
    // The last of the most that there may be is wrong.
    let mut tasks = vec![good; 10_000];
    tasks[9_999] = r#"{"kind":"echo","priority":10}"#;
    let problem = refused(&host, raw(&host, "/v1/tasks/batch", batch(&tasks)), 422, "invalid-batch").await;
    assert_eq!(problem["detail"], "/tasks/9999/priority: 10 is not a whole number from 0 to 9");
    let problem = refused(&host, raw(&host, "/v1/tasks/batch", batch(&vec!["5"; 10_000])), 422, "invalid-batch").await;
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100, "a bounded answer");
    let large = format!(r#"{{"tasks":[{{"kind":"echo","input":"{}"}}]}}"#, "x".repeat(17 * MIB));
    let problem = refused(&host, raw(&host, "/v1/tasks/batch", large), 413, "body-too-large").await;
    assert_eq!(problem["detail"], "the body is larger than 16777216 bytes");
    // One that is held by a task of another request.
    host.create(&json!({ "kind": "echo", "unique_key": "k", "delay_ms": 3_600_000 })).await;
    let held = [good, r#"{"kind":"echo","unique":{"key":"k","mode":"reject"}}"#];
    let problem = refused(&host, raw(&host, "/v1/tasks/batch", batch(&held)), 409, "unique-held").await;
    assert_eq!(problem["errors"][0]["pointer"], "/tasks/1", "{problem:#}");
    host.stop().await;
}

#[tokio::test]
async fn cycles_and_parents_that_there_are_not_are_refused() {
    let host = echo_host().await;
    let batch = |tasks: &[String]| raw(&host, "/v1/tasks/batch", format!(r#"{{"tasks":[{}]}}"#, tasks.join(",")));
    let linked = |name: &str, after: &str| format!(r##"{{"kind":"echo","ref":"{name}","after":["#{after}"]}}"##);
    for (tasks, detail) in [
        (vec![linked("me", "me")], "/tasks/0/after: a cycle: #me comes after #me"),
        (vec![linked("a", "b"), linked("b", "a")], "/tasks/0/after: a cycle: #a comes after #b comes after #a"),
        (vec![linked("a", "z")], "/tasks/0/after/0: no task of this request has the ref \"z\""),
    ] {
        let problem = refused(&host, batch(&tasks), 422, "invalid-batch").await;
        assert_eq!(problem["detail"], detail, "{problem:#}");
    }
    // As long as a batch can be: found, and told in short.
    let long: Vec<_> = (0..10_000).map(|at| linked(&format!("t{at}"), &format!("t{}", (at + 1) % 10_000))).collect();
    let problem = refused(&host, batch(&long), 422, "invalid-batch").await;
    assert!(problem["detail"].as_str().unwrap().contains("a cycle: #t"), "{problem:#}");
    let unknown = "01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90";
    let body = format!(r#"{{"kind":"echo","after":["{unknown}"]}}"#);
    let problem = refused(&host, raw(&host, "/v1/tasks", body), 422, "unknown-parent").await;
    assert_eq!(problem["errors"][0]["pointer"], "/after/0", "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains(unknown), "{problem:#}");
    host.stop().await;
}

#[tokio::test]
async fn json_that_is_double_deep_or_no_text_is_refused() {
    let host = echo_host().await;
    for (fields, pointer) in [
        (r#""priority":1,"priority":2"#, "/priority"),
        (r#""kind":"echo""#, "/kind"),
        (r#""attributes":{"a":"1","b":"2","a":"3"}"#, "/attributes/a"),
        (r#""backoff":{"base_ms":1,"base_ms":2}"#, "/backoff/base_ms"),
        (r#""unique":{"key":"a","key":"b"}"#, "/unique/key"),
    ] {
        refuses_tasks(&host, &[(fields, pointer, "is given more than once")]).await;
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [129, 10_000, 100_000] {
        let body = format!(r#"{{"kind":"echo","input":{}}}"#, deep(depth));
        let problem = refused(&host, raw(&host, "/v1/tasks", body), 422, "invalid-input").await;
        assert_eq!(problem["errors"][0]["pointer"], "/input", "{problem:#}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("nested more than 127 levels deep"), "{detail}");
    }
    for body in
        [deep(100_000), format!(r#"{{"tasks":{}}}"#, deep(100_000)), echo(&format!("\"deadline\":{}", deep(9_999)))]
    {
        let (before, sent) = (written(&host).await, raw(&host, "/v1/tasks", body).send().await.unwrap());
        assert_eq!(sent.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(written(&host).await, before);
    }
    let mut bytes = br#"{"kind":"echo","input":"#.to_vec();
    bytes.extend(b"\"\xff\xfe\"}");
    let problem = refused(&host, raw(&host, "/v1/tasks", bytes), 400, "invalid-json").await;
    assert!(problem["detail"].as_str().unwrap().contains("not UTF-8"), "{problem:#}");
    for (body, said) in [
        ("{\"kind\":\"echo\"", "EOF while parsing an object at line 1 column 14"),
        ("{\"kind\":\"echo\"} {}", "trailing characters at line 1 column 17"),
        ("{\"kind\":\"echo\",}", "key must be a string at line 1 column 16"),
        ("{'kind':'echo'}", "key must be a string at line 1 column 2"),
        ("\u{feff}{\"kind\":\"echo\"}", "line 1 column 1"),
        ("NaN", "line 1 column"),
    ] {
        let problem = refused(&host, raw(&host, "/v1/tasks", body), 400, "invalid-json").await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("the body is not JSON: ") && detail.contains(said), "{body}: {detail}");
    }
    host.stop().await;
}

#[tokio::test]
async fn bodies_of_another_sort_or_size_are_refused() {
    let host = echo_host().await;
    for (content_type, said) in [("text/plain", "text/plain"), ("application/x-www-form-urlencoded", "urlencoded")] {
        let request =
            host.request(Method::POST, "/v1/tasks").header("content-type", content_type).body(echo("\"priority\":1"));
        let problem = refused(&host, request, 415, "unsupported-media-type").await;
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem:#}");
    }
    let problem =
        refused(&host, host.request(Method::POST, "/v1/tasks").body("{}"), 415, "unsupported-media-type").await;
    assert_eq!(problem["detail"], "there is no Content-Type; send application/json");
    refused(&host, host.request(Method::POST, "/v1/tasks"), 400, "empty-body").await;
    let long = format!("GET /v1/tasks?kind={} HTTP/1.1\r\nhost: localhost\r\n", "k".repeat(MIB));
    for (head, expected) in [
        ("GET /v1/tasks HTTP/1.1\r\nhost : x\r\n", "invalid-head"),
        ("nonsense\r\n", "invalid-head"),
        ("GET /\u{1} HTTP/1.1\r\n", "invalid-head"),
        (&long, "head-too-large"),
    ] {
        let text = exchange(&host, &format!("{head}\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 4") && text.contains(&format!("\"code\":\"{expected}\"")), "{text}");
        assert!(text.contains("content-type: application/problem+json\r\n"), "{text}");
    }
    let large = format!(r#"{{"kind":"echo","input":"{}"}}"#, "x".repeat(300 << 10));
    let problem = refused(&host, raw(&host, "/v1/tasks", large), 413, "input-too-large").await;
    assert_eq!(problem["detail"], "/input: has 307202 bytes; an input has at most 262144");
    refused(&host, raw(&host, "/v1/tasks", " ".repeat(8 * MIB)), 413, "body-too-large").await;
    let problem = refused(&host, raw(&host, "/v1/tasks", r#"{"kind":"ehco"}"#), 422, "unknown-kind").await;
    assert_eq!((&problem["errors"][0]["pointer"], &problem["kinds"]), (&json!("/kind"), &json!(["echo"])));
    refuses_tasks(&host, &[(r#""prioriti":3"#, "/prioriti", "did you mean \"priority\"?")]).await;
    host.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_creates_nothing_and_is_told() {
    let host = echo_host().await;
    let before = written(&host).await;
    let body = echo("\"priority\":1");
    for head in [format!("content-length: {}", body.len() + 5), "transfer-encoding: chunked".to_owned()] {
        let chunk = if head.starts_with('t') { format!("{:x}\r\n{body}\r\n", body.len()) } else { body.clone() };
        let request = format!(
            "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{head}\r\n\r\n{chunk}"
        );
        let text = exchange(&host, &request).await;
        assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("\"code\":\"body-incomplete\""), "{head}: {text}");
    }
    assert_eq!(written(&host).await, before);
    host.stop().await;
}

#[tokio::test]
async fn two_requests_that_race_with_one_key_make_one_task_or_one_is_told() {
    let host = echo_host().await;
    for round in 0..20 {
        let send = |input: usize| {
            let body = json!({ "kind": "echo", "input": input, "delay_ms": 3_600_000 });
            let key = format!("order-{round}");
            host.request(Method::POST, "/v1/tasks").header("idempotency-key", key).json(&body).send()
        };
        let (one, other) = tokio::join!(send(1), send(2));
        let mut answers = Vec::new();
        for answer in [one.unwrap(), other.unwrap()] {
            answers.push((answer.status().as_u16(), answer.json::<Value>().await.unwrap()));
        }
        answers.sort_by_key(|(status, _)| *status);
        let [(201, task), (409, problem)] = &answers[..] else { panic!("{answers:#?}") };
        assert_eq!(problem["code"], "idempotency-mismatch");
        assert!(problem["detail"].as_str().unwrap().contains(task["id"].as_str().unwrap()), "{problem:#}");
    }
    assert_eq!(list(&host.get("/v1/tasks?limit=1000").await).len(), 20);
    host.stop().await;
}
