//! The limits of the documented users: keys and commands that they must not reach.

use std::{fs, time::Duration};

use streamerson_core::{
    BrokerError, EntryId, Name, Topic,
    broker::{GroupStart, Membership},
    wire::WireFormat,
};
use streamerson_test::{RespClient, Value};

use crate::scene::{connect, spawn, spawn_all, spawn_all_with_js};

/// Each documented user reaches the keys of its side and its topics in both formats, and no other key of a topic.
#[tokio::test]
async fn each_user_reaches_the_keys_of_its_side_and_topics() {
    let (server, users) = spawn_all_with_js().await;
    for (at, (user, password)) in users.iter().enumerate() {
        let (is_gateway, is_of_one_topic) = (at % 2 == 0, at >= 2);
        let mut client = RespClient::connect(server.address()).await.expect("a connection");
        assert_eq!(client.command(["AUTH", user, password]).await.expect("an answer").text(), "OK");
        for name in ["shop:orders", "shop:orders2", "shop:a-orders", "shop:payments", "shopping:orders", "other:orders"]
        {
            let topic = Topic::new(name).expect("a topic");
            let is_theirs = if is_of_one_topic { name == "shop:orders" } else { name.starts_with("shop:") };
            for topic in [topic.clone(), topic.with_shard(3)] {
                for topic in [topic.clone(), topic.with_wire(WireFormat::Js)] {
                    let [both, gateways, workers] = keys_by_side(&topic);
                    let keys = [(both, true), (gateways, is_gateway), (workers, !is_gateway)];
                    for (key, is_of_side) in keys.iter().flat_map(|(keys, is)| keys.iter().map(move |key| (key, *is))) {
                        let answer = client.command(["TYPE", key]).await.expect("an answer");
                        let is_denied = matches!(&answer, Value::Error(error) if error.starts_with("NOPERM"));
                        assert_eq!(is_denied, !(is_theirs && is_of_side), "{user}: {key}: {answer:?}");
                    }
                }
            }
        }
    }
}

/// The keys that a topic has: those of both sides, those of gateways alone, and those of workers alone.
fn keys_by_side(topic: &Topic) -> [Vec<String>; 3] {
    let is_js = topic.wire() == WireFormat::Js;
    let tag = if is_js { topic.inbound().to_string() } else { topic.to_string() };
    let whole = match topic.shard() {
        Some(shard) => tag.replace(&format!("#{shard}"), ""),
        None => tag.clone(),
    };
    let outbound = topic.outbound().to_string();
    let (schedule, inbox) = (topic.schedule(), topic.inbox(&Name::unique()).to_string());
    let mut both = vec![topic.inbound().to_string(), inbox, format!("{{{tag}}}:wake:a"), format!("{{{whole}}}:shards")];
    let mut workers = vec![topic.dead().to_string(), schedule.key().to_owned(), schedule.entries_key().to_owned()];
    workers.extend(["done:g:a", "owner:g", "members:g"].map(|kind| format!("{{{tag}}}:{kind}")));
    workers.push(format!("{{{whole}}}:done:g"));
    if is_js {
        // All clients read their replies there, and the readers of that stream are woken beside it.
        both.push(format!("{{{outbound}}}:wake:a"));
    } else {
        workers.push(outbound);
    }
    let gateways = ["idem:a", "idem:a:try"].map(|kind| format!("{{{tag}}}:{kind}")).into_iter();
    [both, gateways.chain([format!("{{{whole}}}:idem:bytes")]).collect(), workers]
}

/// A script has the rights of its user: it reaches no key that is kept from it, named beforehand or not.
#[tokio::test]
async fn scripts_reach_no_other_keys() {
    let (server, users) = spawn_all_with_js().await;
    for (user, password) in [&users[1], &users[3]] {
        let mut client = RespClient::connect(server.address()).await.expect("a connection");
        assert_eq!(client.command(["AUTH", user, password]).await.expect("an answer").text(), "OK");
        for key in ["{shop:orders}:idem:a", "{shop::orders::CONSUMER_INCOMING}:idem:a", "{other:orders}:in"] {
            let named = client.command(["EVAL", "return redis.call('SET', KEYS[1], 'x')", "1", key]).await;
            let script = format!("return redis.call('SET', '{key}', 'x')");
            for answer in [named, client.command(["EVAL", &script, "0"]).await] {
                let answer = answer.expect("an answer");
                assert!(matches!(&answer, Value::Error(_)), "{user}: {key}: {answer:?}");
            }
        }
    }
    assert_eq!(server.command(["DBSIZE"]).await, Value::Int(0));
}

