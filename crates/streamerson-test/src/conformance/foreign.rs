//! Keys of a server that something else wrote: an error that says so, and everything else goes on.
//!
//! These cases reach past the port to make such keys, so they need a server.

use std::time::Duration;

use streamerson_core::{
    BrokerError, EntryId, MessageId, Name, ScheduleId, StreamKey, UnixMillis,
    broker::{
        Append, Charge, DeadAppend, Fence, GroupStart, LeaseRequest, Mark, REGISTRY_NAMES_MAX, Range, Replay,
        ReplyAppend, Scheduled, ScheduledRange, Settlement, TrimTo,
    },
};

use super::{
    Subject,
    scene::{AT_ONCE, FOREVER, Scene, append_to, entries, fields, texts},
};
use crate::Value;

/// Makes the key a string.
async fn occupy(subject: &Subject, key: &StreamKey) {
    let server = subject.server.as_ref().expect("a case for servers runs on one");
    assert_eq!(server.command(["SET", key.as_str(), "a string"]).await, Value::Status("OK".into()));
}

fn assert_wrong_type<T: std::fmt::Debug>(expected: &StreamKey, answer: Result<T, BrokerError>) {
    match answer {
        Err(BrokerError::WrongType { key }) => assert_eq!(key, *expected),
        other => panic!("expected that {expected} holds no stream, got {other:?}"),
    }
}

/// An append to such a key fails, the rest of the batch does not.
pub async fn spares_the_rest_of_a_batch(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let foreign = scene.topic.outbound();
    occupy(&subject, &foreign).await;
    let entry = |key: &StreamKey, text| Append::new(key.clone(), fields(text));
    let batch = vec![entry(&scene.key, "a"), entry(&foreign, "b"), entry(&scene.key, "c")];
    let mut answers = subject.broker.append(batch).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_wrong_type(&foreign, answers.remove(1));
    assert_eq!(texts(&entries(&subject.broker, &scene.key).await), ["a", "c"]);
}

/// Every question about such a key has the same answer.
pub async fn is_told_by_every_call(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let (broker, key) = (&subject.broker, &scene.key);
    occupy(&subject, key).await;
    let (from, to) = (EntryId::ZERO, EntryId::MAX);
    let range = Range { key: key.clone(), from, to, count: 1, newest_first: false };
    assert_wrong_type(key, broker.range(range).await);
    assert_wrong_type(key, broker.stream_info(key).await);
    assert_wrong_type(key, broker.create_group(key, &scene.group, GroupStart::End).await);
    assert_wrong_type(key, broker.groups(key).await);
    assert_wrong_type(key, broker.trim(key, TrimTo::Entries(1)).await);
    assert_wrong_type(key, broker.trim(key, TrimTo::Finished).await);
    assert_wrong_type(key, broker.reader().read(&[(key.clone(), EntryId::ZERO)], 1, AT_ONCE).await);
    assert_wrong_type(key, scene.member().read_for(1, AT_ONCE).await);
}

/// A reader of several streams tells which key is the foreign one, and goes on without it.
pub async fn can_be_left_out_of_a_read(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let (foreign, good) = (scene.topic.outbound(), scene.key.clone());
    occupy(&subject, &foreign).await;
    let id = scene.append("a").await;
    let mut reader = subject.broker.reader();
    let both = [(good.clone(), EntryId::ZERO), (foreign.clone(), EntryId::ZERO)];
    assert_wrong_type(&foreign, reader.read(&both, 10, Duration::from_secs(10)).await);
    let found = reader.read(&both[..1], 10, AT_ONCE).await.expect("a read");
    assert_eq!(found[0].entries[0].id, id);
}

/// A dead letter that cannot be written leaves its delivery pending, and the rest of the batch settles.
pub async fn keeps_what_cannot_be_buried(subject: Subject) {
    let scene = Scene::with_group(subject.broker.clone()).await;
    let (inbox, dead) = (scene.inbox().await, scene.topic.dead());
    occupy(&subject, &dead).await;
    let (member, held) = scene.holder(3).await;
    let reply = |text| Some(ReplyAppend { key: inbox.clone(), fields: fields(text) });
    let batch = [
        Settlement { reply: reply("0"), ..Settlement::done(held[0]) },
        Settlement { dead: Some(DeadAppend::new(dead.clone(), fields("dead"))), ..Settlement::done(held[1]) },
        Settlement { reply: reply("2"), ..Settlement::done(held[2]) },
    ];
    let answer = subject.broker.settle(&member.membership, &batch, Fence::Check).await;
    assert!(answer.is_err(), "nobody learns of the letter that is not there: {answer:?}");
    let pending = scene.pending_ids().await;
    assert!(pending.contains(&held[1]), "a delivery ended without a trace");
    assert_eq!(member.settle(&[Settlement::done(held[1])]).await, [], "it is still the member's to settle");

    // Whatever of the rest was done was done whole; sending it again settles what was not.
    let again = [batch[0].clone(), batch[2].clone()];
    member.settle(&again).await;
    assert_eq!(texts(&entries(&subject.broker, &inbox).await), ["0", "2"]);
    assert_eq!(scene.pending_ids().await, []);
}

