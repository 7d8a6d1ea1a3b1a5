//! A server with the users of docs/redis.md, and the topic that they work on.

use std::{fs, time::Duration};

use streamerson_core::{
    EventType, Name, SharedBroker, Topic,
    client::Request,
    group::{Member, MemberConfig},
};
use streamerson_redis::RedisBroker;
use streamerson_test::RedisServer;

/// A user of the document: its name and its password.
pub(crate) type User = (String, String);

/// A server with the documented users of a namespace: its gateway and its worker.
pub(crate) async fn spawn() -> (RedisServer, [User; 2]) {
    let (server, [gateway, worker, ..]) = spawn_all().await;
    (server, [gateway, worker])
}

/// A server with all documented users: the gateway and the worker of a namespace, then those of one topic.
pub(crate) async fn spawn_all() -> (RedisServer, [User; 4]) {
    let server = RedisServer::spawn().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let text = fs::read_to_string(path).expect("the document");
    let mut users = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("ACL SETUSER ")) {
        let words: Vec<_> = line.split(' ').collect();
        let password = words.iter().find_map(|word| word.strip_prefix('>')).expect("a password");
        users.push((words[2].to_owned(), password.to_owned()));
        assert_eq!(server.command(&words).await.text(), "OK", "{line}");
    }
    (server, users.try_into().expect("four users: two gateways and two workers"))
}

/// A server whose documented users have the keys of topics in the original's format too, as the page adds them.
pub(crate) async fn spawn_all_with_js() -> (RedisServer, [User; 4]) {
    let (server, users) = spawn_all().await;
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).expect("the document");
    let added = |first: &str| text.split('`').filter(|code| code.starts_with(first)).collect::<Vec<_>>();
    let keys = [added("~shop::*::CONSUMER_INCOMING "), added("~shop::orders::CONSUMER_INCOMING ")].concat();
    assert_eq!(keys.len(), users.len(), "{keys:?}");
    for ((user, _), keys) in users.iter().zip(keys) {
        let words = ["ACL", "SETUSER", user].into_iter().chain(keys.split_whitespace());
        assert_eq!(server.command(words).await.text(), "OK");
    }
    (server, users)
}

pub(crate) async fn connect(server: &RedisServer, (user, password): &User) -> SharedBroker {
    let url = format!("redis://{user}:{password}@{}?role={user}", server.address());
    RedisBroker::connect(&url).await.expect("a broker").into()
}

/// No command of the adapter was denied, optional ones included, except `CLIENT UNBLOCK`: the right to stop a member at once
/// reaches other tenants.
pub(crate) async fn nothing_was_denied(server: &RedisServer) {
    let denials = server.command(["ACL", "LOG"]).await;
    let objects: Vec<_> = denials.items().iter().map(|denial| denial.items()[7].text().to_owned()).collect();
    assert!(objects.iter().all(|object| object == "client|unblock"), "{denials:?}");
}

pub(crate) fn orders() -> Topic {
    Topic::new("shop:orders").expect("a topic")
}

pub(crate) fn request(event: &str) -> Request {
    Request::new(EventType::for_user(event.to_owned()).expect("an event type"), r#"{"id":7}"#)
}

pub(crate) async fn join(broker: SharedBroker, group: &Name) -> Member {
    let mut config = MemberConfig::default();
    config.block = Duration::from_millis(200);
    Member::join(broker, orders(), group.clone(), config).await.expect("a member")
}