#[tokio::test]
async fn they_can_do_no_more() {
    let (server, users) = spawn().await;
    server.command(["XADD", "{other:orders}:in", "*", "p", "x"]).await;
    for (user, password) in &users {
        let mut client = RespClient::connect(server.address()).await.expect("a connection");
        assert_eq!(client.command(["AUTH", user, password]).await.expect("an answer").text(), "OK");
        for line in [
            "FLUSHALL",
            "KEYS *",
            "SCAN 0",
            "CONFIG GET *",
            "ACL LIST",
            "CLIENT LIST",
            "CLIENT KILL ID 1",
            "CLIENT UNBLOCK 1",
            "SHUTDOWN",
            "DEL {shop:orders}:in",
            "XGROUP DESTROY {shop:orders}:in orders",
            "XGROUP SETID {shop:orders}:in orders 0",
            "GET {shop:orders}:secret",
            "GET {other:orders}:idem:a",
            "XADD {shop:orders}:secret * p x",
            "XADD {other:orders}:in * p x",
            "XADD {shopping:orders}:in * p x",
            "XRANGE {other:orders}:in - +",
            "XREAD STREAMS {shop:orders}:in {other:orders}:in 0 0",
        ] {
            let answer = client.command(line.split(' ')).await.expect("an answer");
            assert!(
                matches!(&answer, Value::Error(error) if error.starts_with("NOPERM")),
                "{user}: {line}: {answer:?}"
            );
        }
    }
    let mut gateway = RespClient::connect(server.address()).await.expect("a connection");
    gateway.command(["AUTH", &users[0].0, &users[0].1]).await.expect("an answer");
    for line in [
        "XREADGROUP GROUP orders me STREAMS {shop:orders}:in >",
        "XACK {shop:orders}:in orders 1-0",
        "XADD {shop:orders}:dead * p x",
        "XDEL {shop:orders}:in 1-0",
        "EVAL return 0",
        "MULTI",
    ] {
        let answer = gateway.command(line.split(' ')).await.expect("an answer");
        assert!(matches!(&answer, Value::Error(error) if error.starts_with("NOPERM")), "{line}: {answer:?}");
    }
}

/// The users of one topic reach no other topic, in their namespace or elsewhere, in either format; and no worker reaches the
/// records of idempotency keys.
#[tokio::test]
async fn users_of_one_topic_reach_no_other_topic() {
    let (server, [_, worker, orders_gateway, orders_worker]) = spawn_all().await;
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).expect("the document");
    let js = text.split('`').filter(|code| code.starts_with("~shop::*::CONSUMER_INCOMING ")).nth(1).expect("the keys");
    let words = ["ACL", "SETUSER", &worker.0].into_iter().chain(js.split_whitespace());
    assert_eq!(server.command(words).await.text(), "OK");
    let kinds = ["in", "re:a", "out", "dead", "later", "done:g:a", "done:g", "idem:a", "idem:a:try", "idem:bytes"];
    let kinds = kinds.into_iter().chain(["later:entries", "owner:g", "members:g", "shards", "wake:a"]);
    let everything = |tag: &str| kinds.clone().map(|kind| format!("{{{tag}}}:{kind}")).collect::<Vec<_>>();
    let idem = |tag: &str| ["idem:a", "idem:a:try", "idem:bytes"].map(|kind| format!("{{{tag}}}:{kind}")).to_vec();
    let elsewhere = [
        everything("shop:payments"),
        everything("shop:orders2"),
        everything("shop:payments#1"),
        everything("other:orders"),
        everything("shop::payments::CONSUMER_INCOMING"),
        vec!["shop::payments::PRODUCER_OUTGOING".into(), "other::orders::CONSUMER_INCOMING".into()],
    ];
    let of_gateways = [idem("shop:orders"), idem("shop:orders#1"), idem("shop::orders::CONSUMER_INCOMING")];
    let of_workers =
        ["dead", "out", "later", "done:g:a", "owner:g", "members:g"].map(|kind| format!("{{shop:orders}}:{kind}"));
    for (user, keys) in [
        (&orders_worker, [elsewhere.concat(), of_gateways.concat()].concat()),
        (&orders_gateway, [elsewhere.concat(), of_workers.to_vec()].concat()),
        (
            &worker,
            [of_gateways.concat(), everything("other:orders"), everything("other::a::CONSUMER_INCOMING")].concat(),
        ),
    ] {
        let mut client = RespClient::connect(server.address()).await.expect("a connection");
        assert_eq!(client.command(["AUTH", &user.0, &user.1]).await.expect("an answer").text(), "OK");
        for key in keys {
            for command in [vec!["SET", &key, "x"], vec!["XADD", &key, "*", "m", "x"], vec!["GET", &key]] {
                let answer = client.command(&command).await.expect("an answer");
                assert!(
                    matches!(&answer, Value::Error(error) if error.starts_with("NOPERM")),
                    "{}: {command:?}: {answer:?}",
                    user.0
                );
            }
        }
    }
}

#[tokio::test]
async fn a_denial_names_the_command_and_the_key() {
    let (server, [gateway, worker]) = spawn().await;
    let (gateway, worker) = (connect(&server, &gateway).await, connect(&server, &worker).await);
    let other = Topic::new("other:orders").expect("a topic");
    let membership = Membership::new(other.inbound(), Name::unique());
    let cursors = [(other.inbound(), EntryId::ZERO)];
    let denials: [(&str, BrokerError); 4] = [
        ("XGROUP CREATE", worker.create_group(&membership.key, &membership.group, GroupStart::End).await.unwrap_err()),
        ("XREADGROUP", worker.group_reader(&membership).read(1, Duration::ZERO).await.unwrap_err()),
        ("the renew script", worker.renew(&membership, vec![EntryId::new(1, 0)]).await.unwrap_err()),
        ("XREAD", gateway.reader().read(&cursors, 1, Duration::ZERO).await.unwrap_err()),
    ];
    for (command, error) in denials {
        assert!(matches!(&error, BrokerError::Refused { code, .. } if &**code == "NOPERM"), "{error}");
        assert!(error.to_string().contains(&format!("({command} of {{other:orders}}:in)")), "{error}");
    }
}
