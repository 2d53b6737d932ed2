//! Executes the kind `webhook.post`: tells another system by HTTP what happened, as often as it takes.
//!
//! Where to, and whether a secret goes along, is the operator's: `url` and `secret` under `[config]`.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use taskhost_sdk::{Context, Descriptor, Executor, Failure, Kind, Plugin, TaskError, config, http};

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct Webhook;

impl Plugin for Webhook {
    fn describe() -> Descriptor {
        let kind = Kind::new("webhook.post", "Posts its input as JSON to the operator's URL");
        Descriptor::new("webhook", "1.0.0", "Tells another system what happened").with(kind)
    }

    fn validate_config(settings: &[(String, String)]) -> Result<(), Vec<Failure>> {
        let url = settings.iter().find(|(key, _)| key == "url").map(|(_, url)| url.as_str());
        if url.is_some_and(|url| url.starts_with("https://") || url.starts_with("http://")) {
            return Ok(());
        }
        let message = "`url` under [config] says where to post, such as \"https://example.com/hook\"";
        Err(vec![Failure::new("no-url", message)])
    }
}

impl Executor for Webhook {
    // JSON text as it came: that is what is posted.
    type Input = Box<RawValue>;
    type Output = Value;

    fn execute(input: Self::Input, context: &Context) -> Result<Value, TaskError> {
        let mut request = http::post(&config::get("url").unwrap_or_default())
            .timeout(Duration::from_secs(10))
            .header("content-type", "application/json")
            // The same on every attempt: the other side knows what it has seen.
            .header("webhook-id", &context.task().idempotency_key);
        if let Some(name) = config::get("secret") {
            // Not the secret, but what the host exchanges for it on the way.
            request = request.header("authorization", &format!("Bearer {}", http::secret(&name)?));
        }
        // What may pass (no connection, 429, 5xx) is tried again, when the other side says or with the task's backoff; the rest
        // fails for good.
        let answer = request.body(input.get()).send()?.success()?;
        Ok(json!({ "status": answer.status() }))
    }
}

taskhost_sdk::export!(Webhook, executor);
