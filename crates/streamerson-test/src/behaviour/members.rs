//! What members take, and how groups share a stream.

use futures_util::FutureExt;
use streamerson_core::{
    Fields, Headers, SharedBroker,
    broker::Append,
    dead_letter::Reason,
    group::{Member, Outcome},
};

use super::scene::{Scene, Worker, append, event, next, payload, request};
use crate::eventually;

/// How many deliveries each of these members holds, as the broker sees it.
async fn held_by(scene: &Scene, members: &[&Member]) -> Vec<usize> {
    let pending = scene.pending().await;
    let held = |member: &&Member| pending.iter().filter(|entry| *entry.member == *member.membership().member).count();
    members.iter().map(held).collect()
}

/// A member takes no more than it can run, so that an idle one gets the rest.
pub async fn bound_what_they_take(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(5).await;
    let mut busy = scene.member_with(|config| config.concurrency = 2).await;
    let taken = [next(&mut busy).await, next(&mut busy).await];
    assert_eq!(taken.each_ref().map(payload), ["0", "1"]);

    // The idle one gets the rest.
    let mut idle = scene.member().await;
    for expected in ["2", "3", "4"] {
        let held = next(&mut idle).await;
        assert_eq!(payload(&held), expected);
        held.settle(Outcome::Done).await;
    }
    eventually("the rest is settled", async || (held_by(&scene, &[&busy, &idle]).await == [2, 0]).then_some(())).await;
    drop(taken);
}

/// The next delivery comes when one has ended.
pub async fn wait_for_a_free_permit(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member_with(|config| config.concurrency = 1).await;
    scene.emit_many(3).await;
    for expected in ["0", "1", "2"] {
        let held = next(&mut member).await;
        assert_eq!(payload(&held), expected);
        assert!(member.next().now_or_never().is_none(), "one at a time");
        held.settle(Outcome::Done).await;
    }
    scene.all_settled().await;
    // The member hears of it after the broker knows.
    eventually("all are known as settled", async || (member.settled() == 3).then_some(())).await;
}

/// Groups do not share: each gets every entry.
pub async fn each_group_gets_everything(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (mut one, mut other) = (scene.member().await, scene.other_group().member().await);
    scene.emit_many(10).await;
    for number in 0..10 {
        for member in [&mut one, &mut other] {
            let held = next(member).await;
            assert_eq!(payload(&held), number.to_string());
            held.settle(Outcome::Done).await;
        }
    }
}

/// A message for one group is acked unexecuted, and unanswered, by the others.
pub async fn leave_what_is_for_another_group(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let meant = scene.other_group();
    let (mut others, mut meant_for) = (scene.member().await, meant.member().await);
    let mine = event("mine").with_header(Headers::ONLY_GROUP, meant.group.as_str());
    append(&scene.broker, &scene.inbound(), [mine, event("everybody's")]).await;

    let held = next(&mut meant_for).await;
    assert_eq!(payload(&held), "mine");
    held.settle(Outcome::Done).await;
    let held = next(&mut others).await;
    assert_eq!(payload(&held), "everybody's", "the other is acked and not handed out");
    held.settle(Outcome::Done).await;
    scene.all_settled().await;

    // A request for one group is not answered by another.
    let mut asked = request("?").with_header(Headers::ONLY_GROUP, meant.group.as_str());
    asked.timeout = Some(std::time::Duration::from_secs(20));
    let client = scene.client();
    let answer = async {
        let mut held = next(&mut meant_for).await;
        while payload(&held) != "?" {
            held.settle(Outcome::Done).await;
            held = next(&mut meant_for).await;
        }
        scene.all_settled().await;
        held.settle(Outcome::Replied(streamerson_core::Reply::new("by the right one"))).await;
    };
    let (reply, ()) = futures_util::future::join(client.request(&scene.topic, asked), answer).await;
    assert_eq!(reply.expect("a reply").payload, "by the right one");
}

/// What is no message becomes a dead letter with its raw fields, and the next one is handled.
pub async fn bury_what_is_malformed(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut fields = Fields::default();
    fields.push("m", "not a message line");
    fields.push("p", vec![0xff, 0x00]);
    scene.broker.append(vec![Append::new(scene.inbound(), fields.clone())]).await.remove(0).expect("appended");
    scene.emit(&["good"]).await;

    let mut member = scene.member_with(|config| config.concurrency = 1).await;
    let held = next(&mut member).await;
    assert_eq!(payload(&held), "good");
    held.settle(Outcome::Done).await;
    let letters = scene.dead_letters().await;
    let [(letter, original)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.reason, letter.attempts), (Reason::Malformed, 0));
    assert_eq!((&letter.group, &letter.member), (&scene.group, &member.membership().member));
    assert_eq!(original.fields, fields, "byte for byte");
    scene.all_settled().await;
}

/// Finished entries go, but never one that is pending, nor any after it.
pub async fn trim_what_is_finished(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut unfinished = scene.member_with(|config| config.concurrency = 1).await;
    scene.emit(&["still needed"]).await;
    let needed = next(&mut unfinished).await;
    let worker = Worker::start(scene.member().await, |_| Outcome::Done);
    scene.emit_many(500).await;
    eventually("all but one are settled", async || {
        let groups = scene.broker.groups(&scene.inbound()).await.expect("the groups");
        ((groups[0].lag, groups[0].pending) == (Some(0), 1)).then_some(())
    })
    .await;
    assert_eq!(scene.len(&scene.inbound()).await, Some(501), "nothing goes in front of what is pending");
    needed.settle(Outcome::Done).await;
    // A broker may keep a little more than asked.
    eventually("the stream is trimmed", async || (scene.len(&scene.inbound()).await < Some(150)).then_some(())).await;
    worker.stop().await;
}

/// A stopped member hands out what it has taken, and ends.
pub async fn end_when_stopped(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(2).await;
    let mut member = scene.member().await;
    let held = next(&mut member).await;
    eventually("both are taken", async || (scene.pending().await.len() == 2).then_some(())).await;
    member.stopper().stop();
    member.stopper().stopped().await;
    let second = next(&mut member).await;
    assert!(member.next().await.is_none(), "all that was taken is handed out");
    scene.emit(&["too late"]).await;
    assert!(member.next().await.is_none());
    for held in [held, second] {
        held.settle(Outcome::Done).await;
    }
    scene.all_settled().await;
}
