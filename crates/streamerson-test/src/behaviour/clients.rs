//! Clients as a whole: events, many topics, many clients, bounds, the end.

use std::time::Duration;

use futures_util::future::{join, join_all};
use streamerson_core::{SharedBroker, client::CallError, group::Outcome};

use super::scene::{Scene, Worker, entries, event, messages, next, request};
use crate::eventually;

/// An event is in the stream when the call returns, under the id that it answers.
pub async fn send_events(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    let first = client.emit(&scene.topic, event("one")).await.expect("emitted");
    let second = client.topic(&scene.topic).emit("happened", "two").await.expect("emitted");
    let held = entries(&scene.broker, &scene.inbound()).await;
    assert_eq!(held.iter().map(|entry| entry.id).collect::<Vec<_>>(), [first.entry, second.entry]);
    let held = messages(&scene.broker, &scene.inbound()).await;
    assert_eq!((&held[0].id, &held[1].id), (&first.id, &second.id));
    assert_eq!((&held[0].payload[..], &held[1].payload[..]), (&b"one"[..], &b"\"two\""[..]));
    assert!(held.iter().all(|message| message.inbox.is_none() && message.deadline.is_none()));
}

/// The client's reader would wait for half a minute, the call gives up long before.
fn patient_reader(scene: &Scene) -> streamerson_core::Client {
    scene.client_with(|config| config.block = Duration::from_secs(30))
}

/// The first call on a new topic does not wait for the end of the read that knows only the others.
pub async fn reach_a_new_topic_at_once(broker: SharedBroker) {
    let scenes = [(); 5].map(|()| Scene::new(broker.clone()));
    let client = patient_reader(&scenes[0]);
    for scene in &scenes {
        let worker = scene.echo().await;
        let reply = client.request(&scene.topic, request("new here")).await.expect("a reply before the read ends");
        assert_eq!(reply.payload, "new here");
        worker.stop().await;
    }
    client.close().await;
}

/// The same for a topic that so far only had events, whose replies nobody reads yet.
pub async fn reach_a_topic_that_only_had_events(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = patient_reader(&scene);
    let worker = scene.echo().await;
    for scene in [scene.clone(), scene.other_topic()] {
        client.emit(&scene.topic, event("no reply wanted")).await.expect("emitted");
        let second = scene.echo().await;
        client.request(&scene.topic, request("a reply wanted")).await.expect("a reply before the read ends");
        second.stop().await;
    }
    client.close().await;
    worker.stop().await;
}

/// Many clients on one topic: each gets its own replies.
pub async fn share_a_topic(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let worker = scene.echo().await;
    let ask = |client: streamerson_core::Client, name: String| {
        let topic = scene.topic.clone();
        async move {
            let reply = client.request(&topic, request(&name)).await.expect("a reply");
            assert_eq!(reply.payload, name, "each client gets its own replies");
        }
    };
    let calls = (0..5).flat_map(|number| {
        let client = scene.client();
        (0..40).map(move |call| (client.clone(), format!("{number}/{call}")))
    });
    join_all(calls.map(|(client, name)| ask(client, name))).await;
    worker.stop().await;
}

/// Entries that nobody handles are bounded; when they are handled there is room again.
pub async fn refuse_a_full_backlog(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client_with(|config| config.backlog_max = 10);
    for _ in 0..10 {
        client.emit(&scene.topic, event("fits")).await.expect("emitted");
    }
    let event_refused = client.emit(&scene.topic, event("does not fit")).await;
    assert!(matches!(event_refused, Err(CallError::Overloaded(_))), "{event_refused:?}");
    let request_refused = client.request(&scene.topic, request("does not fit")).await;
    assert!(matches!(request_refused, Err(CallError::Overloaded(_))), "{request_refused:?}");
    assert_eq!(scene.len(&scene.inbound()).await, Some(10));

    let worker = Worker::start(scene.member().await, |_| Outcome::Done);
    eventually("there is room again", async || client.emit(&scene.topic, event("fits")).await.ok()).await;
    worker.stop().await;
}

/// A closed client fails what waits, and what comes.
pub async fn fail_what_waits_when_closed(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (client, mut member) = (scene.client(), scene.member().await);
    let close = async {
        next(&mut member).await.settle(Outcome::Expired).await;
        client.close().await;
    };
    let (waiting, ()) = join(client.request(&scene.topic, request("?")), close).await;
    assert!(matches!(waiting, Err(CallError::Closed)), "{waiting:?}");
    let late = client.request(&scene.topic, request("?")).await;
    assert!(matches!(late, Err(CallError::Closed)), "{late:?}");
    let late = client.emit(&scene.topic, event("!")).await;
    assert!(matches!(late, Err(CallError::Closed)), "{late:?}");
    client.close().await;
}
