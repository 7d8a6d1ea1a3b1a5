//! The life of an inbox.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use streamerson_core::{Reply, SharedBroker, StreamKey, group::Outcome};

use super::scene::{Scene, Worker, inbox_of, request};
use crate::eventually;

/// A member that answers, and notes where the last reply went.
async fn noting(scene: &Scene) -> (Worker, impl Fn() -> StreamKey) {
    let noted = Arc::new(Mutex::new(None));
    let (note, member) = (noted.clone(), scene.member().await);
    let topic = scene.clone();
    let worker = Worker::start(member, move |held| {
        *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(inbox_of(&topic, held));
        Outcome::Replied(Reply::new("!"))
    });
    (worker, move || noted.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("a request was answered"))
}

/// Replies that were read do not stay.
pub async fn are_trimmed_behind_the_reader(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (worker, inbox) = noting(&scene).await;
    let client = scene.client();
    for _ in 0..6 {
        let calls = (0..100).map(|_| client.request(&scene.topic, request("?")));
        for reply in futures_util::future::join_all(calls).await {
            reply.expect("a reply");
        }
    }
    // A broker may keep a little more than asked.
    eventually("the inbox is trimmed", async || (scene.len(&inbox()).await < Some(200)).then_some(())).await;
    assert!(scene.len(&inbox()).await.is_some(), "and is still there");
    client.request(&scene.topic, request("?")).await.expect("a reply");
    worker.stop().await;
}

/// A closed client leaves no inbox behind.
pub async fn go_with_their_client(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (worker, inbox) = noting(&scene).await;
    let client = scene.client();
    client.request(&scene.topic, request("?")).await.expect("a reply");
    assert!(scene.len(&inbox()).await.is_some());
    client.close().await;
    assert_eq!(scene.len(&inbox()).await, None);
    worker.stop().await;
}

/// Neither does one whose last clone is dropped.
pub async fn go_with_the_last_clone(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (worker, inbox) = noting(&scene).await;
    let client = scene.client();
    let clone = client.clone();
    client.request(&scene.topic, request("?")).await.expect("a reply");
    drop(client);
    clone.request(&scene.topic, request("?")).await.expect("a reply, as one clone is left");
    drop(clone);
    eventually("the inbox is removed", async || scene.len(&inbox()).await.is_none().then_some(())).await;
    worker.stop().await;
}

/// An inbox that the server lost, over the same connection, is made again with a later request.
pub async fn are_made_again_when_lost(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (worker, inbox) = noting(&scene).await;
    let client = scene.client().with_timeout(Duration::from_millis(500));
    client.request(&scene.topic, request("?")).await.expect("a reply");
    let lost = inbox();
    scene.broker.remove(vec![lost.clone()]).await.expect("removed");
    // A call or two time out, which is how the client learns of it; the refresh would be half a minute away.
    eventually("replies come again", async || client.request(&scene.topic, request("?")).await.ok()).await;
    assert_eq!(inbox(), lost, "it is the same inbox");
    worker.stop().await;
}
