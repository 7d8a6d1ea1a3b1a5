//! Many at once: nothing is lost, nothing comes twice, and order stays order.

use std::{collections::BTreeSet, time::Duration};

use streamerson_core::{
    EntryId, SharedBroker,
    broker::{Append, Delivered, Fence, ReplyAppend, Settlement},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::scene::{Scene, append_to, entries, fields, ids, text};

const APPENDERS: usize = 8;
const EACH: usize = 1000;

/// Many appenders on one stream: every entry is there, once, each appender's in its order, under the id it was told.
pub async fn appends_without_loss(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let mut appenders = JoinSet::new();
    for appender in 0..APPENDERS {
        let (broker, key) = (broker.clone(), scene.key.clone());
        appenders.spawn(async move {
            let mut told = Vec::new();
            // Half of them one by one, half in batches.
            let batch_len = if appender % 2 == 0 { 1 } else { 50 };
            for batch in 0..EACH / batch_len {
                let numbers = (batch * batch_len)..((batch + 1) * batch_len);
                let batch =
                    numbers.map(|number| Append::new(key.clone(), fields(&format!("{appender}/{number}")))).collect();
                for answer in broker.append(batch).await {
                    told.push(answer.expect("appended").id.expect("an id"));
                }
            }
            (appender, told)
        });
    }
    let told = appenders.join_all().await;

    let found: Vec<(EntryId, String)> =
        entries(&broker, &scene.key).await.iter().map(|entry| (entry.id, text(entry))).collect();
    assert_eq!(found.len(), APPENDERS * EACH);
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "ids rise");
    for (appender, told) in told {
        let prefix = format!("{appender}/");
        let own: Vec<_> = found.iter().filter(|(_, text)| text.starts_with(&prefix)).cloned().collect();
        let expected: Vec<_> =
            told.into_iter().enumerate().map(|(number, id)| (id, format!("{prefix}{number}"))).collect();
        assert_eq!(own, expected);
    }
}

/// Many members of one group, reading and settling at the same time: every entry is answered once.
pub async fn shares_without_overlap(broker: SharedBroker) {
    const COUNT: usize = 2000;
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let mut workers = JoinSet::new();
    let (answered, mut count) = mpsc::unbounded_channel();
    for _ in 0..4 {
        let (scene, inbox, answered) = (scene.clone(), inbox.clone(), answered.clone());
        workers.spawn(async move {
            let mut member = scene.member();
            let membership = member.membership.clone();
            while !answered.is_closed() {
                let deliveries = member.read_for(16, Duration::from_millis(50)).await.expect("a group read");
                let end = |delivery: &Delivered| Settlement {
                    reply: Some(ReplyAppend { key: inbox.clone(), fields: fields(&text(&delivery.entry)) }),
                    ..Settlement::done(delivery.entry.id)
                };
                let batch: Vec<_> = deliveries.iter().map(end).collect();
                let lost = scene.broker.settle(&membership, &batch, Fence::Check).await.expect("settled").lost;
                assert_eq!(lost, [], "nobody else takes any");
                for _ in batch {
                    // Closed once all are counted.
                    let _ = answered.send(());
                }
            }
        });
    }
    let appended: BTreeSet<_> = scene.append_many(COUNT).await.into_iter().collect();
    assert_eq!(appended.len(), COUNT);
    for _ in 0..COUNT {
        count.recv().await.expect("a worker at work");
    }
    drop(count);
    workers.join_all().await;

    let replies = entries(&broker, &inbox).await;
    let distinct: BTreeSet<_> = replies.iter().map(text).collect();
    assert_eq!((replies.len(), distinct.len()), (COUNT, COUNT));
    assert_eq!(scene.pending_ids().await, []);
}

/// Many readers of one stream each see all of it, in order, while it grows.
pub async fn fans_out(broker: SharedBroker) {
    const COUNT: usize = 500;
    let scene = Scene::new(broker.clone());
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (mut reader, key) = (broker.reader(), scene.key.clone());
        readers.spawn(async move {
            let (mut seen, mut after) = (Vec::new(), EntryId::ZERO);
            while seen.len() < COUNT {
                let found = reader.read(&[(key.clone(), after)], 64, Duration::from_secs(5)).await.expect("a read");
                seen.extend(found.into_iter().flat_map(|found| found.entries).map(|entry| entry.id));
                after = seen.last().copied().unwrap_or_default();
            }
            seen
        });
    }
    let mut appended = Vec::new();
    for number in 0..COUNT {
        appended.push(append_to(&broker, &scene.key, &number.to_string()).await);
    }
    for seen in readers.join_all().await {
        assert_eq!(seen, appended);
    }
}