/// An inbox that is no stream swallows a reply no more than it stops the others.
pub async fn does_not_stop_other_replies(subject: Subject) {
    let scene = Scene::with_group(subject.broker.clone()).await;
    let (inbox, foreign) = (scene.inbox().await, scene.topic.outbound());
    occupy(&subject, &foreign).await;
    let (member, held) = scene.holder(2).await;
    let reply = |key: &StreamKey| Some(ReplyAppend { key: key.clone(), fields: fields("reply") });
    let batch = [
        Settlement { reply: reply(&foreign), ..Settlement::done(held[0]) },
        Settlement { reply: reply(&inbox), ..Settlement::done(held[1]) },
    ];
    let _ = subject.broker.settle(&member.membership, &batch, Fence::Check).await;
    assert_eq!(texts(&entries(&subject.broker, &inbox).await), ["reply"]);
    assert!(!scene.pending_ids().await.contains(&held[1]), "the good one is settled");
    append_to(&subject.broker, &scene.key, "and the broker goes on").await;
}

fn scheduled(id: &str) -> Scheduled {
    Scheduled { id: ScheduleId::new(id.to_owned()).expect("an id"), at: UnixMillis(1000), fields: fields(id) }
}

/// What waits and can be no entry is taken out and told, and holds up nothing; listings leave it out.
pub async fn does_not_hold_up_what_is_due(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let (broker, schedule) = (&subject.broker, scene.topic.schedule());
    let server = subject.server.as_ref().expect("a case for servers runs on one");
    for entry in ["a", "n", "z"] {
        broker.schedule(&schedule, vec![scheduled(entry)]).await.remove(0).expect("scheduled");
    }
    let broken: [(&[u8], &[u8]); 5] =
        [(b"b", b"garbage"), (b"c", b"1:p,"), (b"d", b"1:p,5:text,"), (b"o", b""), (b"\xff e", b"99999999999:x,")];
    for (id, packed) in broken {
        server.command([b"ZADD".as_slice(), schedule.key().as_bytes(), b"999.5", id]).await;
        server.command([b"HSET".as_slice(), schedule.entries_key().as_bytes(), id, packed]).await;
    }
    server.command(["ZADD", schedule.key(), "-inf", "no-entry"]).await;
    // What can be packed by hand can be moved, whatever its id and time.
    server.command([b"ZADD".as_slice(), schedule.key().as_bytes(), b"0.25", b"by hand"]).await;
    server.command(["HSET", schedule.entries_key(), "by hand", "1:m,2:ok,"]).await;

    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let range = ScheduledRange { schedule: schedule.clone(), after, count: 2 };
        let page = broker.scheduled(range).await.expect("a page");
        listed.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, ["a", "n", "z"].map(scheduled));
    let (mut moved, mut told) = (0, Vec::new());
    loop {
        let due = broker.move_due(&schedule, 3).await.expect("moved");
        moved += due.moved;
        told.extend(due.broken);
        if due.next.is_none() {
            break;
        }
    }
    assert_eq!((moved, told), (4, ["no-entry", "b", "c", "d", "o", "\u{fffd} e"].map(str::to_owned).to_vec()));
    assert_eq!(texts(&entries(broker, &scene.key).await), ["ok", "a", "n", "z"]);
    assert_eq!(server.command(["EXISTS", schedule.key(), schedule.entries_key()]).await.int(), 0, "nothing is left");
}

