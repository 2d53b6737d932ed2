//! The administrator of a host: whoever has its token.

use std::path::Path;

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::binary::{Place, Served};
use super::events::PATIENCE;
use super::{TestHost, answer};

/// Changes plugins over HTTP.
#[derive(Clone)]
pub(crate) struct Admin {
    client: Client,
    base: String,
    token: String,
}

impl Admin {
    /// Of a host in this process.
    pub(crate) fn of(host: &TestHost) -> Self {
        Self { client: super::client(), base: host.base().to_owned(), token: token(&host.data()) }
    }

    /// Of the binary.
    pub(crate) fn at(host: &Served, place: &Place) -> Self {
        Self { client: host.client.clone(), base: host.base.clone(), token: token(&place.path("data")) }
    }

    /// A request with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).timeout(PATIENCE).bearer_auth(&self.token)
    }

    /// An upload with the component as its body.
    pub(crate) fn upload(&self, name: &str, component: Vec<u8>) -> RequestBuilder {
        self.request(Method::PUT, &format!("/v1/plugins/{name}")).body(component)
    }

    /// An upload of a form with these parts.
    pub(crate) fn form(&self, name: &str, parts: &[(&'static str, &[u8])]) -> RequestBuilder {
        let add = |form: Form, (name, bytes): &(&'static str, &[u8])| form.part(*name, Part::bytes(bytes.to_vec()));
        let form = parts.iter().fold(Form::new(), add);
        self.request(Method::PUT, &format!("/v1/plugins/{name}")).multipart(form)
    }

    /// An upload of a manifest.
    pub(crate) fn manifest(&self, name: &str, manifest: &str) -> RequestBuilder {
        self.request(Method::PUT, &format!("/v1/plugins/{name}/manifest")).body(manifest.to_owned())
    }

    /// A way back.
    pub(crate) fn rollback(&self, name: &str) -> RequestBuilder {
        self.request(Method::POST, &format!("/v1/plugins/{name}/rollback"))
    }

    /// A removal.
    pub(crate) fn removal(&self, name: &str) -> RequestBuilder {
        self.request(Method::DELETE, &format!("/v1/plugins/{name}"))
    }

    /// Uploads a component and waits for the answer.
    pub(crate) async fn put(&self, name: &str, component: Vec<u8>) -> (StatusCode, Value) {
        answer(self.upload(name, component)).await
    }

    /// Uploads a form and waits for the answer.
    pub(crate) async fn put_form(&self, name: &str, parts: &[(&'static str, &[u8])]) -> (StatusCode, Value) {
        answer(self.form(name, parts)).await
    }

    /// Uploads a manifest and waits for the answer.
    pub(crate) async fn put_manifest(&self, name: &str, text: &str) -> (StatusCode, Value) {
        answer(self.manifest(name, text)).await
    }

    /// Goes back and waits for the answer.
    pub(crate) async fn roll_back(&self, name: &str) -> (StatusCode, Value) {
        answer(self.rollback(name)).await
    }

    /// Removes a plugin and waits for the answer.
    pub(crate) async fn delete(&self, name: &str) -> (StatusCode, Value) {
        answer(self.removal(name)).await
    }
}

fn token(data: &Path) -> String {
    std::fs::read_to_string(data.join("admin-token")).unwrap().trim().to_owned()
}
