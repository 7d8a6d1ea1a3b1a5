//! What is known of streams, groups, members and pending entries.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use streamerson_core::{
    EntryId, Name, SharedBroker, StreamKey,
    broker::{GroupInfo, GroupStart, Pending, TrimTo},
};

use super::scene::{Scene, append_to, entries, ids};

/// Length, first and last entry; nothing of a stream that does not exist.
pub async fn streams(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    assert_eq!(broker.stream_info(&scene.key).await.expect("an answer"), None);
    let all = scene.append_many(3).await;
    let info = broker.stream_info(&scene.key).await.expect("an answer").expect("a stream");
    assert_eq!((info.len, info.first, info.last), (3, Some(all[0]), all[2]));
    // Redis 6.2 does not count.
    assert!(info.appended.is_none_or(|appended| appended == 3), "{info:?}");
}

/// A stream that holds nothing still knows the last id that it held.
pub async fn emptied_streams(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let info = broker.stream_info(&scene.key).await.expect("an answer").expect("a stream");
    assert_eq!((info.len, info.first, info.last), (0, None, EntryId::ZERO));
    let all = scene.append_many(100).await;
    broker.trim(&scene.key, TrimTo::Entries(0)).await.expect("trimmed");
    let left = entries(&broker, &scene.key).await;
    let info = broker.stream_info(&scene.key).await.expect("an answer").expect("a stream");
    assert_eq!(info.len, left.len() as u64);
    assert!(info.appended.is_none_or(|appended| appended == 100), "what was trimmed counts: {info:?}");
    assert_eq!((info.first, info.last), (left.first().map(|entry| entry.id), all[99]));
    assert!(scene.append("next").await > all[99]);
}

/// All pages of streams that belong to this topic.
async fn streams_of(scene: &Scene) -> BTreeSet<StreamKey> {
    let (mut keys, mut page) = (BTreeSet::new(), Some(0));
    while let Some(at) = page {
        let found = scene.broker.streams(at).await.expect("a page");
        keys.extend(found.keys.into_iter().filter(|key| key.topic().as_ref() == Some(&scene.topic)));
        page = found.next;
    }
    keys
}

/// The streams of a topic are found, empty ones too, among as many others as there are; inboxes are not.
pub async fn streams_of_topics(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    scene.inbox().await;
    assert_eq!(streams_of(&scene).await, BTreeSet::new());
    for number in 0..2000 {
        // Keys of other programs, and more than one page of them.
        append_to(&broker, &StreamKey::raw(format!("{{{}}}:other:{number}", scene.topic)), "x").await;
    }
    let all = BTreeSet::from([scene.topic.inbound(), scene.topic.outbound(), scene.topic.dead()]);
    scene.append("a").await;
    append_to(&broker, &scene.topic.outbound(), "b").await;
    assert!(broker.create_group(&scene.topic.dead(), &scene.group, GroupStart::End).await.expect("a group"));
    assert_eq!(streams_of(&scene).await, all);
    broker.remove(all.into_iter().collect()).await.expect("removed");
    assert_eq!(streams_of(&scene).await, BTreeSet::new());
}

async fn group_info(scene: &Scene) -> GroupInfo {
    let groups = scene.broker.groups(&scene.key).await.expect("the groups");
    groups.into_iter().find(|group| group.name == scene.group).expect("the group")
}

/// Members, pending, last delivered and lag of each group.
pub async fn groups(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let idle = scene.other_group(GroupStart::After(EntryId::ZERO)).await;
    let all = scene.append_many(10).await;
    let (mut one, mut two) = (scene.member(), scene.member());
    one.read(4).await;
    two.read(2).await;
    one.finish(&all[..1]).await;

    let busy = group_info(&scene).await;
    assert_eq!((busy.members, busy.pending, busy.last_delivered), (2, 5, all[5]));
    let idle = group_info(&idle).await;
    assert_eq!((idle.members, idle.pending, idle.last_delivered), (0, 0, EntryId::ZERO));
    // Redis before 7.0 knows no lag: then it is unknown, not zero.
    assert!(matches!((busy.lag, idle.lag), (Some(4), Some(10)) | (None, None)), "{:?} {:?}", busy.lag, idle.lag);
    assert_eq!(broker.groups(&scene.key).await.expect("the groups").len(), 2);
}

/// A lag that cannot be told is not told: right or unknown, never made up.
pub async fn lag_in_the_middle(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let all = scene.append_many(300).await;
    for (start, lag) in [(GroupStart::After(all[99]), 200), (GroupStart::End, 0)] {
        let group = scene.other_group(start).await;
        let known = group_info(&group).await.lag;
        assert!(known.is_none_or(|known| known == lag), "{start:?}: {known:?} instead of {lag}");
    }
    let empty = Scene::with_group(broker.clone()).await;
    assert!(group_info(&empty).await.lag.is_none_or(|lag| lag == 0));
}

/// A stream without groups, or no stream, has none.
pub async fn no_groups(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    assert_eq!(broker.groups(&scene.key).await.expect("no error"), []);
    scene.append("a").await;
    assert_eq!(broker.groups(&scene.key).await.expect("no error"), []);
}

/// Each member with what it holds and how long ago it was heard of.
pub async fn members(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    assert_eq!(broker.members(&scene.key, &scene.group).await.expect("the members"), []);
    let started = Instant::now();
    let (one, _) = scene.holder(3).await;
    let (two, _) = scene.holder(1).await;
    let mut members = broker.members(&scene.key, &scene.group).await.expect("the members");
    members.sort_by_key(|member| std::cmp::Reverse(member.pending));
    let found: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.pending)).collect();
    assert_eq!(found, [(one.name(), 3), (two.name(), 1)]);
    let most = started.elapsed() + Duration::from_millis(20);
    assert!(members.iter().all(|member| member.idle <= most), "{members:?} within {most:?}");
}

/// Pending entries come in order, from an id on, at most so many, of one member if asked.
pub async fn pending(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let all = scene.append_many(6).await;
    let (mut one, mut two) = (scene.member(), scene.member());
    for _ in 0..3 {
        one.read(1).await;
        two.read(1).await;
    }
    let name = |text: &str| Some(Name::new(text.to_owned()).expect("a name"));
    for (member, from, count, expected) in [
        (None, EntryId::ZERO, 100, &all[..]),
        (None, EntryId::ZERO, 2, &all[..2]),
        (None, all[4], 100, &all[4..]),
        (name(one.name()), EntryId::ZERO, 100, &[all[0], all[2], all[4]]),
        (name(two.name()), all[2], 1, &[all[3]]),
        (name("nobody-of-this-name"), EntryId::ZERO, 100, &[]),
    ] {
        let question = Pending { key: scene.key.clone(), group: scene.group.clone(), member, from, count };
        let found = broker.pending(question.clone()).await.expect("the pending entries");
        assert_eq!(found.iter().map(|entry| entry.id).collect::<Vec<_>>(), expected, "{question:?}");
    }
    let stolen = ids(&scene.member().steal().await);
    assert_eq!(stolen, all);
    assert!(scene.pending().await.iter().all(|entry| entry.count == 2 && entry.member != one.name()));
}
