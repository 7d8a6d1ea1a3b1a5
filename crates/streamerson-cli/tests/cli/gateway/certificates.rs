//! TLS on the listener: what is spoken over it, and whose certificate is shown when.

use std::{fs, time::Duration};

use streamerson_test::{Signal, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    http::Connection,
    scene::{Gateway, Worker, write},
    tls::Authority,
};
use crate::support::{Scene, assert_fails, run, stdout_of};

const ROUTE: &str = r#"
[[route]]
method = "POST"
path = "/ask/{case}"
topic = "orders"
event = "order.update"
timeout = "15s"
"#;

/// The certificate that a new connection is shown.
async fn shown(gateway: &Gateway, authority: &Authority) -> Vec<u8> {
    let stream = TcpStream::connect(&gateway.address).await.unwrap();
    let stream = authority.handshake(stream, &["http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn what_the_client_offers_is_spoken() {
    let scene = Scene::new().await;
    let authority = Authority::new();
    let gateway = Gateway::start_tls(&scene.server, "alpn", ROUTE, &authority).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["http/1.1", "h2"], Some("h2")),
        (&[], None),
    ] {
        let stream = TcpStream::connect(&gateway.address).await.unwrap();
        let stream = authority.handshake(stream, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
        if agreed == Some("h2") {
            let mut http2 = super::http2::Http2::over(Box::new(stream)).await;
            let answer = http2.exchange("POST /ask/echo", "\"2\"").await.unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "\"2\""));
            assert!(!answer.headers.contains_key("connection"));
        } else {
            let answer = Connection::over(Box::new(stream)).exchange("POST /ask/echo", &[], "\"1\"").await.unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "\"1\""));
        }
    }
    let stream = TcpStream::connect(&gateway.address).await.unwrap();
    assert!(authority.handshake(stream, &["spdy/3"]).await.is_err());

    // Whoever speaks no TLS is not understood, and nobody else notices.
    let mut plain = Connection::open(&gateway.address).await.unwrap();
    plain.send("POST /ask/echo", &[], "1").await.unwrap();
    assert!(!String::from_utf8_lossy(&plain.closed().await).contains("HTTP/1.1 200"));
    assert_eq!(gateway.ask("POST /ask/echo", &[], "3").await.text(), "3");
    worker.stop().await;
    assert_eq!(gateway.process.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn clear_text_has_both_versions_on_one_port() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "h2c", ROUTE).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let answer = gateway.connect_http2().await.exchange("POST /ask/echo", "\"2\"").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "\"2\""));
    assert_eq!(gateway.ask("POST /ask/echo", &[], "1").await.text(), "1");
    worker.stop().await;
    gateway.process.terminate().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let scene = Scene::new().await;
    let limits = format!("[limits]\ntls_handshake_timeout = \"300ms\"\n{ROUTE}");
    let gateway = Gateway::start_tls(&scene.server, "silent", &limits, &Authority::new()).await;
    for opening in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
        let mut silent = TcpStream::connect(&gateway.address).await.unwrap();
        silent.write_all(opening).await.unwrap();
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(20), silent.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "it is not closed");
    }
    gateway.process.terminate().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_on_sighup_and_a_bad_one_never() {
    let scene = Scene::new().await;
    let (authority, directory) = (Authority::new(), scene.server.directory());
    let gateway = Gateway::start_tls(&scene.server, "renewed", ROUTE, &authority).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let first = shown(&gateway, &authority).await;
    let mut old = gateway.connect().await;
    let mut old2 = gateway.connect_http2().await;
    old.send("POST /ask/slow", &[], "").await.unwrap();

    // The files alone change nothing.
    authority.sign(directory, "renewed");
    assert_eq!(shown(&gateway, &authority).await, first);
    gateway.process.signal(Signal::HangUp);
    gateway.process.stderr_line("new connections get the certificate").await;
    let second = shown(&gateway, &authority).await;
    assert_ne!(second, first);
    assert_eq!(old.receive().await.unwrap().text(), "\"slow\"");
    assert_eq!(old.exchange("POST /ask/echo", &[], "1").await.unwrap().text(), "1");
    assert_eq!(old2.exchange("POST /ask/echo", "2").await.unwrap().body, "2");

    authority.sign(directory, "other");
    let key = directory.join("renewed.key");
    let right = fs::read(&key).unwrap();
    for (bad, said) in [
        (fs::read(directory.join("other.key")).unwrap(), "it is not the key of the first certificate in"),
        (b"nothing".to_vec(), "it holds no private key in PEM"),
    ] {
        fs::write(&key, bad).unwrap();
        gateway.process.signal(Signal::HangUp);
        let line = gateway.process.stderr_line(said).await;
        for part in
            ["ERROR", "the certificate stays as it was", "renewed.toml:4: tls.key: cannot use ", "renewed.key: "]
        {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
        assert_eq!(shown(&gateway, &authority).await, second);
    }
    fs::remove_file(&key).unwrap();
    gateway.process.signal(Signal::HangUp);
    gateway.process.stderr_line("there is no such file").await;
    fs::write(&key, right).unwrap();
    gateway.process.signal(Signal::HangUp);
    eventually("it to be read again", async || {
        (gateway.process.stderr().matches("new connections get the certificate").count() == 2).then_some(())
    })
    .await;
    assert_eq!(gateway.process.stderr().matches("ERROR").count(), 3);
    assert_eq!(old.exchange("POST /ask/echo", &[], "3").await.unwrap().text(), "3");
    worker.stop().await;
    assert_eq!(gateway.process.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn without_tls_a_hang_up_changes_nothing() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "plain", ROUTE).await;
    gateway.process.signal(Signal::HangUp);
    gateway.process.stderr_line("without [tls] SIGHUP does nothing").await;
    assert_eq!(gateway.ask("GET /nowhere", &[], "").await.status, 404);
    assert_eq!(gateway.process.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_the_reason() {
    let scene = Scene::new().await;
    let (authority, directory) = (Authority::new(), scene.server.directory());
    for name in ["good", "other"] {
        authority.sign(directory, name);
    }
    fs::write(directory.join("empty"), "").unwrap();
    fs::write(directory.join("cut"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    fs::write(directory.join("der"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(directory.join("encrypted"), encrypted).unwrap();
    for (certificate, key, line, said) in [
        ("none.pem", "good.key", "4: tls.certificate", "there is no such file"),
        ("empty", "good.key", "4: tls.certificate", "it holds no certificate in PEM"),
        ("good.key", "good.key", "4: tls.certificate", "it holds no certificate in PEM"),
        ("cut", "good.key", "4: tls.certificate", "it is not PEM"),
        ("der", "good.key", "4: tls.certificate", "what is in it is no X.509 certificate"),
        (".", "good.key", "4: tls.certificate", "directory"),
        ("good.pem", "none.key", "5: tls.key", "there is no such file"),
        ("good.pem", "good.pem", "5: tls.key", "it holds no private key in PEM"),
        ("good.pem", "encrypted", "5: tls.key", "it is encrypted"),
        ("good.pem", "other.key", "5: tls.key", "it is not the key of the first certificate in"),
    ] {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nbroker = \"redis://127.0.0.1:1\"\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
        );
        let path = write(&scene.server, "tls", &text);
        for check in ["--check", ""] {
            let finished = run(&format!("gateway --config {} {check}", path.display())).await;
            let named = directory.join(if line.ends_with("key") { key } else { certificate });
            let place = format!("tls.toml:{line}: cannot use {}: ", named.display());
            assert_fails(&finished, 1, &["error: ", &place, said]);
            assert!(!finished.stderr.contains("c2VjcmV0"), "{}", finished.stderr);
        }
    }
    let path = write(
        &scene.server,
        "right",
        "listen = \"127.0.0.1:0\"\n[tls]\ncertificate = \"good.pem\"\nkey = \"good.key\"\n",
    );
    let checked = run(&format!("gateway --check --config {}", path.display())).await;
    assert!(stdout_of(&checked).contains("on 127.0.0.1:0 with TLS"), "{}", checked.stdout);
}
