//! The users of docs/redis.md, made as printed there: what they can do, and that they can do no more.

use std::{fs, time::Duration};

use streamerson_core::{
    BrokerError, EntryId, EventType, Fields, MessageId, Name, Reply, ScheduleId, SharedBroker, Topic, UnixMillis,
    broker::{
        Append, Charge, DeadAppend, Fence, GroupStart, Later, LeaseRequest, Mark, Membership, Pending, Range,
        ReclaimFrom, Replay, ScheduleCursor, Scheduled, ScheduledRange, Settlement, TrimTo,
    },
    client::{Client, Request},
    dead_letter::Reason,
    group::{Member, MemberConfig, Outcome, Settled},
    shards::Shards,
    wire::WireFormat,
};
use streamerson_redis::{
    RedisBroker,
    examine::{Lacking, Rights, Side},
};
use streamerson_test::{RedisServer, RespClient, Value, eventually};

/// A user of the document: its name and its password.
type User = (String, String);

/// A server with the documented users of a namespace: its gateway and its worker.
async fn spawn() -> (RedisServer, [User; 2]) {
    let (server, [gateway, worker, ..]) = spawn_all().await;
    (server, [gateway, worker])
}

/// A server with all documented users: the gateway and the worker of a namespace, then those of one topic.
async fn spawn_all() -> (RedisServer, [User; 4]) {
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

async fn connect(server: &RedisServer, (user, password): &(String, String)) -> SharedBroker {
    let url = format!("redis://{user}:{password}@{}?role={user}", server.address());
    RedisBroker::connect(&url).await.expect("a broker").into()
}

/// No command of the adapter was denied, optional ones included, except `CLIENT UNBLOCK`: the right to stop a member at once
/// reaches other tenants.
async fn nothing_was_denied(server: &RedisServer) {
    let denials = server.command(["ACL", "LOG"]).await;
    let objects: Vec<_> = denials.items().iter().map(|denial| denial.items()[7].text().to_owned()).collect();
    assert!(objects.iter().all(|object| object == "client|unblock"), "{denials:?}");
}

fn orders() -> Topic {
    Topic::new("shop:orders").expect("a topic")
}

fn request(event: &str) -> Request {
    Request::new(EventType::for_user(event.to_owned()).expect("an event type"), r#"{"id":7}"#)
}

async fn join(broker: SharedBroker, group: &Name) -> Member {
    let mut config = MemberConfig::default();
    config.block = Duration::from_millis(200);
    Member::join(broker, orders(), group.clone(), config).await.expect("a member")
}

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

/// A server whose documented users have the keys of topics in the original's format too, as the page adds them.
async fn spawn_all_with_js() -> (RedisServer, [User; 4]) {
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

/// Without `CLIENT UNBLOCK` a member stops with its `block`, and a process is denied the command once, however many of its
/// members stop.
#[tokio::test]
async fn members_stop_without_the_right_to_unblock() {
    let (server, [_, worker]) = spawn().await;
    let worker = connect(&server, &worker).await;
    for _ in 0..3 {
        let mut config = MemberConfig::default();
        config.block = Duration::from_secs(1);
        let joined = Member::join(worker.clone(), orders(), Name::unique(), config).await;
        let mut member = joined.expect("a member");
        let stopper = member.stopper();
        let work = tokio::spawn(async move {
            assert!(member.next().await.is_none(), "nothing was sent");
            member.leave(Duration::from_secs(10)).await
        });
        eventually("the member waits", async || {
            let info = server.command(["INFO", "clients"]).await;
            info.text().contains("blocked_clients:1").then_some(())
        })
        .await;
        stopper.stop();
        let stopped = tokio::time::timeout(Duration::from_secs(10), work).await.expect("stopped in time");
        assert_eq!(stopped.expect("no panic"), 0);
    }
    let denials = server.command(["ACL", "LOG"]).await;
    let counts: Vec<_> =
        denials.items().iter().map(|denial| (denial.items()[1].int(), denial.items()[7].text())).collect();
    assert_eq!(counts, [(1, "client|unblock")]);
}

#[tokio::test]
async fn deliveries_of_the_dead_are_taken_over() {
    let (server, [_, worker]) = spawn().await;
    let worker = connect(&server, &worker).await;
    let (topic, group) = (orders(), Name::unique());
    let membership = Membership::new(topic.inbound(), group.clone());
    worker.create_group(&membership.key, &group, GroupStart::End).await.expect("a group");
    let mut fields = Fields::default();
    fields.push("p", "left");
    let append = Append::new(membership.key.clone(), fields);
    let appended = worker.append(vec![append.clone(), append]).await;
    let [first, second] = [0, 1].map(|at| appended[at].as_ref().expect("appended").id.expect("an id"));
    let held = worker.group_reader(&membership).read(2, Duration::ZERO).await.expect("deliveries");
    assert_eq!(held.len(), 2);
    assert_eq!(worker.renew(&membership, vec![first]).await.expect("renewed"), []);
    worker.hand_back(&membership, vec![first]).await.expect("handed back");
    // Whose entry is gone becomes a dead letter.
    server.command(["XDEL", membership.key.as_str(), &second.to_string()]).await;

    let heir = Membership::new(topic.inbound(), group.clone());
    let lease = Duration::ZERO;
    let (cursor, dead) = (EntryId::ZERO, topic.dead());
    let from = ReclaimFrom {
        membership: heir.clone(),
        lease,
        cursor,
        count: 10,
        handed_back_first: false,
        dead: dead.clone(),
        dead_entries_max: 1,
    };
    let reclaimed = worker.reclaim(from).await.expect("reclaimed");
    assert_eq!((reclaimed.deliveries.len(), &reclaimed.trimmed[..]), (1, &[second][..]));
    assert_eq!(worker.stream_info(&dead).await.expect("an answer").expect("a stream").len, 1);
    assert!(worker.leave(&membership).await.expect("left"));
    let (key, member) = (membership.key, Some(heir.member));
    let pending = Pending { key, group, member, from: EntryId::ZERO, count: 10 };
    assert_eq!(worker.pending(pending).await.expect("pending").len(), 1);
    nothing_was_denied(&server).await;
}

/// The rest of what only workers do: entries for later, and dead letters that are tried again.
#[tokio::test]
async fn messages_go_on_later_and_again() {
    let (server, [_, worker]) = spawn().await;
    let worker = connect(&server, &worker).await;
    let (topic, schedule) = (orders(), orders().schedule());
    let mut fields = Fields::default();
    fields.push("p", "later");
    let id = |text: &str| ScheduleId::new(text.to_owned()).expect("an id");
    let entry = |text: &str| Scheduled { id: id(text), at: UnixMillis(1), fields: fields.clone() };
    for answer in worker.schedule(&schedule, vec![entry("a"), entry("b"), entry("c")]).await {
        answer.expect("scheduled");
    }
    let after = Some(ScheduleCursor { at: "1".into(), id: "a".into() });
    let page = worker.scheduled(ScheduledRange { schedule: schedule.clone(), after, count: 1 }).await.expect("a page");
    assert_eq!(page.entries, [entry("b")]);
    assert_eq!(worker.cancel_scheduled(&schedule, vec![id("b")]).await.expect("cancelled").len(), 1);
    assert_eq!(worker.move_due(&schedule, 10).await.expect("moved").moved, 2);

    let membership = Membership::new(topic.inbound(), Name::unique());
    worker.create_group(&membership.key, &membership.group, GroupStart::After(EntryId::ZERO)).await.expect("a group");
    let held = worker.group_reader(&membership).read(2, Duration::ZERO).await.expect("deliveries");
    let dead = DeadAppend { key: topic.dead(), fields: fields.clone(), entries_max: 1 };
    let batch = [0, 1].map(|at| Settlement { dead: Some(dead.clone()), ..Settlement::done(held[at].entry.id) });
    assert_eq!(worker.settle(&membership, &batch, Fence::Check).await.expect("settled").dead_dropped, 1);
    let later = Later { schedule, scheduled: entry("d") };
    let fresh = worker.append(vec![Append::new(topic.inbound(), fields.clone())]).await.remove(0).expect("appended");
    assert_eq!(worker.group_reader(&membership).read(1, Duration::ZERO).await.expect("a delivery").len(), 1);
    let batch = [Settlement { later: Some(later), ..Settlement::done(fresh.id.expect("an id")) }];
    assert_eq!(worker.settle(&membership, &batch, Fence::Check).await.expect("settled").lost, []);

    let (dead, from, to) = (topic.dead(), EntryId::ZERO, EntryId::MAX);
    let range = Range { key: dead.clone(), from, to, count: 10, newest_first: false };
    let letter = worker.range(range).await.expect("dead letters").remove(0);
    let replay = Replay { dead: dead.clone(), id: letter.id, into: topic.inbound(), fields };
    assert!(worker.replay(replay).await.expect("replayed").is_some());
    assert_eq!(worker.drop_entries(&dead, vec![letter.id]).await.expect("dropped"), 0);
    nothing_was_denied(&server).await;
}

/// Marks, on either side; named leases and registries, among workers.
#[tokio::test]
async fn marks_are_set_and_leases_taken() {
    let (server, [gateway, worker]) = spawn().await;
    let (gateway, worker) = (connect(&server, &gateway).await, connect(&server, &worker).await);
    let (topic, name, ttl) = (orders(), Name::unique(), Duration::from_secs(60));
    let key = topic.idempotency_mark(&MessageId::unique());
    let mark = Mark { key: key.clone(), value: "answer".into(), ttl };
    assert_eq!(gateway.mark_if_absent(vec![mark.clone()]).await.expect("set"), [None]);
    gateway.mark(vec![mark.clone()]).await.expect("set");
    let shards = Shards::new(topic.clone(), 4).expect("so many shards");
    for broker in [&gateway, &worker] {
        shards.agree(&**broker).await.expect("agreed");
    }
    assert_eq!(gateway.recall(vec![key.clone()]).await.expect("recalled"), [Some("answer".into())]);
    assert_eq!(gateway.mark_if_absent(vec![mark.clone()]).await.expect("found"), [Some("answer".into())]);
    let group = Name::new("billing").expect("a name");
    for (broker, key) in [(&gateway, topic.idempotency_meter()), (&worker, topic.done_meter(&group))] {
        let short = Charge { key: key.clone(), bytes: 7, ttl: Duration::from_millis(1), reserved: None };
        assert_eq!(broker.charge(short.clone()).await.expect("charged"), 7);
        eventually("the bytes go", async || {
            let question = Charge { bytes: 0, ..short.clone() };
            (broker.charge(question).await.expect("an answer") == 0).then_some(())
        })
        .await;
    }

    let membership = Membership::new(topic.inbound(), name.clone());
    worker.create_group(&membership.key, &membership.group, GroupStart::End).await.expect("a group");
    let mut fields = Fields::default();
    fields.push("p", "done");
    for fence in [Fence::Renewed, Fence::Check] {
        let appended = worker.append(vec![Append::new(topic.inbound(), fields.clone())]).await.remove(0);
        let id = appended.expect("appended").id.expect("an id");
        worker.group_reader(&membership).read(1, Duration::ZERO).await.expect("a delivery");
        let done = Mark { key: topic.done_mark(&membership.group, &MessageId::unique()), ..mark.clone() };
        let batch = [Settlement { mark: Some(done.clone()), ..Settlement::done(id) }];
        assert_eq!(worker.settle(&membership, &batch, fence).await.expect("settled").lost, []);
        assert_eq!(worker.recall(vec![done.key]).await.expect("recalled"), [Some("answer".into())]);
    }

    let request = LeaseRequest { key: topic.owner(&name), holder: name.clone(), ttl };
    assert!(worker.lease(request).await.expect("a lease").held);
    assert!(worker.release_lease(&topic.owner(&name), &name).await.expect("released"));
    assert_eq!(
        worker.register(&topic.registry(&name), &name, ttl).await.expect("registered"),
        std::slice::from_ref(&name)
    );
    worker.unregister(&topic.registry(&name), &name).await.expect("off");
    nothing_was_denied(&server).await;
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

/// What an examiner finds that a user lacks for the topic of these tests.
async fn rights(server: &RedisServer, (user, password): &(String, String)) -> Rights {
    let url = format!("redis://{user}:{password}@{}", server.address());
    RedisBroker::connect(&url).await.expect("a broker").examiner().rights(&orders()).await.expect("an answer")
}

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
