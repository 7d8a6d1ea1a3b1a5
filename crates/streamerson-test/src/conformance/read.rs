//! Reading streams by cursor.

use std::time::{Duration, Instant};

use streamerson_core::{
    EntryId, SharedBroker, StreamKey, Topic,
    broker::{Reader, StreamRead, TrimTo},
};
use tokio::time::timeout;

use super::scene::{AT_ONCE, FOREVER, Scene, append_to, entries, texts};

/// Short enough to wait for, long enough to be told from "at once".
const BLOCK: Duration = Duration::from_millis(100);

async fn read(reader: &mut dyn Reader, key: &StreamKey, after: EntryId, count: usize) -> Vec<EntryId> {
    let found = reader.read(&[(key.clone(), after)], count, AT_ONCE).await.expect("a read");
    assert!(found.len() <= 1, "one cursor, one answer: {found:?}");
    found.into_iter().flat_map(|found| found.entries).map(|entry| entry.id).collect()
}

/// A reader gets what lies after its cursor, in order, as much as it asks for.
pub async fn resumes_after_its_cursor(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let ids = scene.append_many(10).await;
    let mut reader = broker.reader();
    assert_eq!(read(&mut *reader, &scene.key, EntryId::ZERO, 4).await, ids[..4]);
    assert_eq!(read(&mut *reader, &scene.key, ids[3], 4).await, ids[4..8]);
    assert_eq!(read(&mut *reader, &scene.key, ids[7], 4).await, ids[8..]);
    assert_eq!(read(&mut *reader, &scene.key, ids[9], 4).await, []);
    let late = scene.append("late").await;
    assert_eq!(read(&mut *reader, &scene.key, ids[9], 4).await, [late]);
}

/// One read may cover many streams; each answer names its cursor, and the count is for each stream.
pub async fn covers_many_streams(broker: SharedBroker) {
    let scenes: Vec<_> = (0..100).map(|_| Scene::new(broker.clone())).collect();
    let mut cursors = Vec::new();
    for (number, scene) in scenes.iter().enumerate() {
        // Every third stream stays missing.
        if number % 3 != 0 {
            scene.append_many(3).await;
        }
        cursors.push((scene.key.clone(), EntryId::ZERO));
    }
    let mut found = broker.reader().read(&cursors, 2, AT_ONCE).await.expect("a read");
    found.sort_by_key(|found| found.index);
    let indexes: Vec<_> = found.iter().map(|found| found.index).collect();
    assert_eq!(indexes, (0..100).filter(|number| number % 3 != 0).collect::<Vec<_>>());
    assert!(found.iter().all(|found| texts(&found.entries) == ["0", "1"]), "{found:?}");
}

/// With nothing to read, a read ends after its block, empty.
pub async fn ends_after_its_block(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let last = scene.append("old").await;
    let missing = scene.topic.outbound();
    let mut reader = broker.reader();
    for cursors in [vec![(scene.key.clone(), last)], vec![(missing.clone(), EntryId::ZERO)], vec![]] {
        let started = Instant::now();
        assert_eq!(reader.read(&cursors, 10, BLOCK).await.expect("a read"), [], "{cursors:?}");
        assert!(started.elapsed() >= BLOCK / 2, "{cursors:?}: {:?} is no wait", started.elapsed());
    }
}

/// A block of less than a millisecond is short, not endless.
pub async fn takes_a_tiny_block_for_a_short_one(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let read = async |block| broker.reader().read(&[(scene.key.clone(), EntryId::ZERO)], 1, block).await;
    for block in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(999)] {
        let found = timeout(Duration::from_secs(10), read(block)).await.expect("an end");
        assert_eq!(found.expect("a read"), []);
    }
}

/// A waiting read ends as soon as there is something, in any of its streams, made before or not.
pub async fn wakes_for_new_entries(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let last = scene.append("old").await;
    let made_later = scene.topic.outbound();
    let mut reader = broker.reader();
    let mut cursors = [(scene.key.clone(), last), (made_later.clone(), EntryId::ZERO)];
    for round in 0..20 {
        let index = round % 2;
        let key = cursors[index].0.clone();
        // The read is polled first, so it is on its way before the append is.
        let (found, id) = tokio::join!(biased; reader.read(&cursors, 10, FOREVER), append_to(&broker, &key, "new"));
        let found = found.expect("a read");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].index, found[0].entries[0].id), (index, id));
        cursors[index].1 = id;
    }
}

