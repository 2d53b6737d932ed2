//! Requests through the SDK.

use serde::Deserialize;
use serde_json::{Value, json};
use taskhost_sdk::{Context, Progress, TaskError, http};

/// One request. `{NAME}` in a header, the URL or the body stands for what the SDK gives for the secret `NAME`.
#[derive(Deserialize)]
pub(crate) struct Ask {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    #[serde(default)]
    secrets: Vec<String>,
    /// Write the answer to the log and into the progress.
    #[serde(default)]
    log: bool,
    /// Fail when the status is not 2xx.
    #[serde(default)]
    success: bool,
}

fn get() -> String {
    "GET".to_owned()
}

pub(crate) fn run(ask: &Ask, context: &Context) -> Result<Value, TaskError> {
    let mut placeholders = Vec::new();
    for name in &ask.secrets {
        placeholders.push((format!("{{{name}}}"), http::secret(name)?));
    }
    let fill = |text: &str| placeholders.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let mut request = http::Request::new(&ask.method, &fill(&ask.url));
    for (name, value) in &ask.headers {
        request = request.header(name, &fill(value));
    }
    if let Some(body) = &ask.body {
        request = request.body(fill(body));
    }
    let mut answer = request.send()?;
    if ask.success {
        answer = answer.success()?;
    }
    let status = answer.status();
    let location = answer.header("location").map(str::to_owned);
    let body = answer.text()?;
    if ask.log {
        taskhost_sdk::info!("the answer is {body}");
        eprintln_to_log(&body);
        context.report(&Progress { done: 1, total: None, unit: String::new(), message: Some(body.clone()) })?;
    }
    let seen: Vec<_> = placeholders.into_iter().map(|(_, placeholder)| placeholder).collect();
    Ok(json!({ "status": status, "location": location, "body": body, "placeholders": seen }))
}

fn eprintln_to_log(text: &str) {
    use std::io::Write as _;
    // A log that takes nothing more is no reason to stop.
    let _ = writeln!(std::io::stderr(), "the answer is {text}");
}
