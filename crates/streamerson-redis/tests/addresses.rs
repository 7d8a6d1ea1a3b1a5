//! The ways to a server, and what the server sees of who comes.

use streamerson_core::{
    BrokerError, EntryId, Fields, Topic,
    broker::{Append, Broker, Range},
};
use streamerson_redis::{RedisBroker, RedisConfig};
use streamerson_test::{RedisServer, Value};

fn fields(text: String) -> Fields {
    let mut fields = Fields::default();
    fields.push("p", text);
    fields
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_carries_all_that_tcp_does() {
    let server = RedisServer::builder().password("p&ss").spawn().await;
    let socket = format!("redis+unix://{}", server.unix_socket().display());
    let broker = RedisBroker::connect(&format!("{socket}?db=3&pass=p%26ss")).await.unwrap();
    let key = Topic::new("socket").unwrap().inbound();
    let large = fields("x".repeat(4 * 1024 * 1024));
    broker.append(vec![Append::new(key.clone(), large.clone())]).await.remove(0).unwrap();
    let range = Range { key: key.clone(), from: EntryId::ZERO, to: EntryId::MAX, count: 1, newest_first: false };
    assert_eq!(broker.range(range).await.unwrap()[0].fields, large);
    // In database 3 and nowhere else.
    assert_eq!(server.command(["EXISTS", key.as_str()]).await.int(), 0);

    let refused = RedisBroker::connect(&format!("{socket}?pass=hunter2")).await.unwrap_err();
    assert!(matches!(refused, BrokerError::Config { .. }), "{refused}");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_that_is_not_there_is_unavailable() {
    let error = RedisBroker::connect("redis+unix:///nowhere/redis.sock").await.unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("redis+unix:///nowhere/redis.sock"), "{error}");
}

#[tokio::test]
async fn connections_bear_the_name_of_their_role() {
    let server = RedisServer::spawn().await;
    let config = |suffix: &str| RedisConfig::new(format!("{}{suffix}", server.url()).parse().unwrap());
    let brokers = [
        RedisBroker::connect_with(config("")).await.unwrap(),
        RedisBroker::connect_with(config("?role=gateway")).await.unwrap(),
        RedisBroker::connect_with(config("?role=gateway").role("blue worker\n1")).await.unwrap(),
    ];
    let clients = server.command(["CLIENT", "LIST"]).await;
    let Value::Bulk(list) = &clients else { panic!("{clients:?}") };
    let list = std::str::from_utf8(list).unwrap();
    for name in ["client", "gateway", "blueworker1"] {
        let named = list.split_whitespace().filter(|word| *word == format!("name=streamerson:{name}"));
        assert_eq!(named.count(), 1, "{name} in {list}");
    }
    drop(brokers);
}
