//! Dead letters: their bound, replay and removal.

use std::time::Duration;

use streamerson_core::{
    EntryId, Fields, SharedBroker,
    broker::{DeadAppend, ReclaimFrom, Replay, Settlement, TrimTo},
};
use tokio::task::JoinSet;

use super::scene::{FOREVER, Scene, append_to, entries, fields, ids, texts};

fn replay(scene: &Scene, id: EntryId, text: &str) -> Replay {
    Replay { dead: scene.topic.dead(), id, into: scene.key.clone(), fields: fields(text) }
}

async fn bury(scene: &Scene, count: usize) -> Vec<EntryId> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(append_to(&scene.broker, &scene.topic.dead(), &number.to_string()).await);
    }
    ids
}

/// A dead letter goes back with the fields it is given, once, and is gone from where it lay.
pub async fn are_replayed_once(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let all = bury(&scene, 3).await;
    let id = broker.replay(replay(&scene, all[1], "again")).await.expect("replayed").expect("it was there");
    assert_eq!(broker.replay(replay(&scene, all[1], "twice")).await.expect("an answer"), None);
    let found = entries(&broker, &scene.key).await;
    assert_eq!((found.len(), found[0].id, texts(&found)), (1, id, vec!["again".to_owned()]));
    assert_eq!(texts(&entries(&broker, &scene.topic.dead()).await), ["0", "2"]);
    assert_eq!(ids(&scene.member().read(10).await), [id], "members get it");

    let nowhere = Scene::new(broker.clone());
    assert_eq!(broker.replay(replay(&nowhere, all[0], "x")).await.expect("an answer"), None);
    assert!(!nowhere.exists(&nowhere.key).await, "nothing is made of nothing");
}

/// What can't be replayed stays where it is.
pub async fn stay_when_they_cannot_be_replayed(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let all = bury(&scene, 1).await;
    let empty = Replay { fields: Fields::default(), ..replay(&scene, all[0], "") };
    broker.replay(empty).await.expect_err("an entry needs a field");
    assert_eq!(entries(&broker, &scene.topic.dead()).await.len(), 1);
    assert!(!scene.exists(&scene.key).await);
}

/// Many replay the same dead letters: each goes back once.
pub async fn are_replayed_by_one_of_many(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let all = bury(&scene, 50).await;
    let mut replayers = JoinSet::new();
    for _ in 0..4 {
        let (scene, all) = (scene.clone(), all.clone());
        replayers.spawn(async move {
            let mut replayed = 0;
            for id in all {
                let answer = scene.broker.replay(replay(&scene, id, &id.to_string())).await.expect("an answer");
                replayed += usize::from(answer.is_some());
            }
            replayed
        });
    }
    assert_eq!(replayers.join_all().await.into_iter().sum::<usize>(), 50);
    let found = texts(&entries(&broker, &scene.key).await);
    assert_eq!(found, all.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(entries(&broker, &scene.topic.dead()).await, []);
}

/// Single entries are removed, wherever they lie; the answer counts those that were there.
pub async fn are_dropped(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let dead = scene.topic.dead();
    let all = bury(&scene, 6).await;
    assert_eq!(broker.drop_entries(&dead, vec![all[5], all[0], all[2], all[2]]).await.expect("dropped"), 3);
    assert_eq!(texts(&entries(&broker, &dead).await), ["1", "3", "4"]);
    assert_eq!(broker.drop_entries(&dead, vec![all[0], EntryId::new(1, 1)]).await.expect("dropped"), 0);
    assert_eq!(broker.drop_entries(&dead, Vec::new()).await.expect("dropped"), 0);
    let info = broker.stream_info(&dead).await.expect("an answer").expect("a stream");
    assert_eq!((info.len, info.first, info.last), (3, Some(all[1]), all[5]));
    assert_eq!(broker.drop_entries(&dead, all.clone()).await.expect("dropped"), 3);
    assert_eq!(broker.drop_entries(&scene.topic.outbound(), all).await.expect("no stream is no error"), 0);
    assert!(!scene.exists(&scene.topic.outbound()).await);
}

/// The stream keeps exactly as many as it may: the oldest go, also where others were removed before, and are counted.
pub async fn are_bounded_when_settled(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (dead, entries_max) = (scene.topic.dead(), 10);
    let (member, held) = scene.holder(30).await;
    let batch: Vec<_> = held
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let letter = DeadAppend { key: dead.clone(), fields: fields(&number.to_string()), entries_max };
            Settlement { dead: Some(letter), ..Settlement::done(*id) }
        })
        .collect();
    let settle = async |batch: &[Settlement]| {
        let fence = streamerson_core::broker::Fence::Check;
        broker.settle(&member.membership, batch, fence).await.expect("settled").dead_dropped
    };
    assert_eq!(settle(&batch[..10]).await, 0);
    assert_eq!(settle(&batch[10..15]).await, 5);
    let left = entries(&broker, &dead).await;
    assert_eq!(texts(&left), (5..15).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(broker.drop_entries(&dead, vec![left[0].id, left[4].id]).await.expect("dropped"), 2);
    assert_eq!(settle(&batch[15..18]).await, 1);
    assert_eq!(settle(&batch[18..]).await, 12);
    let left = entries(&broker, &dead).await;
    assert_eq!(texts(&left), (20..30).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// The same for what a take-over buries.
pub async fn are_bounded_when_reclaimed(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (_holder, held) = scene.holder(300).await;
    broker.trim(&scene.key, TrimTo::Before(held[250])).await.expect("trimmed");
    let gone = 300 - entries(&broker, &scene.key).await.len();
    assert!(gone > 10, "{gone} were trimmed");
    let heir = scene.member();
    let (mut cursor, mut dropped, mut trimmed) = (EntryId::ZERO, 0, 0);
    loop {
        let from = ReclaimFrom {
            membership: heir.membership.clone(),
            lease: Duration::ZERO,
            cursor,
            count: 100,
            handed_back_first: false,
            dead: scene.topic.dead(),
            dead_entries_max: 10,
        };
        let reclaimed = broker.reclaim(from).await.expect("reclaimed");
        dropped += reclaimed.dead_dropped;
        trimmed += reclaimed.trimmed.len();
        cursor = reclaimed.cursor;
        if cursor == EntryId::ZERO {
            break;
        }
    }
    assert_eq!((trimmed, dropped), (gone, gone as u64 - 10));
    assert_eq!(entries(&broker, &scene.topic.dead()).await.len(), 10);
    assert_eq!(heir.reclaim(FOREVER).await.0, []);
}
