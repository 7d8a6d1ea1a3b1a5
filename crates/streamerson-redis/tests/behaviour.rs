//! What clients and members do, over a real server for each case.

use std::sync::Arc;

use streamerson_redis::RedisBroker;
use streamerson_test::{RedisServer, conformance::Subject};

async fn subject() -> Subject {
    let server = RedisServer::spawn().await;
    let broker = RedisBroker::connect(&server.url()).await.expect("a broker on a fresh server");
    Subject::on(server, Arc::new(broker))
}

streamerson_test::behaviour!(subject().await);
