//! Schedules: declared, changed by who saw them, refused with what is wrong and where.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::harness::{Answer, Api};
use crate::schedule::{Action, ScheduleSpec};
use crate::store::DueQuery;
use crate::time::now;

const DAILY: &str = r#"{"name":"daily","cron":"30 2 * * *","zone":"europe/berlin","start":"2030-03-30T00:00:00Z",
    "action":{"type":"enqueue","kind":"echo","input":{"b": 1,  "a":2}}}"#;

async fn send(api: &Api, method: Method, uri: &str, etag: &str, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    if !etag.is_empty() {
        request = request.header("if-match", etag);
    }
    api.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn create(api: &Api, body: &'static str) -> Answer {
    let answer = api.post_json("/v1/schedules", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer
}

/// `pointer: message` of everything that is wrong.
async fn refused(api: &Api, body: &str) -> Vec<String> {
    let answer = api.post_json("/v1/schedules", body.to_owned()).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    errors
        .iter()
        .map(|error| format!("{}: {}", error["pointer"].as_str().unwrap(), error["message"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_schedule_is_created_and_shown_with_its_next_times_in_its_zone() {
    let api = Api::new().await;
    let created = create(&api, DAILY).await;
    assert_eq!((created.header("location"), created.header("etag")), ("/v1/schedules/daily", "\"1\""));
    let expected = json!({
        "name": "daily", "cron": "30 2 * * *", "zone": "Europe/Berlin", "dst": {"gap": "shift", "overlap": "first"},
        "overlap": "allow", "catch_up": "latest", "jitter_ms": 0, "start": "2030-03-30T00:00:00.000Z",
        "action": {"type": "enqueue", "kind": "echo", "input": {"b": 1, "a": 2}}, "declared_by": "client",
        "next_at": "2030-03-30T01:30:00.000Z", "fired": 0, "by_hand": 0, "backfilled": 0, "overlapped": 0,
        "missed": 0, "skipped": 0, "buffered": 0, "preview": [
            "2030-03-30T02:30:00.000+01:00", "2030-03-31T03:00:00.000+02:00", "2030-04-01T02:30:00.000+02:00",
            "2030-04-02T02:30:00.000+02:00", "2030-04-03T02:30:00.000+02:00", "2030-04-04T02:30:00.000+02:00",
            "2030-04-05T02:30:00.000+02:00", "2030-04-06T02:30:00.000+02:00", "2030-04-07T02:30:00.000+02:00",
            "2030-04-08T02:30:00.000+02:00",
        ],
    });
    assert_eq!(created.json(), expected);
    let read = api.get("/v1/schedules/daily").await;
    assert_eq!((read.json(), read.header("etag")), (expected, "\"1\""));
    assert!(read.text().contains(r#"{"b": 1,  "a":2}"#), "the input passes unchanged");
    let taken = api.post_json("/v1/schedules", DAILY).await;
    taken.is_problem(
        409,
        r#"{"type":"urn:taskhost:problem:schedule-exists","title":"The name is taken","status":409,"detail":"there is a schedule called `daily` already","code":"schedule-exists"}"#,
    );
    create(&api, r#"{"name":"once","at":["2030-01-02T00:00:00+02:00"],"action":{"type":"dispatch","plugin":"p"}}"#)
        .await;
    let page = api.get("/v1/schedules?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/v1/schedules?limit=1&cursor={cursor}")).await.json();
    assert_eq!((&rest["schedules"][0]["name"], &rest["next_cursor"]), (&json!("once"), &Value::Null));
    assert_eq!(rest["schedules"][0]["at"], json!(["2030-01-01T22:00:00.000Z"]));
}

#[tokio::test]
async fn c8_every_bad_value_is_refused_with_its_place() {
    let api = Api::new().await;
    let with = |fields: &str| format!(r#"{{"name":"s",{fields},"action":{{"type":"enqueue","kind":"echo"}}}}"#);
    let cron = |cron: &str| with(&format!("\"cron\":\"{cron}\""));
    assert_eq!(refused(&api, &cron("0 0 30 2 *")).await, ["/cron: \"0 0 30 2 *\" never fires in UTC"]);
    let said = refused(&api, &cron("0 25 * * *")).await;
    assert!(said[0].starts_with("/cron: the hour field \"25\" is wrong: "), "{said:?}");
    assert!(refused(&api, &cron("* *")).await[0].starts_with("/cron: has 2 fields; 5 are right"));
    let zone = refused(&api, &with(r#""cron":"@daily","zone":"Europe/Berlim""#)).await;
    assert!(zone[0].starts_with("/zone: ") && zone[0].ends_with("did you mean \"Europe/Berlin\"?"), "{zone:?}");
    let many = r#""cron":"@daily","dst":{"gap":"jump","fold":"first"},"overlap":"queue-all","overlap_cap":5000,
        "start":"2031-01-01T00:00:00Z","end":"2030-01-01T00:00:00Z","jitter_ms":99999999999"#;
    let types = r#""cron":5,"dst":{"gap":1,"fold":"first"},"at":"now","max_fires":-1,"every":"1s""#;
    let pointers = async |fields: &str| -> Vec<String> {
        let said = refused(&api, &with(fields)).await;
        said.iter().map(|error| error.split(':').next().unwrap().to_owned()).collect()
    };
    assert_eq!(pointers(types).await, ["/dst/gap", "/dst/fold", "/cron", "/at", "/max_fires", "/every"]);
    let many = many.replace(r#","fold":"first""#, "");
    assert_eq!(pointers(&many).await, ["/dst/gap", "/overlap_cap", "/end", "/jitter_ms"]);
    assert_eq!(pointers(r#""every_ms":10"#).await, ["/every_ms"]);
    assert_eq!(pointers(r#""every_ms":1000,"zone":"UTC""#).await, ["/zone"]);
    assert_eq!(pointers(r#""catch_up":"window","every_ms":1000"#).await, ["/catch_up_window_ms"]);
    assert_eq!(
        refused(&api, &with(r#""at":["2001-01-01T00:00:00Z"]"#)).await,
        ["/at: every instant has passed or is out of bounds"]
    );
    let end = refused(&api, &with(r#""every_ms":1000,"end":"2001-01-01T00:00:00Z""#)).await;
    assert_eq!(end, ["/every_ms: the interval never comes round until 2001-01-01T00:00:00.000Z"]);
    let bare = refused(&api, r#"{"cron":"@daily"}"#).await;
    assert!(bare[0].starts_with("/name: is missing") && bare[1].starts_with("/action: is missing"), "{bare:?}");
    let action =
        async |action: &str| refused(&api, &format!(r#"{{"name":"s","cron":"@daily","action":{action}}}"#)).await;
    assert!(action(r#"{"type":"enqueue","kind":"nobody"}"#).await[0].starts_with("/action/kind: no plugin executes"));
    assert_eq!(
        action(r#"{"type":"enqueue","kind":"video.cut"}"#).await[0],
        "/action/input/media: is not of type \"string\""
    );
    assert!(action(r#"{"type":"run"}"#).await[0].starts_with("/action/type: "));
    assert!(action(r#"{"type":"dispatch","plugin":"P!","batch":0}"#).await.len() == 2);
    assert!(action("7").await[0].starts_with("/action: must be a JSON object"));
    assert_eq!(api.get("/v1/schedules").await.json(), json!({"schedules": []}), "nothing half-written");
    api.get("/v1/schedules/none").await.is_problem(
        404,
        r#"{"type":"urn:taskhost:problem:schedule-not-found","title":"Not found","status":404,"detail":"there is no schedule \"none\"","code":"schedule-not-found"}"#,
    );
    assert_eq!(api.get("/v1/schedules/N%20o").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn c11_a_change_needs_the_etag_of_what_was_seen() {
    let api = Api::new().await;
    create(&api, DAILY).await;
    let uri = "/v1/schedules/daily";
    let patch = async |etag: &str, body: &str| send(&api, Method::PATCH, uri, etag, body).await;
    patch("", r#"{"overlap":"skip"}"#).await.is_problem(
        428,
        r#"{"type":"urn:taskhost:problem:precondition-required","title":"If-Match is missing","status":428,"detail":"send the ETag of the schedule that you have seen as If-Match","code":"precondition-required"}"#,
    );
    let skip = patch("\"1\"", r#"{"overlap":"skip"}"#).await;
    assert_eq!((skip.status, skip.header("etag"), &skip.json()["overlap"]), (StatusCode::OK, "\"2\"", &json!("skip")));
    assert!(skip.text().contains(r#"{"b": 1,  "a":2}"#), "what is not named stays as it was");
    patch("\"1\"", r#"{"overlap":"allow"}"#).await.is_problem(
        412,
        r#"{"type":"urn:taskhost:problem:precondition-failed","title":"It has changed meanwhile","status":412,"detail":"the schedule \"daily\" is not what you have seen: read it again","code":"precondition-failed"}"#,
    );
    let last = patch("\"2\"", r#"{"dst":{"overlap":"last"},"start":null}"#).await.json();
    assert_eq!((&last["dst"], &last["start"]), (&json!({"gap": "shift", "overlap": "last"}), &Value::Null));
    let every = patch("*", r#"{"every_ms":60000,"action":{"type":"dispatch","plugin":"p"}}"#).await.json();
    assert_eq!((&every["every_ms"], &every["cron"], &every["zone"]), (&json!(60_000), &Value::Null, &Value::Null));
    assert_eq!(every["action"], json!({"type": "dispatch", "plugin": "p", "batch": 100, "capacity": 1_000}));
    for (wrong, pointer) in [
        (r#"{"name":"other"}"#, "/name"),
        (r#"{"every_ms":1}"#, "/every_ms"),
        (r#"{"what":1}"#, "/what"),
        (r#"{"action":{"type":"enqueue"}}"#, "/action/kind"),
    ] {
        let answer = patch("*", wrong).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{answer:?}"
        );
    }
    let replaced = send(&api, Method::PUT, uri, "\"4\"", &DAILY.replace("30 2", "0 5")).await;
    assert_eq!((replaced.status, &replaced.json()["next_at"]), (StatusCode::OK, &json!("2030-03-30T04:00:00.000Z")));
    assert_eq!(send(&api, Method::DELETE, uri, "", "").await.status, StatusCode::PRECONDITION_REQUIRED);
    assert_eq!(send(&api, Method::DELETE, uri, "\"4\"", "").await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(send(&api, Method::DELETE, uri, "\"5\"", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(uri).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_the_configuration_declares_is_read_only() {
    let api = Api::new().await;
    let action = Action::Dispatch { plugin: "p".to_owned(), batch: 1, capacity: 1 };
    api.store.declare_schedules(vec![ScheduleSpec::every("fixed", 60_000, action)], now()).await.unwrap();
    for (method, body) in [(Method::PUT, DAILY), (Method::PATCH, "{}"), (Method::DELETE, "")] {
        send(&api, method, "/v1/schedules/fixed", "*", body).await.is_problem(
            409,
            r#"{"type":"urn:taskhost:problem:declared-in-config","title":"Declared in the configuration","status":409,"detail":"\"fixed\" is declared in the configuration: change it there","code":"declared-in-config"}"#,
        );
    }
    let paused = api.post("/v1/schedules/fixed/pause").await.json();
    assert_eq!(paused["paused"]["reason"], json!("asked for"), "it can be operated");
}

#[tokio::test]
async fn c14_a_schedule_is_paused_fired_by_hand_resumed_and_made_up_for() {
    let api = Api::new().await;
    create(&api, r#"{"name":"s","every_ms":3600000,"action":{"type":"enqueue","kind":"echo"}}"#).await;
    let fire = async || api.store.fire_due(DueQuery { busy: Vec::new(), limit: 10 }, now()).await.unwrap();
    assert!(api.post("/v1/schedules/s/pause").await.json()["paused"].is_object());
    let triggered = api.post("/v1/schedules/s/trigger").await;
    assert_eq!((triggered.status, &triggered.json()["buffered"]), (StatusCode::ACCEPTED, &json!(1)));
    fire().await;
    let fired = api.get("/v1/schedules/s").await.json();
    assert_eq!((&fired["fired"], &fired["by_hand"], &fired["buffered"]), (&json!(1), &json!(1), &json!(0)));
    let task = &api.get("/v1/tasks").await.json()["tasks"][0];
    assert_eq!((&task["attributes"]["schedule"], &task["attributes"]["backfilled"]), (&json!("s"), &json!("false")));
    assert_eq!(api.post("/v1/schedules/s/resume").await.json()["paused"], Value::Null);
    let backfill = async |body: &'static str| api.post_json("/v1/schedules/s/backfill", body).await;
    let done = backfill(r#"{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T05:30:00Z","limit":4}"#).await.json();
    assert_eq!(done, json!({"created": 4, "duplicates": 0, "next": "2026-01-01T04:00:00.000Z"}));
    let again = backfill(r#"{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T05:30:00Z"}"#).await.json();
    assert_eq!(again, json!({"created": 2, "duplicates": 4}));
    let task = &api.get("/v1/tasks?limit=1").await.json()["tasks"][0];
    assert_eq!(
        task["attributes"],
        json!({"schedule": "s", "nominal": "2026-01-01T05:00:00.000Z", "backfilled": "true"})
    );
    for (wrong, pointer) in [
        (r#"{"start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}"#, "/end"),
        (r#"{"start":"2026-01-02T00:00:00Z","end":"9999-01-01T00:00:00Z"}"#, "/end"),
        (r#"{"start":"x","end":"2026-01-01T00:00:00Z"}"#, "/start"),
        (r#"{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:00:00Z","limit":0}"#, "/limit"),
    ] {
        assert_eq!(backfill(wrong).await.json()["errors"][0]["pointer"], json!(pointer), "{wrong}");
    }
    create(&api, r#"{"name":"d","every_ms":1000,"action":{"type":"dispatch","plugin":"p"}}"#).await;
    let nothing = api
        .post_json("/v1/schedules/d/backfill", r#"{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:00:00Z"}"#)
        .await;
    assert_eq!(nothing.status, StatusCode::CONFLICT);
}