/// The owner settles while another takes over: whoever wins, each delivery is answered once.
pub async fn settles_against_a_thief(broker: SharedBroker) {
    for _ in 0..20 {
        let scene = Scene::with_group(broker.clone()).await;
        let inbox = scene.inbox().await;
        let (owner, held) = scene.holder(50).await;
        let thief = scene.member();
        let batch = |ids: &[EntryId]| -> Vec<Settlement> {
            let reply = |id: &EntryId| Some(ReplyAppend { key: inbox.clone(), fields: fields(&id.to_string()) });
            ids.iter().map(|id| Settlement { reply: reply(id), ..Settlement::done(*id) }).collect()
        };
        let all = batch(&held);
        let settle = async {
            let mut lost = Vec::new();
            for batch in all.chunks(10) {
                lost.extend(owner.settle(batch).await);
            }
            lost
        };
        let (lost, stolen) = tokio::join!(settle, thief.steal());
        let stolen = ids(&stolen);
        assert_eq!(thief.settle(&batch(&stolen)).await, []);
        assert_eq!(lost, stolen, "what one lost the other has");
        let answered: BTreeSet<_> = entries(&broker, &inbox).await.iter().map(text).collect();
        assert_eq!(answered.len(), held.len());
        assert_eq!(entries(&broker, &inbox).await.len(), held.len(), "answered once");
        assert_eq!(scene.pending_ids().await, []);
    }
}

/// Members read while another process takes those that hold nothing off the list, again and again, also while they
/// wait: every entry is delivered once, and stays pending with its member until that settles it.
pub async fn reaps_while_others_read(broker: SharedBroker) {
    const COUNT: usize = 600;
    let scene = Scene::with_group(broker.clone()).await;
    let mut readers = JoinSet::new();
    let mut memberships = Vec::new();
    let (arrived, mut count) = mpsc::unbounded_channel();
    for _ in 0..3 {
        let (mut member, arrived) = (scene.member(), arrived.clone());
        let (broker, membership) = (broker.clone(), member.membership.clone());
        memberships.push(membership.clone());
        readers.spawn(async move {
            let finish = async |ids: &[EntryId]| {
                let batch: Vec<_> = ids.iter().copied().map(Settlement::done).collect();
                let settled = broker.settle(&membership, &batch, Fence::Check).await.expect("settled");
                assert_eq!(settled.lost, [], "lost while it was held");
            };
            let (mut kept, mut settled) = (Vec::new(), Vec::new());
            while !arrived.is_closed() {
                let deliveries = ids(&member.read_for(3, Duration::from_millis(20)).await.expect("a group read"));
                // One in seven stays with the member, so that it holds something now and nothing then.
                let (keep, done): (Vec<_>, Vec<_>) = deliveries.iter().partition(|id| id.seq % 7 == 3);
                finish(&done).await;
                for _ in deliveries {
                    // Closed once all are counted.
                    let _ = arrived.send(());
                }
                kept.extend(keep);
                settled.extend(done);
                if kept.len() > 5 {
                    // It holds nothing again.
                    finish(&kept).await;
                    settled.append(&mut kept);
                }
            }
            (member.name().to_owned(), kept, settled)
        });
    }
    let reaper = tokio::spawn({
        let (broker, memberships) = (broker.clone(), memberships.clone());
        async move {
            let mut answers = BTreeSet::new();
            loop {
                for membership in &memberships {
                    answers.insert(broker.leave(membership).await.expect("an answer"));
                }
                if arrived.is_closed() {
                    return answers;
                }
            }
        }
    });
    let mut appended = BTreeSet::new();
    for _ in 0..COUNT / 4 {
        // A few at a time, so that members wait in between.
        appended.extend(scene.append_many(4).await);
        for _ in 0..4 {
            count.recv().await.expect("a member at work");
        }
    }
    drop(count);
    assert!(reaper.await.expect("the reaper").contains(&true), "some held nothing");
    let (mut delivered, mut owned) = (Vec::new(), BTreeSet::new());
    for (name, kept, settled) in readers.join_all().await {
        delivered.extend(kept.iter().chain(&settled).copied());
        owned.extend(kept.into_iter().map(|id| (id, name.clone())));
    }
    assert_eq!(delivered.len(), COUNT, "each once");
    assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>(), appended);
    let pending: BTreeSet<_> = scene.pending().await.into_iter().map(|entry| (entry.id, entry.member)).collect();
    assert_eq!(pending, owned);
}
