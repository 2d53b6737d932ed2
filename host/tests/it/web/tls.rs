//! Requests over TLS: certificates of the operator's authority, for the name that was asked.

use serde_json::json;

use super::{ask, home_with, log, raw};
use crate::support::web::{Authority, PUBLIC, TestNetwork, WebServer};

fn rules(port: u16) -> String {
    let rule = |name: &str| format!("[[grant.http]]\nhost = \"{name}\"\nports = [{port}]\n");
    ["api.test", "wrong.test"].map(rule).concat()
}

#[tokio::test]
async fn the_operators_authority_is_believed_for_its_names() {
    let authority = Authority::new();
    let server = WebServer::tls(&authority, &["api.test"]).await;
    let network = TestNetwork::with(&[("api.test", &[&[PUBLIC]]), ("wrong.test", &[&[PUBLIC]])]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let home = home_with(&rules(server.port), &network);
    let host = home.configure(|config| config.plugins.http_ca_file = Some(file)).start().await;
    let output = ask(&host, &json!({ "url": format!("https://api.test:{}/x", server.port) })).await.unwrap();
    assert_eq!(output["status"], 200);
    assert_eq!(server.seen.requests()[0]["headers"]["host"], format!("api.test:{}", server.port));
    let wrong = json!({ "scheme": "https", "authority": format!("wrong.test:{}", server.port) });
    let task = host.run("web.raw", &wrong).await;
    assert_eq!(task["output"][0], json!({ "error": "TlsCertificateError" }));
    let lines = log(&host, task["id"].as_str().unwrap()).await;
    assert!(lines.contains("https://wrong.test") && lines.contains("certificate"), "{lines}");
    assert_eq!(server.seen.requests().len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let authority = Authority::new();
    let server = WebServer::tls_until(&authority, &["api.test"], 2020).await;
    let network = TestNetwork::with(&[("api.test", &[&[PUBLIC]])]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let home = home_with(&rules(server.port), &network);
    let host = home.configure(|config| config.plugins.http_ca_file = Some(file)).start().await;
    let input = json!({ "scheme": "https", "authority": format!("api.test:{}", server.port) });
    assert_eq!(raw(&host, &input).await, json!({ "error": "TlsCertificateError" }));
    assert!(server.seen.requests().is_empty());
    host.stop().await;
}

#[tokio::test]
async fn an_authority_that_nobody_named_is_not_believed_and_plain_text_is_no_tls() {
    let server = WebServer::tls(&Authority::new(), &["api.test"]).await;
    let network = TestNetwork::with(&[("api.test", &[&[PUBLIC]])]);
    let plain = WebServer::answering(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).await;
    let manifest = rules(server.port) + &rules(plain.port);
    let host = home_with(&manifest, &network).start().await;
    let input = json!({ "scheme": "https", "authority": format!("api.test:{}", server.port) });
    assert_eq!(raw(&host, &input).await, json!({ "error": "TlsCertificateError" }));
    let input = json!({ "scheme": "https", "authority": format!("api.test:{}", plain.port) });
    assert_eq!(raw(&host, &input).await, json!({ "error": "TlsProtocolError" }));
    assert!(server.seen.requests().is_empty());
    host.stop().await;
}
