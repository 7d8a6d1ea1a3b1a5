//! The life of an inbox: made, kept, gone by itself, made again.

use std::time::Duration;

use streamerson_core::{
    Name, SharedBroker, StreamKey,
    broker::{Append, Keep},
};

use super::scene::{FOREVER, Scene, append_to, entries, fields, texts};
use crate::eventually;

const SHORT: Duration = Duration::from_millis(80);

async fn gone(scene: &Scene, key: &StreamKey) {
    eventually("the stream to go", async || (!scene.exists(key).await).then_some(())).await;
}

/// Keeping makes an empty stream that replies can be appended to.
pub async fn is_made_empty(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let inbox = scene.topic.inbox(&Name::unique());
    assert!(!scene.exists(&inbox).await);
    scene.keep(&inbox, FOREVER).await;
    assert!(scene.exists(&inbox).await);
    assert_eq!(entries(&broker, &inbox).await, []);
    let reply = Append { only_if_exists: true, ..Append::new(inbox.clone(), fields("reply")) };
    assert!(broker.append(vec![reply]).await.remove(0).expect("appended").id.is_some());
}

/// A stream that nobody keeps goes in its time, with what it holds; then it swallows.
pub async fn goes_by_itself(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let inbox = scene.topic.inbox(&Name::unique());
    scene.keep(&inbox, SHORT).await;
    append_to(&broker, &inbox, "reply").await;
    gone(&scene, &inbox).await;
    let late = Append { only_if_exists: true, ..Append::new(inbox.clone(), fields("late")) };
    assert_eq!(broker.append(vec![late]).await.remove(0).expect("no error").id, None);
    scene.keep(&inbox, FOREVER).await;
    assert_eq!(entries(&broker, &inbox).await, [], "made again, it starts empty");
}

/// Keeping again starts the clock again, and loses nothing.
pub async fn is_refreshed(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let (inbox, mark) = (scene.topic.inbox(&Name::unique()), scene.topic.inbox(&Name::unique()));
    scene.keep(&inbox, FOREVER).await;
    append_to(&broker, &inbox, "reply").await;
    scene.keep(&inbox, SHORT).await;
    scene.keep(&inbox, FOREVER).await;
    // Kept later and for as long as the inbox was at first: once it is gone, the first time is over.
    scene.keep(&mark, SHORT).await;
    gone(&scene, &mark).await;
    assert_eq!(texts(&entries(&broker, &inbox).await), ["reply"]);
}

/// The last word on how long counts, also when it is the shorter one.
pub async fn takes_the_last_word(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let inbox = scene.topic.inbox(&Name::unique());
    scene.keep(&inbox, FOREVER).await;
    scene.keep(&inbox, SHORT).await;
    gone(&scene, &inbox).await;
}

/// Several streams are kept and removed in one call; removing what is not there is no error.
pub async fn is_removed(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let keys: Vec<_> = (0..5).map(|_| scene.topic.inbox(&Name::unique())).collect();
    let keep = |key: &StreamKey| Keep { key: key.clone(), ttl: FOREVER, unless_epoch: None };
    broker.keep(keys.iter().map(keep).collect()).await.expect("kept");
    for key in &keys {
        assert!(scene.exists(key).await);
    }
    broker.remove(keys[1..].to_vec()).await.expect("removed");
    broker.remove(keys[1..].to_vec()).await.expect("no error");
    assert!(scene.exists(&keys[0]).await);
    for key in &keys[1..] {
        assert!(!scene.exists(key).await);
    }
    broker.remove(Vec::new()).await.expect("no error");
    broker.keep(Vec::new()).await.expect("no error");
}

/// A request can bring its inbox along: made in the step of the append, and kept.
pub async fn is_made_with_a_request(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let (inbox, mark) = (scene.topic.inbox(&Name::unique()), scene.topic.inbox(&Name::unique()));
    let request = |ttl| {
        let keep = Keep { key: inbox.clone(), ttl, unless_epoch: None };
        Append { keep: Some(keep), ..Append::new(scene.key.clone(), fields("request")) }
    };
    assert!(broker.append(vec![request(SHORT), request(FOREVER)]).await.iter().all(Result::is_ok));
    scene.keep(&mark, SHORT).await;
    gone(&scene, &mark).await;
    assert!(scene.exists(&inbox).await, "the second request kept it");
    assert_eq!(scene.len().await, 2);

    broker.remove(vec![inbox.clone()]).await.expect("removed");
    assert!(broker.append(vec![request(SHORT)]).await[0].is_ok());
    assert!(scene.exists(&inbox).await, "made again");
    gone(&scene, &inbox).await;
}

/// What only a new connection must do again is not done on the one that is confirmed.
pub async fn is_left_alone_on_the_same_connection(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    scene.append("to be connected").await;
    let epoch = broker.epoch();
    let keep = |unless_epoch| {
        let key = scene.topic.inbox(&Name::unique());
        Keep { key, ttl: FOREVER, unless_epoch: Some(unless_epoch) }
    };
    let (same, other) = (keep(epoch), keep(epoch + 1));
    broker.keep(vec![same.clone(), other.clone()]).await.expect("kept");
    assert!(!scene.exists(&same.key).await);
    assert!(scene.exists(&other.key).await);

    let (same, other) = (keep(epoch), keep(epoch + 1));
    let request =
        |keep: &Keep| Append { keep: Some(keep.clone()), ..Append::new(scene.key.clone(), fields("request")) };
    assert!(broker.append(vec![request(&same), request(&other)]).await.iter().all(Result::is_ok));
    assert!(!scene.exists(&same.key).await);
    assert!(scene.exists(&other.key).await);
}
