//! Ranges of a stream.

use streamerson_core::{Entry, EntryId, SharedBroker, broker::Range};

use super::scene::Scene;

async fn range(scene: &Scene, from: EntryId, to: EntryId, count: usize, newest_first: bool) -> Vec<EntryId> {
    let range = Range { key: scene.key.clone(), from, to, count, newest_first };
    let entries: Vec<Entry> = scene.broker.range(range).await.expect("a range");
    entries.into_iter().map(|entry| entry.id).collect()
}

/// Both ends belong to the range.
pub async fn includes_both_ends(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = scene.append_many(10).await;
    assert_eq!(range(&scene, EntryId::ZERO, EntryId::MAX, 100, false).await, ids);
    assert_eq!(range(&scene, ids[2], ids[5], 100, false).await, ids[2..=5]);
    assert_eq!(range(&scene, ids[4], ids[4], 100, false).await, ids[4..=4]);
    assert_eq!(range(&scene, ids[9].next(), EntryId::MAX, 100, false).await, []);
}

/// The count bounds the answer from the end where it starts.
pub async fn starts_at_either_end(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = scene.append_many(10).await;
    assert_eq!(range(&scene, EntryId::ZERO, EntryId::MAX, 3, false).await, ids[..3]);
    assert_eq!(range(&scene, EntryId::ZERO, EntryId::MAX, 3, true).await, [ids[9], ids[8], ids[7]]);
    assert_eq!(range(&scene, ids[2], ids[5], 2, true).await, [ids[5], ids[4]]);
}

/// A stream that does not exist, and a range whose ends are the wrong way round, are empty.
pub async fn may_be_empty(broker: SharedBroker) {
    let scene = Scene::new(broker);
    assert_eq!(range(&scene, EntryId::ZERO, EntryId::MAX, 10, false).await, []);
    let ids = scene.append_many(3).await;
    assert_eq!(range(&scene, ids[2], ids[0], 10, false).await, []);
    assert_eq!(range(&scene, ids[2], ids[0], 10, true).await, []);
}
