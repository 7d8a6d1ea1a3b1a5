//! Dead letters: found, tried again, dropped.

use std::time::Duration;

use futures_util::FutureExt;
use streamerson_core::{
    EventType, Fields, SharedBroker,
    broker::Append,
    dead_letter::{DeadLetters, Filter, Reason, ReplayError},
    group::Outcome,
};

use super::scene::{Scene, next, payload};

fn dead(reason: Reason, error: &str) -> Outcome {
    Outcome::Dead { reason, error: error.to_owned(), reply: None }
}

async fn bury(scene: &Scene, letters: &[(&str, Reason, &str)]) {
    let mut member = scene.member().await;
    for (text, reason, error) in letters {
        scene.emit(&[text]).await;
        let held = next(&mut member).await;
        held.settle(dead(*reason, error)).await;
        scene.all_settled().await;
    }
    member.leave(Duration::from_secs(5)).await;
}

fn texts(letters: &[streamerson_core::dead_letter::Dead]) -> Vec<String> {
    let text = |dead: &streamerson_core::dead_letter::Dead| {
        let message = dead.message.as_ref().expect("a message");
        String::from_utf8(message.payload.to_vec()).expect("text")
    };
    letters.iter().map(text).collect()
}

/// A filter wants what all of it holds for.
pub async fn are_found_by_what_they_say(broker: SharedBroker) {
    let scene = Scene::new(broker);
    bury(
        &scene,
        &[("a", Reason::Failed, "the disk is Full"), ("b", Reason::Panicked, "full"), ("c", Reason::Failed, "else")],
    )
    .await;
    let letters = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let found = async |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        let page = letters.first_page(&filter).await.expect("a page");
        assert_eq!(page.next, None);
        texts(&page.letters)
    };
    assert_eq!(found(|_| {}).await, ["a", "b", "c"]);
    assert_eq!(found(|filter| filter.reason = Some(Reason::Failed)).await, ["a", "c"]);
    assert_eq!(found(|filter| filter.error = Some("FULL".into())).await, ["a", "b"]);
    let both = |filter: &mut Filter| {
        filter.error = Some("full".into());
        filter.reason = Some(Reason::Failed);
    };
    assert_eq!(found(both).await, ["a"]);
    assert_eq!(found(|filter| filter.event = EventType::new("nothing.such").ok()).await, [""; 0]);
    assert_eq!(found(|filter| filter.older_than = Some(Duration::from_secs(3600))).await, [""; 0]);
    assert_eq!(found(|filter| filter.younger_than = Some(Duration::from_secs(3600))).await, ["a", "b", "c"]);
    assert_eq!(letters.count().await.expect("a number"), 3);
}

/// A replay is for the group that gave up, and only one of many takes effect.
pub async fn are_replayed_once_for_their_group(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let elsewhere = scene.other_group();
    let mut other = elsewhere.member().await;
    bury(&scene, &[("again", Reason::Failed, "broken")]).await;
    let held = next(&mut other).await;
    held.settle(Outcome::Done).await;

    let letters = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let page = letters.first_page(&Filter::default()).await.expect("a page");
    let dead = &page.letters[0];
    let replay = async || letters.replay(dead).await.expect("replayed");
    let (one, two, three) = futures_util::future::join3(replay(), replay(), replay()).await;
    let entries: Vec<_> = [one, two, three].into_iter().flatten().collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(letters.get(dead.id).await.expect("a look"), None);

    let mut member = scene.member().await;
    let held = next(&mut member).await;
    assert_eq!((payload(&held), held.delivery.entry), ("again".into(), entries[0]));
    let message = &held.delivery.message;
    assert_eq!(Some(&message.id), dead.message.as_ref().map(|message| &message.id));
    assert_eq!(message.headers.get("replayed"), Some(&*dead.id.to_string()));
    held.settle(Outcome::Done).await;
    scene.all_settled().await;
    elsewhere.all_settled().await;
    assert!(other.next().now_or_never().is_none(), "the other group has had it");
}

/// What is dropped is gone; what is no message can only be dropped.
pub async fn are_dropped(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut fields = Fields::default();
    fields.push("x", "no message");
    scene.broker.append(vec![Append::new(scene.inbound(), fields.clone())]).await.remove(0).expect("appended");
    bury(&scene, &[("kept", Reason::Failed, "broken")]).await;
    scene.all_settled().await;
    let letters = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let mut malformed = Filter::default();
    malformed.reason = Some(Reason::Malformed);
    let page = letters.first_page(&malformed).await.expect("a page");
    let [dead] = &page.letters[..] else { panic!("{page:?}") };
    assert_eq!(dead.original, fields);
    assert!(matches!(letters.replay(dead).await, Err(ReplayError::Malformed(id)) if id == dead.id));
    assert_eq!(letters.drop(vec![dead.id, dead.id]).await.expect("dropped"), 1);
    let page = letters.first_page(&Filter::default()).await.expect("a page");
    assert_eq!(texts(&page.letters), ["kept"]);
}
