//! The conformance suite of brokers, over TLS.

use std::sync::Arc;

use streamerson_redis::RedisBroker;
use streamerson_test::conformance::Subject;

use crate::server::{config, spawn};

async fn subject() -> Subject {
    let (server, address) = spawn(|builder| builder).await;
    let broker = RedisBroker::connect_with(config(address)).await.expect("a broker on a fresh server");
    Subject::on(server, Arc::new(broker))
}

streamerson_test::conformance!(subject().await);
streamerson_test::conformance_of_a_server!(subject().await);
