//! Dead letters: found, tried again, dropped.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use streamerson_core::{
    EntryId, EventType, Fields, SharedBroker,
    broker::Append,
    dead_letter::{Dead, DeadLetter, DeadLetters, Filter, Order, Reason, ReplayError, Selection},
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

/// Appends so many dead letters at once, and then something that is none.
async fn bury_many(scene: &Scene, count: usize) -> Vec<EntryId> {
    let letter =
        |reason| DeadLetter::new(reason, "broken", scene.group.clone(), scene.group.clone(), EntryId::new(1, 1));
    let append = |fields| Append::new(scene.topic.dead(), fields);
    let mut batch = Vec::new();
    for number in 0..count {
        let reason = if number % 2 == 0 { Reason::Failed } else { Reason::Rejected };
        let mut fields = Fields::default();
        fields.push("m", format!("seen m{number} - -"));
        fields.push("p", number.to_string());
        batch.push(append(letter(reason).fields(&fields)));
    }
    let mut strange = Fields::default();
    strange.push("x", "no letter");
    batch.push(append(strange));
    let appended = scene.broker.append(batch).await;
    appended.into_iter().map(|appended| appended.expect("appended").id.expect("an id")).collect()
}

fn texts(letters: &[Dead]) -> Vec<String> {
    let text = |dead: &Dead| {
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

/// All that are wanted are found, in either order, however many pages there are.
pub async fn are_found_from_either_end(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let letters = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let found = async |filter: Filter, order| {
        let found: Vec<Dead> = letters.find(filter, order).try_collect().await.expect("all of them");
        found.into_iter().map(|dead| dead.id).collect::<Vec<_>>()
    };
    assert_eq!(found(Filter::default(), Order::OldestFirst).await, []);
    // Whole pages, and a part of one.
    for more in [199, 50] {
        bury_many(&scene, more).await;
        let all = found(Filter::default(), Order::OldestFirst).await;
        assert_eq!(all.len() as u64, letters.count().await.expect("a number"));
        assert!(all.is_sorted());
        let mut newest = found(Filter::default(), Order::NewestFirst).await;
        newest.reverse();
        assert_eq!(newest, all);
    }
    let mut rejected = Filter::default();
    rejected.reason = Some(Reason::Rejected);
    assert_eq!(found(rejected, Order::NewestFirst).await.len(), 99 + 25);
}

/// Each item says what became of one; what cannot be replayed stays, and what dies again meanwhile is left for the next
/// time.
pub async fn are_replayed_in_bulk(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = bury_many(&scene, 250).await;
    // The group is made.
    scene.member().await.leave(Duration::from_secs(5)).await;
    let letters = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let mut failed = Filter::default();
    failed.reason = Some(Reason::Failed);
    let mut replayed = letters.replay_all(failed.into(), None);
    let first = replayed.next().await.expect("an item").expect("a broker");
    assert_eq!((first.id, first.outcome.is_ok_and(|entry| entry.is_some())), (ids[0], true));
    // Nothing was done ahead of what is asked for.
    assert_eq!(letters.count().await.expect("a number"), 250);
    bury_many(&scene, 1).await;
    let rest: Vec<_> = replayed.try_collect().await.expect("all of them");
    assert_eq!(rest.len(), 124);
    assert_eq!(scene.len(&scene.inbound()).await, Some(125));
    assert_eq!(letters.count().await.expect("a number"), 125 + 1 + 2);

    let strange = ids[250];
    let some = Selection::Ids(vec![ids[0], ids[1], strange]);
    let outcomes: Vec<_> = letters.replay_all(some, None).try_collect().await.expect("all of them");
    assert_eq!(outcomes.iter().map(|replayed| replayed.id).collect::<Vec<_>>(), [ids[0], ids[1], strange]);
    assert!(matches!(&outcomes[0].outcome, Ok(None)), "it is gone: {outcomes:?}");
    assert!(matches!(&outcomes[1].outcome, Ok(Some(_))), "{outcomes:?}");
    assert!(matches!(&outcomes[2].outcome, Err(ReplayError::NoLetter(id)) if *id == strange), "{outcomes:?}");
    assert!(letters.get(strange).await.expect("a look").is_some());
}

/// Where the group is gone, the others would pass a replay by, and it would be lost.
pub async fn stay_when_their_group_is_gone(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = bury_many(&scene, 1).await;
    let other = scene.other_group();
    other.member().await.leave(Duration::from_secs(5)).await;
    let letters = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let dead = letters.get(ids[0]).await.expect("a look").expect("a dead letter");
    let is_for_nobody =
        |error: &ReplayError| matches!(error, ReplayError::NoGroup { group, .. } if *group == scene.group);
    assert!(letters.replay(&dead).await.is_err_and(|error| is_for_nobody(&error)));
    let one = || Selection::Ids(vec![ids[0]]);
    let replayed: Vec<_> = letters.replay_all(one(), None).try_collect().await.expect("an item");
    assert!(replayed[0].outcome.as_ref().is_err_and(is_for_nobody), "{replayed:?}");
    let checked: Vec<_> = letters.check_all(one()).try_collect().await.expect("an item");
    assert!(checked[0].outcome.as_ref().is_err_and(is_for_nobody), "{checked:?}");
    assert_eq!(scene.len(&scene.inbound()).await, Some(0));

    scene.member().await.leave(Duration::from_secs(5)).await;
    let checked: Vec<_> = letters.check_all(one()).try_collect().await.expect("an item");
    assert!(matches!(checked[0].outcome, Ok(true)), "{checked:?}");
    assert!(letters.replay(&dead).await.expect("replayed").is_some());
    let checked: Vec<_> = letters.check_all(one()).try_collect().await.expect("an item");
    assert!(matches!(checked[0].outcome, Ok(false)), "{checked:?}");
}

/// Those that are wanted go, and nothing else.
pub async fn are_dropped_in_bulk(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let ids = bury_many(&scene, 1200).await;
    let letters = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let drop = async |selection| {
        let dropped: Vec<_> = letters.drop_all(selection).try_collect().await.expect("all of them");
        dropped
            .iter()
            .map(|dropped| (dropped.ids.len() as u64, dropped.dropped))
            .fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    };
    let mut rejected = Filter::default();
    rejected.reason = Some(Reason::Rejected);
    assert_eq!(drop(rejected.into()).await, (600, 600));
    assert_eq!(drop(Selection::Ids(vec![ids[0], ids[1], ids[2]])).await, (3, 2));
    assert_eq!(letters.count().await.expect("a number"), 599);
    assert_eq!(drop(Filter::default().into()).await, (599, 599));
    assert_eq!(letters.count().await.expect("a number"), 0);
}
