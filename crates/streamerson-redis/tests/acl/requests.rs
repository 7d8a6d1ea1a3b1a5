//! Requests, events and replies between the documented gateways and workers.

use std::{fs, time::Duration};

use streamerson_core::{
    EntryId, MessageId, Name, Reply, Topic,
    broker::{Mark, Range, TrimTo},
    client::Client,
    dead_letter::Reason,
    group::{Member, MemberConfig, Outcome, Settled},
    wire::WireFormat,
};
use streamerson_test::{RespClient, Value, eventually};

use crate::scene::{connect, join, nothing_was_denied, orders, request, spawn, spawn_all, spawn_all_with_js};

#[tokio::test]
async fn requests_are_answered_buried_and_trimmed() {
    let (server, [gateway, worker]) = spawn().await;
    let (gateway, worker) = (connect(&server, &gateway).await, connect(&server, &worker).await);
    let (topic, group) = (orders(), Name::unique());
    let mut member = join(worker.clone(), &group).await;
    let stopper = member.stopper();
    let outbound = topic.outbound();
    let work = tokio::spawn(async move {
        while let Some(held) = member.next().await {
            let message = held.delivery.message.clone();
            let echo = || Reply::new(message.payload.clone());
            match message.event.as_str() {
                "echo" => held.settle(Outcome::Replied(echo())).await,
                "tell" => {
                    let outcome = Outcome::Replied(echo());
                    held.settle(Settled { emitted: vec![(outbound.clone(), message)], ..Settled::from(outcome) }).await;
                }
                _ => {
                    let error = "no such order".to_owned();
                    held.settle(Outcome::Dead { reason: Reason::Failed, error, reply: Some(echo()) }).await;
                }
            }
        }
        member.leave(Duration::from_secs(10)).await
    });

    let client = Client::new(gateway);
    for event in ["echo", "tell", "fail"] {
        let reply = client.request(&topic, request(event)).await.expect("a reply");
        assert_eq!(&reply.payload[..], br#"{"id":7}"#, "{event}");
    }
    let emitted = client.topic(&topic).emit("echo", &1).await.expect("emitted");
    eventually("all is settled", async || {
        let groups = worker.groups(&topic.inbound()).await.expect("groups");
        (groups[0].pending == 0 && groups[0].last_delivered >= emitted.entry).then_some(())
    })
    .await;
    for key in [topic.outbound(), topic.dead()] {
        let range = Range { key, from: EntryId::ZERO, to: EntryId::MAX, count: 10, newest_first: false };
        assert_eq!(worker.range(range).await.expect("entries").len(), 1);
    }
    worker.trim(&topic.inbound(), TrimTo::Finished).await.expect("trimmed");
    stopper.stop();
    assert_eq!(work.await.expect("no panic"), 0);

    // Nobody answers now, and the client may find that out.
    let alone = client.request(&topic, request("echo").with_timeout(Duration::from_millis(50))).await;
    alone.map(drop).expect_err("no reply");

    // As after an append of unknown fate, and at the end.
    let (from, to) = (EntryId::ZERO, EntryId::MAX);
    let range = Range { key: topic.inbound(), from, to, count: 1, newest_first: true };
    client.broker().range(range).await.expect("entries");
    let inbox = topic.inbox(&Name::unique());
    client.broker().trim(&inbox, TrimTo::Before(EntryId::MAX)).await.expect("trimmed");
    client.broker().remove(vec![inbox]).await.expect("removed");
    client.close().await;
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn topics_in_the_originals_format_need_the_keys_that_the_page_adds() {
    let (server, users) = spawn_all_with_js().await;
    let topic = orders().with_wire(WireFormat::Js);
    for sides in users.chunks(2) {
        for topic in [topic.clone(), topic.with_shard(3)] {
            let (gateway, worker) = (connect(&server, &sides[0]).await, connect(&server, &sides[1]).await);
            let mut config = MemberConfig::default();
            config.block = Duration::from_millis(200);
            let mut member = Member::join(worker, topic.clone(), Name::unique(), config).await.expect("a member");
            let stopper = member.stopper();
            let work = tokio::spawn(async move {
                while let Some(held) = member.next().await {
                    let reply = Reply::new(held.delivery.message.payload.clone());
                    let outcome = match held.delivery.message.event.as_str() {
                        "echo" => Outcome::Replied(reply),
                        _ => Outcome::Dead { reason: Reason::Failed, error: "no".to_owned(), reply: Some(reply) },
                    };
                    held.settle(outcome).await;
                }
                member.leave(Duration::from_secs(10)).await
            });
            let client = Client::new(gateway);
            for event in ["echo", "fail"] {
                assert_eq!(client.request(&topic, request(event)).await.expect("a reply").payload, r#"{"id":7}"#);
            }
            client.topic(&topic).emit("echo", &1).await.expect("emitted");
            client.close().await;
            stopper.stop();
            assert_eq!(work.await.expect("no panic"), 0);
        }
    }
    nothing_was_denied(&server).await;
}

/// The users of one topic can do all that is to be done on it, in shards too.
#[tokio::test]
async fn users_of_one_topic_do_all_that_it_takes() {
    let (server, [_, _, gateway, worker]) = spawn_all().await;
    let (gateway, worker) = (connect(&server, &gateway).await, connect(&server, &worker).await);
    for topic in [orders(), Topic::new("shop:orders#3").expect("a shard")] {
        let mut config = MemberConfig::default();
        config.block = Duration::from_millis(200);
        let joined = Member::join(worker.clone(), topic.clone(), Name::unique(), config).await;
        let mut member = joined.expect("a member");
        let client = Client::new(gateway.clone());
        let answer = async {
            let held = member.next().await.expect("a delivery");
            let letter = Outcome::Dead { reason: Reason::Failed, error: "no".into(), reply: Some(Reply::new("no")) };
            held.settle(letter).await;
        };
        let (reply, ()) = futures_util::future::join(client.request(&topic, request("echo")), answer).await;
        assert_eq!(reply.expect("a reply").payload, "no");
        let mark =
            Mark { key: topic.idempotency_mark(&MessageId::unique()), value: "x".into(), ttl: Duration::from_secs(1) };
        assert_eq!(gateway.mark_if_absent(vec![mark]).await.expect("set"), [None]);
        client.close().await;
        assert_eq!(member.leave(Duration::from_secs(10)).await, 0);
    }
    nothing_was_denied(&server).await;
}

/// A worker that calls another topic needs the gateway's line of that topic, but `idem:*`, and may write to the inboxes of
/// all its callers.
#[tokio::test]
async fn a_worker_calls_another_topic_by_the_gateways_line_of_it() {
    let (server, [_, payments_worker, _, worker]) = spawn_all().await;
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).expect("the document");
    let line = text.lines().find(|line| line.starts_with("ACL SETUSER orders-gateway ")).expect("the line");
    let line = line.replace("shop:orders", "shop:payments");
    let rights = line.split(' ').filter(|word| word.starts_with(['~', '+']) && !word.contains(":idem:"));
    let words = ["ACL", "SETUSER", &worker.0].into_iter().chain(rights);
    assert_eq!(server.command(words).await.text(), "OK");

    let payments = Topic::new("shop:payments").expect("a topic");
    let broker = connect(&server, &payments_worker).await;
    let joined = Member::join(broker, payments.clone(), Name::unique(), MemberConfig::default()).await;
    let mut member = joined.expect("a member");
    let client = Client::new(connect(&server, &worker).await);
    let answer = async {
        member.next().await.expect("a delivery").settle(Outcome::Replied(Reply::new("paid"))).await;
    };
    let (reply, ()) = futures_util::future::join(client.request(&payments, request("pay")), answer).await;
    assert_eq!(reply.expect("a reply").payload, "paid");
    client.close().await;
    nothing_was_denied(&server).await;

    let mut client = RespClient::connect(server.address()).await.expect("a connection");
    assert_eq!(client.command(["AUTH", &worker.0, &worker.1]).await.expect("an answer").text(), "OK");
    let forged = client.command(["XADD", "{shop:payments}:re:another", "*", "m", "reply a - -"]).await;
    assert!(matches!(forged.expect("an answer"), Value::Bulk(_)));
    let kept = client.command(["SET", "{shop:payments}:idem:a", "x"]).await.expect("an answer");
    assert!(matches!(&kept, Value::Error(error) if error.starts_with("NOPERM")), "{kept:?}");
}