/// An error stops the move where it is: what was due waits on, and comes when the error is gone.
pub async fn stops_what_is_due_and_loses_none(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let (broker, schedule) = (&subject.broker, scene.topic.schedule());
    let server = subject.server.as_ref().expect("a case for servers runs on one");
    for answer in broker.schedule(&schedule, vec![scheduled("a"), scheduled("b")]).await {
        answer.expect("scheduled");
    }
    occupy(&subject, &scene.key).await;
    assert_wrong_type(&scene.key, broker.move_due(&schedule, 10).await);
    broker.remove(vec![scene.key.clone()]).await.expect("removed");

    server.command(["CONFIG", "SET", "maxmemory", "1"]).await;
    for error in [
        broker.move_due(&schedule, 10).await.map(drop),
        broker.schedule(&schedule, vec![scheduled("c")]).await.remove(0),
        broker
            .mark(vec![Mark {
                key: scene.topic.idempotency_mark(&MessageId::unique()),
                value: "x".into(),
                ttl: FOREVER,
            }])
            .await,
    ] {
        let error = error.expect_err("the server is full");
        assert!(error.is_transient() && error.to_string().contains("OOM"), "{error}");
    }
    server.command(["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(broker.move_due(&schedule, 10).await.expect("moved").moved, 2);
    assert_eq!(texts(&entries(broker, &scene.key).await), ["a", "b"]);
}

/// A server that is full refuses a mark together with the ack, so that no delivery ends unmarked.
pub async fn keeps_what_cannot_be_marked(subject: Subject) {
    let scene = Scene::with_group(subject.broker.clone()).await;
    let server = subject.server.as_ref().expect("a case for servers runs on one");
    let (member, held) = scene.holder(1).await;
    let key = scene.topic.done_mark(&scene.group, &MessageId::unique());
    let mark = Some(Mark { key: key.clone(), value: "x".into(), ttl: FOREVER });
    let batch = [Settlement { mark, ..Settlement::done(held[0]) }];
    server.command(["CONFIG", "SET", "maxmemory", "1"]).await;
    for fence in [Fence::Renewed, Fence::Check] {
        let error = subject.broker.settle(&member.membership, &batch, fence).await.expect_err("the server is full");
        assert!(error.is_transient(), "{error}");
        assert_eq!(scene.pending_ids().await, held);
    }
    server.command(["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(member.settle(&batch).await, []);
    assert_eq!(subject.broker.recall(vec![key]).await.expect("recalled"), [Some("x".into())]);
}

/// Every call on a key of another kind says so, and a registry takes no more than it may.
pub async fn is_told_by_calls_on_other_keys(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let (broker, schedule) = (&subject.broker, scene.topic.schedule());
    let server = subject.server.as_ref().expect("a case for servers runs on one");
    let (owner, registry) = (scene.topic.owner(&scene.group), scene.topic.registry(&scene.group));
    let (mark, meter) = (scene.topic.idempotency_mark(&MessageId::unique()), scene.topic.idempotency_meter());
    let key = |text: &str| StreamKey::raw(text.to_owned());
    for foreign in [schedule.key(), owner.as_str(), registry.as_str(), mark.as_str(), meter.as_str()] {
        append_to(broker, &key(foreign), "a stream").await;
    }
    let later = key(schedule.key());
    assert_wrong_type(&later, broker.schedule(&schedule, vec![scheduled("a")]).await.remove(0));
    assert_wrong_type(&later, broker.move_due(&schedule, 1).await);
    assert_wrong_type(&later, broker.cancel_scheduled(&schedule, vec![scheduled("a").id]).await);
    let range = ScheduledRange { schedule: schedule.clone(), after: None, count: 1 };
    assert_wrong_type(&later, broker.scheduled(range).await);
    let holder = Name::unique();
    let request = LeaseRequest { key: owner.clone(), holder: holder.clone(), ttl: FOREVER };
    assert_wrong_type(&key(owner.as_str()), broker.lease(request).await);
    assert_wrong_type(&key(owner.as_str()), broker.release_lease(&owner, &holder).await);
    assert_wrong_type(&key(registry.as_str()), broker.register(&registry, &holder, FOREVER).await);
    assert_wrong_type(&key(registry.as_str()), broker.unregister(&registry, &holder).await);
    let value = Mark { key: mark.clone(), value: "x".into(), ttl: FOREVER };
    assert_wrong_type(&key(mark.as_str()), broker.mark_if_absent(vec![value.clone()]).await);
    broker.mark(vec![value]).await.expect("a mark takes the place of anything");
    let charge = |bytes| Charge { key: meter.clone(), bytes, ttl: FOREVER, reserved: None };
    for bytes in [0, 1] {
        assert_wrong_type(&key(meter.as_str()), broker.charge(charge(bytes)).await);
    }
    let (dead, id) = (scene.topic.dead(), EntryId::new(1, 0));
    occupy(&subject, &dead).await;
    assert_wrong_type(&dead, broker.drop_entries(&dead, vec![id]).await);
    let replay = Replay { dead: dead.clone(), id, into: scene.key.clone(), fields: fields("a") };
    assert_wrong_type(&dead, broker.replay(replay).await);

    let crowd = scene.topic.registry(&Name::unique());
    let mut names = vec!["ZADD".to_owned(), crowd.as_str().to_owned()];
    (0..REGISTRY_NAMES_MAX).for_each(|number| names.extend(["1e15".to_owned(), format!("member-{number}")]));
    server.command(&names).await;
    let full = broker.register(&crowd, &holder, FOREVER).await;
    assert!(matches!(&full, Err(BrokerError::Full { max: REGISTRY_NAMES_MAX, .. })), "{full:?}");
    let known = Name::new("member-7").expect("a name");
    let all = broker.register(&crowd, &known, FOREVER).await.expect("it is one of them");
    assert_eq!(all.len() as u64, REGISTRY_NAMES_MAX);
}
