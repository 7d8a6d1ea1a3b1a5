//! The examiner's report on the documented users: complete rights, and each right that is taken away.

use std::fs;

use streamerson_redis::{
    RedisBroker,
    examine::{Lacking, Rights, Side},
};
use streamerson_test::{RedisServer, Value};

use crate::scene::{User, orders, spawn, spawn_all};

#[tokio::test]
async fn an_examiner_finds_that_the_users_lack_nothing() {
    let (server, users) = spawn_all().await;
    for (user, side) in users.iter().zip([Side::Client, Side::Worker, Side::Client, Side::Worker]) {
        let found = rights(&server, user).await;
        assert_eq!(found.lacking(side).collect::<Vec<_>>(), Vec::<&Lacking>::new(), "{}", user.0);
        assert_eq!(found.is_whole, side == Side::Worker, "{}", user.0);
    }
}

/// Each right that the document grants is missed when it is taken away, unless it is a courtesy; and nothing is done to
/// find that out.
#[tokio::test]
async fn an_examiner_misses_what_is_taken_away() {
    let (server, [gateway, worker]) = spawn().await;
    server.command(["XADD", "{shop:orders}:in", "1-1", "m", "seen a - -"]).await;
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).expect("the document");
    // Names of connections, warnings, prompt stops, and scripts that need not be sent again; what nothing can do without
    // is seen when a connection is made; and EXEC comes with MULTI.
    let courtesies = ["+client|setname", "+client|id", "+info", "+script|load", "+ping", "+exec"];
    for (user, side) in [(&gateway, Side::Client), (&worker, Side::Worker)] {
        let line = text.lines().find(|line| line.starts_with(&format!("ACL SETUSER {} ", user.0))).expect("a line");
        let rights_of_user = line.split(' ').filter(|word| word.starts_with(['+', '~']));
        for right in rights_of_user.filter(|right| !courtesies.contains(right)) {
            let less: Vec<_> = line.split(' ').filter(|word| *word != right).collect();
            assert_eq!(server.command(&less).await.text(), "OK");
            let found = rights(&server, user).await;
            let lacking: Vec<_> = found.lacking(side).collect();
            let expected = match right.strip_prefix('+') {
                Some(command) => Lacking::Command(command.to_owned()),
                None => Lacking::Key(right.trim_start_matches('~').replace("shop:*", "shop:orders")),
            };
            assert_eq!(lacking, [&expected], "{right} of {}", user.0);
        }
    }
    let keys = server.command(["KEYS", "*"]).await;
    assert_eq!(keys, Value::Array(vec![Value::Bulk("{shop:orders}:in".into())]));
    assert_eq!(server.command(["XLEN", "{shop:orders}:in"]).await, Value::Int(1));
}

/// What an examiner finds that a user lacks for the topic of these tests.
async fn rights(server: &RedisServer, (user, password): &User) -> Rights {
    let url = format!("redis://{user}:{password}@{}", server.address());
    RedisBroker::connect(&url).await.expect("a broker").examiner().rights(&orders()).await.expect("an answer")
}