/// A waker ends the read that waits, and then the reader can be called with other streams.
pub async fn can_be_woken(broker: SharedBroker) {
    let (scene, other) = (Scene::new(broker.clone()), Scene::new(broker.clone()));
    let mut reader = broker.reader();
    let waker = reader.waker();
    for _ in 0..20 {
        let cursors = [(scene.key.clone(), EntryId::ZERO)];
        let (found, ()) = tokio::join!(biased; reader.read(&cursors, 10, FOREVER), async { waker.wake() });
        assert_eq!(found.expect("a read"), []);
    }
    let id = other.append("here").await;
    assert_eq!(read(&mut *reader, &other.key, EntryId::ZERO, 10).await, [id]);
}

/// Waking a reader that does not wait ends its next read, once, however often it was woken.
pub async fn remembers_one_wake(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let cursors = [(scene.key.clone(), EntryId::ZERO)];
    let mut reader = broker.reader();
    let waker = reader.waker();
    waker.wake();
    waker.wake();
    assert_eq!(reader.read(&cursors, 10, FOREVER).await.expect("a read"), []);
    let started = Instant::now();
    assert_eq!(reader.read(&cursors, 10, BLOCK).await.expect("a read"), []);
    assert!(started.elapsed() >= BLOCK / 2, "the second wake ended a second read");
}

/// A read may be dropped while it waits; the next one gets its own answer and misses nothing.
pub async fn survives_a_dropped_read(broker: SharedBroker) {
    let (scene, other) = (Scene::new(broker.clone()), Scene::new(broker.clone()));
    let mut reader = broker.reader();
    let mut after = EntryId::ZERO;
    for _ in 0..5 {
        let cursors = [(scene.key.clone(), after)];
        let dropped = timeout(Duration::from_millis(10), reader.read(&cursors, 10, FOREVER)).await;
        assert!(dropped.is_err(), "nothing to read yet: {dropped:?}");
        let id = scene.append("new").await;
        assert_eq!(read(&mut *reader, &other.key, EntryId::ZERO, 10).await, [], "the answer of another read");
        let found = reader.read(&cursors, 10, FOREVER).await.expect("a read");
        assert_eq!(found.iter().flat_map(|found| &found.entries).map(|entry| entry.id).collect::<Vec<_>>(), [id]);
        after = id;
    }
}

/// A reader behind the first entry goes on at the first one, and what is known of the stream shows the gap.
pub async fn shows_a_gap(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let ids = scene.append_many(1000).await;
    broker.trim(&scene.key, TrimTo::Entries(100)).await.expect("trimmed");
    let left = entries(&broker, &scene.key).await;
    assert!(left.len() < 1000, "nothing was trimmed");
    let first = left[0].id;
    assert_eq!(read(&mut *broker.reader(), &scene.key, ids[0], 1).await, [first]);
    let info = broker.stream_info(&scene.key).await.expect("an answer").expect("a stream");
    assert_eq!(info.first, Some(first));
    assert!(ids[0].next() < first, "the gap can be told from a cursor that is up to date");
}

/// A stream that was removed and made again is read on by the same reader.
pub async fn follows_a_stream_made_again(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    scene.append("before").await;
    let mut reader = broker.reader();
    broker.remove(vec![scene.key.clone()]).await.expect("removed");
    assert_eq!(read(&mut *reader, &scene.key, EntryId::ZERO, 10).await, []);
    let id = scene.append("after").await;
    assert_eq!(read(&mut *reader, &scene.key, EntryId::ZERO, 10).await, [id]);
}

/// Ten thousand topics cost a batch and a read.
pub async fn covers_ten_thousand_topics(broker: SharedBroker) {
    let prefix = streamerson_core::Name::unique();
    let keys: Vec<StreamKey> =
        (0..10_000).map(|number| Topic::new(&format!("{prefix}:t{number}")).expect("a topic").inbound()).collect();
    let batch = keys
        .iter()
        .enumerate()
        .map(|(number, key)| {
            streamerson_core::broker::Append::new(key.clone(), super::scene::fields(&number.to_string()))
        })
        .collect();
    let ids: Vec<_> =
        broker.append(batch).await.into_iter().map(|answer| answer.expect("appended").id.expect("an id")).collect();

    let cursors: Vec<_> = keys.iter().map(|key| (key.clone(), EntryId::ZERO)).collect();
    let mut reader = broker.reader();
    let mut found: Vec<StreamRead> = reader.read(&cursors, 10, AT_ONCE).await.expect("a read");
    found.sort_by_key(|found| found.index);
    assert_eq!(found.len(), keys.len());
    for (number, (found, id)) in found.iter().zip(ids).enumerate() {
        assert_eq!((found.index, found.entries[0].id), (number, id));
        assert_eq!(texts(&found.entries), [number.to_string()]);
    }
}
