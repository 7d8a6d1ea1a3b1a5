//! Sinks of messages, and the pipelines that end in one.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use streamerson_core::{BrokerError, Cursor, Message, SharedBroker, publisher::Outbound, wire::PAYLOAD_BYTES_MAX};

use super::scene::{Scene, event, messages, next, payload, text};
use crate::eventually;

async fn texts(scene: &Scene) -> Vec<String> {
    messages(&scene.broker, &scene.inbound()).await.iter().map(text).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// What is sent is appended in order, over many batches.
pub async fn keep_the_order(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut publisher = scene.broker.publisher(scene.inbound());
    let events: Vec<_> = numbers(3000).iter().map(|number| Ok(event(number))).collect();
    publisher.send_all(&mut stream::iter(events)).await.expect("published");
    assert_eq!(texts(&scene).await, numbers(3000));
}

/// A flush returns when all is appended; what is never flushed is appended later.
pub async fn confirm_with_a_flush(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut publisher = scene.broker.publisher(scene.inbound());
    publisher.flush().await.expect("there is nothing to wait for");
    for round in 1..=20 {
        publisher.feed(event("one of many")).await.expect("there is room");
        publisher.flush().await.expect("appended");
        assert_eq!(scene.len(&scene.inbound()).await, Some(round));
    }
    // What was not flushed is appended all the same.
    publisher.feed(event("the last")).await.expect("there is room");
    drop(publisher);
    eventually("the last one is appended", async || (scene.len(&scene.inbound()).await == Some(21)).then_some(()))
        .await;
}

/// A message that is too large is refused by itself.
pub async fn refuse_what_is_too_large(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut publisher = scene.broker.publisher(scene.inbound());
    let large = Message { payload: vec![b'x'; PAYLOAD_BYTES_MAX + 1].into(), ..event("") };
    let refused = publisher.send(large.clone()).await;
    assert!(matches!(&refused, Err(BrokerError::Refused { code, .. }) if &**code == "TOOLARGE"), "{refused:?}");
    publisher.send(event("small")).await.expect("the publisher goes on");
    assert_eq!(texts(&scene).await, ["small"]);

    let mut generous = scene.broker.publisher(scene.inbound()).with_payload_bytes_max(2 * PAYLOAD_BYTES_MAX);
    generous.send(large).await.expect("published");
}

/// Subscribe, map, forward: in order, and over when the source is.
pub async fn carry_a_pipeline(broker: SharedBroker) {
    let (input, output) = (Scene::new(broker.clone()), Scene::new(broker.clone()));
    input.emit_many(500).await;
    let subscription = broker.subscribe(input.inbound(), Cursor::Start);
    let control = subscription.control();
    let transform = |received: streamerson_core::subscription::Received| {
        event(&format!("{}!", text(&received.message().expect("a message"))))
    };
    let pipeline = subscription.map_ok(transform).forward(broker.publisher(output.inbound()));
    let end = async {
        eventually("all came through", async || (output.len(&output.inbound()).await == Some(500)).then_some(())).await;
        control.end();
    };
    let (outcome, ()) = futures_util::future::join(pipeline, end).await;
    outcome.expect("the pipeline ends when its source does");
    let expected: Vec<_> = numbers(500).iter().map(|number| format!("{number}!")).collect();
    assert_eq!(texts(&output).await, expected);
}

/// With a group as the source, nothing is acked before what came of it is appended.
pub async fn end_a_delivery_after_its_append(broker: SharedBroker) {
    let (input, output) = (Scene::new(broker.clone()), Scene::new(broker.clone()));
    let member = input.member().await;
    let stopper = member.stopper();
    let ids = input.emit_many(500).await;
    let transform = |held: streamerson_core::group::Held| {
        let message = event(&payload(&held));
        Ok::<Outbound, BrokerError>(held.forward(message))
    };
    let pipeline = member.map(transform).forward(broker.publisher(output.inbound()));
    let watch = async {
        eventually("all came through and are acked", async || {
            // In this order: what is acked by now was appended before.
            let acked = ids.len() - unfinished(&input).await;
            let appended = output.len(&output.inbound()).await.unwrap_or(0) as usize;
            assert!(appended >= acked, "{acked} are acked and {appended} appended");
            (acked == ids.len()).then_some(())
        })
        .await;
        stopper.stop();
    };
    let (outcome, ()) = futures_util::future::join(pipeline, watch).await;
    outcome.expect("the pipeline ends when its source does");
    assert_eq!(texts(&output).await, numbers(500));
}

/// How many entries the group has not acked.
async fn unfinished(scene: &Scene) -> usize {
    let groups = scene.broker.groups(&scene.inbound()).await.expect("the groups");
    let unread = groups[0].lag.unwrap_or(u64::MAX);
    usize::try_from(unread.saturating_add(groups[0].pending)).unwrap_or(usize::MAX).min(500)
}

/// A redelivery makes a message of the same id, so that it can be told.
pub async fn repeat_the_id_of_a_redelivery(broker: SharedBroker) {
    let (input, output) = (Scene::new(broker.clone()), Scene::new(broker.clone()));
    let mut member = input.member_with(|config| config.lease = Duration::from_millis(300)).await;
    input.emit(&["again and again"]).await;
    let mut publisher = broker.publisher(output.inbound());
    // One that is lost on its way is delivered again.
    let lost = next(&mut member).await;
    let id = lost.delivery.message.id.clone();
    drop(lost.forward(event("lost")));
    let held = next(&mut member).await;
    assert_eq!((&held.delivery.message.id, held.delivery.count), (&id, 2));
    publisher.send(held.forward(event("appended"))).await.expect("published");
    input.all_settled().await;
    let appended = messages(&broker, &output.inbound()).await;
    assert_eq!((appended.len(), &appended[0].id), (1, &id.derive(0)));
}
