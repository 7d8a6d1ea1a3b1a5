//! Who is trusted, who is refused, and what is said of it.

use std::time::Duration;

use streamerson_core::BrokerError;
use streamerson_redis::{RedisBroker, RedisConfig};

use crate::{
    certificates::{Certificates, certificates, stranger},
    server::{config, spawn, text},
};

/// What is wrong with these settings, and whether it is they that are wrong.
async fn failure(config: RedisConfig) -> (bool, String) {
    let error = RedisBroker::connect_with(config).await.expect_err("no connection");
    (matches!(error, BrokerError::Config { .. }), error.to_string())
}

#[tokio::test]
async fn an_authority_may_stand_in_the_url() {
    let (_server, address) = spawn(|builder| builder.password("secret")).await;
    let ca = certificates().ca.display();
    RedisBroker::connect(&format!("rediss://:secret@{address}/2?ca={ca}")).await.unwrap();
    RedisBroker::connect(&format!("rediss://:secret@localhost:{}?ca={ca}", address.port())).await.unwrap();
    RedisBroker::connect(&format!("rediss://:secret@{address}?ca={ca}&server_name=redis.test")).await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (_server, address) = spawn(|builder| builder).await;
    for config in [
        // By the authorities of the system.
        RedisConfig::new(format!("rediss://{address}").parse().unwrap()),
        config(address).ca_file(&stranger().ca),
    ] {
        let (permanent, error) = failure(config).await;
        assert!(permanent && (error.contains("?ca=") || error.contains("certificate authorities")), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (_server, address) = spawn(|builder| builder).await;
    let (permanent, error) = failure(config(address).server_name("other.test")).await;
    assert!(permanent && error.contains("other.test") && error.contains("server_name"), "{error}");
    let (permanent, error) = failure(config(address).server_name("not a name")).await;
    assert!(permanent && error.contains("not a name"), "{error}");
}

#[tokio::test]
async fn an_authority_is_no_server() {
    let Certificates { ca, ca_key, .. } = certificates();
    let (_server, address) =
        spawn(|builder| builder.setting("tls-cert-file", text(ca)).setting("tls-key-file", text(ca_key))).await;
    let (permanent, error) = failure(config(address)).await;
    assert!(permanent && error.contains("CA:FALSE"), "{error}");
}

#[tokio::test]
async fn a_server_may_ask_for_a_client_certificate() {
    let (_server, address) = spawn(|builder| builder.setting("tls-auth-clients", "yes")).await;
    let client = &certificates().client;
    RedisBroker::connect_with(config(address).client_certificate(&client.certificate, &client.key)).await.unwrap();

    let (_, error) = failure(config(address)).await;
    assert!(error.contains("asks for a client certificate"), "{error}");
    let other = &stranger().client;
    let (_, error) = failure(config(address).client_certificate(&other.certificate, &other.key)).await;
    assert!(error.contains("does not accept the client certificate"), "{error}");
}

#[tokio::test]
async fn older_tls_says_the_same() {
    let old = |builder: streamerson_test::RedisServerBuilder| {
        builder.setting("tls-auth-clients", "yes").setting("tls-protocols", "TLSv1.2")
    };
    let (_server, address) = spawn(old).await;
    let client = &certificates().client;
    RedisBroker::connect_with(config(address).client_certificate(&client.certificate, &client.key)).await.unwrap();
    let (_, error) = failure(config(address)).await;
    assert!(error.contains("client certificate"), "{error}");
}

#[tokio::test]
async fn a_plain_port_is_told_from_one_for_tls() {
    let (server, address) = spawn(|builder| builder).await;
    // The server waits for the end of a line, so that this ends with the time to connect.
    let (_, error) = failure(config(server.address()).connect_timeout(Duration::from_millis(300))).await;
    assert!(error.contains("no TLS handshake") && error.contains("redis://"), "{error}");
    let (_, error) = failure(RedisConfig::new(format!("redis://{address}").parse().unwrap())).await;
    assert!(error.contains("rediss://"), "{error}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (_server, address) = spawn(|builder| builder).await;
    let certificates = certificates();
    let (permanent, error) = failure(config(address).ca_file("/nowhere/ca.pem")).await;
    assert!(permanent && error.contains("/nowhere/ca.pem"), "{error}");
    let (permanent, error) = failure(config(address).ca_file(&certificates.client.key)).await;
    assert!(permanent && error.contains("no certificate"), "{error}");
    let mixed = config(address).client_certificate(&certificates.client.certificate, &certificates.server.key);
    let (permanent, error) = failure(mixed).await;
    assert!(permanent && error.contains("client.pem"), "{error}");
}

#[tokio::test]
async fn settings_for_tls_without_it_are_a_mistake() {
    let (server, _) = spawn(|builder| builder).await;
    let (permanent, error) = failure(RedisConfig::new(server.url().parse().unwrap()).ca_file(&certificates().ca)).await;
    assert!(permanent && error.contains("rediss://"), "{error}");
}
