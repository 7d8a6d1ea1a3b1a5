//! No hole in a stream goes by in silence.

use futures_util::StreamExt;
use streamerson_core::{
    BrokerError, Cursor, EntryId, Fields, SharedBroker, Subscription,
    broker::{Append, TrimTo},
};

use super::scene::{Scene, entries};

/// The next item: an entry, or where a gap is and what the stream starts with after it.
async fn next(subscription: &mut Subscription) -> Result<EntryId, (EntryId, Option<EntryId>)> {
    match subscription.next().await.expect("it goes on") {
        Ok(received) => Ok(received.entry.id),
        Err(BrokerError::Gap { after, first, .. }) => Err((after, first)),
        Err(error) => panic!("{error}"),
    }
}

/// Trims at least some of the entries and answers the oldest that is left.
async fn trim(scene: &Scene, to: EntryId) -> EntryId {
    assert!(scene.broker.trim(&scene.inbound(), TrimTo::Before(to)).await.expect("trimmed") > 0);
    entries(&scene.broker, &scene.inbound()).await[0].id
}

/// A cursor that the trim has passed gets one gap, in front of what is left.
pub async fn are_told_after_a_trim(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = scene.emit_many(350).await;
    let first = trim(&scene, ids[310]).await;
    let mut subscription = scene.broker.subscribe(scene.inbound(), Cursor::After(ids[5]));
    assert_eq!(next(&mut subscription).await, Err((ids[5], Some(first))));
    assert_eq!(next(&mut subscription).await, Ok(first), "and then it goes on");
    let rest = ids.iter().filter(|id| **id > first);
    for id in rest {
        assert_eq!(next(&mut subscription).await, Ok(*id), "the gap is told once");
    }
}

/// A cursor that it has not passed gets none.
pub async fn are_not_told_without_a_hole(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = scene.emit_many(350).await;
    let first = trim(&scene, ids[310]).await;
    for (from, expected) in [(Cursor::After(first), first.next()), (Cursor::Start, first)] {
        let mut subscription = scene.broker.subscribe(scene.inbound(), from);
        assert!(next(&mut subscription).await.expect("no gap") >= expected);
    }
    // Who has had the last entry misses nothing, however little is left.
    let (before, last) = (ids[348], ids[349]);
    let mut subscription = scene.broker.subscribe(scene.inbound(), Cursor::After(before));
    assert_eq!(next(&mut subscription).await, Ok(last));
    scene.broker.trim(&scene.inbound(), TrimTo::Entries(0)).await.expect("trimmed");
    let new = scene.emit(&["new"]).await[0];
    assert_eq!(next(&mut subscription).await, Ok(new));
}

/// A stream that never came so far is another one.
pub async fn are_told_of_a_stream_made_anew(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let gone = scene.emit(&["gone"]).await[0].next();
    scene.broker.remove(vec![scene.inbound()]).await.expect("removed");
    let mut subscription = scene.broker.subscribe(scene.inbound(), Cursor::After(gone));
    assert_eq!(next(&mut subscription).await, Err((gone, None)));
    let new = scene.emit(&["new"]).await[0];
    assert_eq!(next(&mut subscription).await, Ok(new));
}

/// A subscriber that falls behind while it runs is told where the holes are.
pub async fn are_told_to_a_slow_subscriber(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let key = scene.inbound();
    let append = |number: u64| {
        let mut fields = Fields::default();
        fields.push("n", number.to_string());
        Append { entries_max: Some(1000), ..Append::new(key.clone(), fields) }
    };
    scene.broker.append(vec![append(0)]).await;
    let mut subscription = scene.broker.subscribe(key.clone(), Cursor::Start);
    next(&mut subscription).await.expect("the first");
    // Then the subscriber sleeps through far more than it may leave unread, appended little by little.
    const COUNT: u64 = 6000;
    for number in (1..COUNT).step_by(10) {
        scene.broker.append((number..number + 10).map(append).collect()).await;
    }
    let (mut expected, mut gaps, mut after_gap) = (1, 0, false);
    while expected < COUNT {
        match subscription.next().await.expect("it goes on") {
            Ok(received) => {
                let number = received.entry.fields.get(b"n").expect("the number");
                let number: u64 = String::from_utf8_lossy(number).parse().expect("a number");
                assert!(number == expected || after_gap && number > expected, "{number} after {expected} in silence");
                (expected, after_gap) = (number + 1, false);
            }
            Err(BrokerError::Gap { .. }) => (gaps, after_gap) = (gaps + 1, true),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(gaps > 0, "not all can have been kept");
}
