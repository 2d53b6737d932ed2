//! WASI is complete in what it links and leads nowhere.

use serde_json::{Value, json};

use super::{host_with, network, rule};

#[tokio::test]
async fn wasi_answers_denials_and_shows_nothing_of_the_host() {
    let host = host_with(&rule(80, ""), &network()).await;
    let task = host.run("web.wasi", &Value::Null).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    let output = &task["output"];
    for (what, expected) in [
        ("arguments", json!([])),
        ("variables", json!([])),
        ("folder", Value::Null),
        ("preopened", json!(0)),
        ("stdin", json!("Ok(0)")),
        ("terminal", json!(false)),
        ("clock", json!(true)),
        ("random", json!(16)),
    ] {
        assert_eq!(output[what], expected, "{what} of {output:#}");
    }
    for what in ["read a file", "read here", "write a file", "connect", "listen", "datagram", "resolve"] {
        assert!(output[what].is_string(), "{what} worked: {output:#}");
    }
    host.stop().await;
}
