//! Deliveries of the documented workers: members that stop or die, entries for later, and dead letters.

use std::time::Duration;

use streamerson_core::{
    EntryId, Fields, Name, ScheduleId, UnixMillis,
    broker::{
        Append, DeadAppend, Fence, GroupStart, Later, Membership, Pending, Range, ReclaimFrom, Replay, ScheduleCursor,
        Scheduled, ScheduledRange, Settlement,
    },
    group::{Member, MemberConfig},
};
use streamerson_test::eventually;

use crate::scene::{connect, nothing_was_denied, orders, spawn};

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
