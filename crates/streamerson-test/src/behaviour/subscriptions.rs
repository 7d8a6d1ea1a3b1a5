//! Every entry of some streams, for whoever wants them.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use streamerson_core::{Cursor, EntryId, SharedBroker, Subscription, subscription::Received};
use tokio::time::timeout;

use super::scene::{Scene, append, event, text};

/// What comes next, which is no error.
async fn next(subscription: &mut Subscription) -> Received {
    subscription.next().await.expect("it goes on").expect("an entry")
}

async fn next_text(subscription: &mut Subscription) -> String {
    text(&next(subscription).await.message().expect("a message"))
}

/// Every entry, in order, over many reads.
pub async fn keep_the_order(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut ids = scene.emit_many(600).await;
    let mut subscription = scene.broker.subscribe(scene.inbound(), Cursor::Start);
    for (number, id) in ids.drain(..).enumerate() {
        let received = next(&mut subscription).await;
        assert_eq!((received.key.clone(), received.entry.id), (scene.inbound(), id));
        assert_eq!(text(&received.message().expect("a message")), number.to_string());
    }
    let late = scene.emit(&["late"]).await[0];
    assert_eq!(next(&mut subscription).await.entry.id, late);
}

/// Many streams at once, each in its own order.
pub async fn read_many_streams(broker: SharedBroker) {
    let scenes = [(); 20].map(|()| Scene::new(broker.clone()));
    let mut subscription = broker.subscribe(scenes[0].inbound(), Cursor::Start);
    for scene in &scenes[1..] {
        subscription = subscription.and(scene.inbound(), Cursor::Start);
    }
    for scene in &scenes {
        scene.emit_many(10).await;
    }
    let mut expected = [0; 20];
    for _ in 0..200 {
        let received = next(&mut subscription).await;
        let index = scenes.iter().position(|scene| scene.inbound() == received.key).expect("one of the streams");
        assert_eq!(text(&received.message().expect("a message")), expected[index].to_string());
        expected[index] += 1;
    }
}

/// Streams come and go while it runs, at once.
pub async fn follow_changes(broker: SharedBroker) {
    let (one, other) = (Scene::new(broker.clone()), Scene::new(broker.clone()));
    let mut subscription = broker.subscribe(one.inbound(), Cursor::Start);
    let control = subscription.control();
    one.emit(&["from the one"]).await;
    assert_eq!(next_text(&mut subscription).await, "from the one");

    // The read that waits for the one alone must not hold up the other: it lasts longer than this.
    control.add(other.inbound(), Cursor::Start);
    other.emit(&["from the other"]).await;
    let added = timeout(Duration::from_secs(1), next_text(&mut subscription)).await;
    assert_eq!(added.expect("at once"), "from the other");

    one.emit(&["never taken"]).await;
    control.remove(&one.inbound());
    assert_eq!(control.cursor(&one.inbound()), None);
    other.emit(&["goes on"]).await;
    assert_eq!(next_text(&mut subscription).await, "goes on");
}

/// The cursor follows what was taken, not what was read.
pub async fn resume_at_their_cursor(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = scene.emit_many(10).await;
    let mut first = scene.broker.subscribe(scene.inbound(), Cursor::Start);
    let control = first.control();
    assert_eq!(control.cursor(&scene.inbound()), None);
    for _ in 0..4 {
        next(&mut first).await;
    }
    // All ten were read; four were taken.
    let cursor = control.cursor(&scene.inbound());
    assert_eq!(cursor, Some(ids[3]));
    drop(first);
    let mut second = scene.broker.subscribe(scene.inbound(), Cursor::After(ids[3]));
    for id in &ids[4..] {
        assert_eq!(next(&mut second).await.entry.id, *id);
    }
}

/// What was there before is not seen.
pub async fn start_at_the_end(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit(&["long ago"]).await;
    let mut subscription = scene.broker.subscribe(scene.inbound(), Cursor::End);
    // When exactly it began to listen cannot be seen from here.
    let received = loop {
        scene.emit(&["new"]).await;
        if let Ok(text) = timeout(Duration::from_millis(50), next_text(&mut subscription)).await {
            break text;
        }
    };
    assert_eq!(received, "new");
}

/// It ends when it is told to, at once.
pub async fn end_when_told(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut subscription = scene.broker.subscribe(scene.inbound(), Cursor::Start);
    let control = subscription.control();
    scene.emit(&["the last"]).await;
    assert_eq!(next_text(&mut subscription).await, "the last");
    assert!(subscription.next().now_or_never().is_none());
    control.end();
    // Sooner than the read that waits would end by itself.
    let end = timeout(Duration::from_secs(1), subscription.next()).await.expect("at once");
    assert!(end.is_none());

    let mut empty = scene.broker.subscribe(scene.inbound(), Cursor::End);
    empty.control().remove(&scene.inbound());
    empty.control().end();
    assert!(empty.next().await.is_none(), "also without a stream to read");
}

/// A stream that is added again starts there, and nothing read for its first start comes in between.
pub async fn start_again_without_old_entries(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = scene.emit_many(5).await;
    let mut subscription = scene.broker.subscribe(scene.inbound(), Cursor::Start);
    next(&mut subscription).await;
    // Four more of the first start lie ready, and are taken by nobody.
    subscription.control().add(scene.inbound(), Cursor::After(ids[0]));
    let mut again = Vec::new();
    for _ in 0..4 {
        again.push(next(&mut subscription).await.entry.id);
    }
    assert_eq!(again, ids[1..]);
    subscription.control().add(scene.inbound(), Cursor::After(EntryId::ZERO));
    let last = append(&scene.broker, &scene.inbound(), [event("marker")]).await[0];
    let mut again = Vec::new();
    while again.last() != Some(&last) {
        again.push(next(&mut subscription).await.entry.id);
    }
    assert_eq!(again, [&ids[..], &[last]].concat(), "each once");
}
