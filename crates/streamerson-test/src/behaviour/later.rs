//! Events for later.

use std::time::Duration;

use streamerson_core::{MessageId, ScheduleId, SharedBroker, UnixMillis, client::CallError, group::Outcome};

use super::scene::{Scene, event, next, payload};
use crate::eventually;

const SOON: Duration = Duration::from_millis(200);

/// They come once each, in order, although two members look for what is due.
pub async fn come_once_and_in_order(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    for (text, after) in [("third", 3 * SOON), ("first", SOON), ("second", 2 * SOON)] {
        client.emit_after(&scene.topic, event(text), after).await.expect("scheduled");
    }
    let other_group = scene.other_group();
    let (mut member, _other) = (scene.member().await, other_group.member().await);
    for expected in ["first", "second", "third"] {
        let held = next(&mut member).await;
        assert_eq!(payload(&held), expected);
        held.settle(Outcome::Done).await;
    }
    scene.all_settled().await;
    assert_eq!(scene.len(&scene.inbound()).await, Some(3));
    let waiting = client.scheduled(&scene.topic, None, 10).await.expect("the schedule");
    assert_eq!((waiting.events, waiting.next), (vec![], None));
}

/// What waits can be listed, replaced and taken out.
pub async fn are_listed_replaced_and_cancelled(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    let at = |hours: u64| scene.broker.now().plus(Duration::from_secs(3600 * hours));
    let [early, late] = [event("early"), event("late")];
    client.emit_at(&scene.topic, late.clone(), at(2)).await.expect("scheduled");
    client.emit_at(&scene.topic, early.clone(), at(1)).await.expect("scheduled");
    let texts = async || {
        let waiting = client.scheduled(&scene.topic, None, 10).await.expect("the schedule").events;
        let text = |message: Option<streamerson_core::Message>| message.map(|message| message.payload);
        waiting.into_iter().map(|event| text(event.message).expect("a message")).collect::<Vec<_>>()
    };
    assert_eq!(texts().await, ["early", "late"]);
    // The same id at another time is the same event.
    client.emit_at(&scene.topic, early.clone(), at(3)).await.expect("scheduled");
    assert_eq!(texts().await, ["late", "early"]);
    let ids = vec![ScheduleId::from(&early.id), ScheduleId::from(&event("never sent").id)];
    let cancelled = client.cancel_scheduled(&scene.topic, ids).await.expect("cancelled");
    assert_eq!(cancelled, [ScheduleId::from(&early.id)], "the other never was there");
    assert_eq!(texts().await, ["late"]);
}

/// An event cannot take the schedule id of a group's next attempt, which it would replace.
pub async fn never_replace_a_retry(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    let mut member = scene.member_with(|config| config.retry_held_max = Duration::ZERO).await;
    scene.emit(&["again"]).await;
    let held = next(&mut member).await;
    let id = held.delivery.message.id.clone();
    held.settle(Outcome::Retried { after: SOON, error: "once more".into() }).await;
    let retry = MessageId::new(format!("retry/{}/{id}", scene.group)).expect("an id");
    let at = scene.broker.now().plus(Duration::from_secs(3600));
    let refused = client.emit_at(&scene.topic, event("instead").with_id(retry), at).await;
    assert!(matches!(refused, Err(CallError::Name(_))), "{refused:?}");
    let held = next(&mut member).await;
    assert_eq!((payload(&held), held.delivery.failures), ("again".into(), 1));
    held.settle(Outcome::Done).await;
}

/// What is due already comes at once.
pub async fn come_at_once_when_they_are_late(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.client().emit_at(&scene.topic, event("late"), UnixMillis(1)).await.expect("scheduled");
    let mut member = scene.member().await;
    let held = next(&mut member).await;
    assert_eq!(payload(&held), "late");
    held.settle(Outcome::Done).await;
    eventually("it is settled", async || scene.pending().await.is_empty().then_some(())).await;
}
