//! Taking over what nobody renews.

use std::time::Duration;

use streamerson_core::{
    EntryId, SharedBroker,
    broker::{ReplyAppend, Settlement, TrimTo},
    dead_letter::{DeadLetter, Reason},
};

use super::scene::{FOREVER, Scene, entries, fields, ids, texts};
use crate::eventually;

const LEASE: Duration = Duration::from_millis(100);

/// Nothing is taken before its lease ends; then all of it is, with the entries, and each taking counts.
pub async fn takes_what_is_idle(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (_dead, held) = scene.holder(3).await;
    let heir = scene.member();
    assert_eq!(heir.reclaim(FOREVER).await.0, [], "nobody was idle for so long");
    let taken = eventually("the end of the lease", async || {
        let (taken, _) = heir.reclaim(LEASE).await;
        (!taken.is_empty()).then_some(taken)
    })
    .await;
    assert!(taken.iter().all(|delivery| delivery.count == 2), "{taken:?}");
    let found: Vec<_> = taken.iter().map(|delivery| delivery.entry.clone()).collect();
    assert_eq!(texts(&found), ["0", "1", "2"]);
    assert_eq!(ids(&taken), held);
    assert!(scene.pending().await.iter().all(|entry| entry.member == heir.name() && entry.count == 2));
    assert_eq!(scene.member().steal().await[0].count, 3);
}

/// What was taken over just now is its new owner's for a lease.
pub async fn starts_the_lease_again(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (holder, held) = scene.holder(3).await;
    holder.hand_back(&held).await;
    let heirs = [scene.member(), scene.member(), scene.member()];
    let (one, two, three) =
        tokio::join!(heirs[0].reclaim(FOREVER), heirs[1].reclaim(FOREVER), heirs[2].reclaim(FOREVER));
    let mut taken = [ids(&one.0), ids(&two.0), ids(&three.0)].concat();
    taken.sort();
    assert_eq!(taken, held, "each is taken by one");
}

/// What is settled is not taken over.
pub async fn leaves_what_is_settled(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (holder, held) = scene.holder(3).await;
    holder.finish(&[held[0], held[2]]).await;
    assert_eq!(ids(&scene.member().steal().await), [held[1]]);
}

/// The count bounds each step, and the cursor leads through the whole list once.
pub async fn goes_on_at_its_cursor(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (_holder, held) = scene.holder(250).await;
    let heir = scene.member();
    let (mut taken, mut cursor) = (Vec::new(), EntryId::ZERO);
    loop {
        let step = heir.reclaim_step(Duration::ZERO, 7, cursor).await;
        assert!(step.deliveries.len() <= 7, "{} at once", step.deliveries.len());
        taken.extend(ids(&step.deliveries));
        assert!(step.cursor == EntryId::ZERO || step.cursor > cursor, "the cursor rises");
        cursor = step.cursor;
        if cursor == EntryId::ZERO {
            break;
        }
    }
    assert_eq!(taken, held);
}

/// A reclaim of nothing is no error, whoever asks.
pub async fn may_find_nothing(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    assert_eq!(scene.member().reclaim(Duration::ZERO).await, (vec![], vec![]));
}

/// A delivery whose entry was removed from the stream becomes a dead letter, and is pending no more.
pub async fn buries_what_is_gone(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (_holder, held) = scene.holder(300).await;
    broker.trim(&scene.key, TrimTo::Before(held[250])).await.expect("trimmed");
    let left: Vec<EntryId> = entries(&broker, &scene.key).await.into_iter().map(|entry| entry.id).collect();
    let gone = &held[..held.len() - left.len()];
    assert!(!gone.is_empty(), "nothing was trimmed");

    let heir = scene.member();
    let (taken, mut trimmed) = heir.reclaim(Duration::ZERO).await;
    trimmed.sort();
    assert_eq!(ids(&taken), left);
    assert_eq!(trimmed, gone);
    assert_eq!(scene.pending_ids().await, left);

    let mut buried = Vec::new();
    for entry in entries(&broker, &scene.topic.dead()).await {
        let (letter, original) = DeadLetter::split(&entry.fields).expect("a dead letter");
        assert_eq!((letter.reason, &letter.group), (Reason::Trimmed, &scene.group));
        assert!(original.is_empty(), "nothing is left of the original: {original:?}");
        buried.push(letter.entry);
    }
    buried.sort();
    assert_eq!(buried, gone);
}

/// Whoever holds it when that happens may still end it, and its renewal or its hand-back does not make it vanish.
pub async fn buries_what_went_while_it_was_held(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let (holder, held) = scene.holder(300).await;
    broker.trim(&scene.key, TrimTo::Before(held[250])).await.expect("trimmed");
    let gone = &held[..held.len() - entries(&broker, &scene.key).await.len()];
    assert!(gone.len() > 1, "nothing was trimmed");

    assert_eq!(holder.renew(&held).await, [], "nobody else has it");
    assert_eq!(scene.pending_ids().await, held);
    let reply = Some(ReplyAppend { key: inbox.clone(), fields: fields("reply") });
    assert_eq!(holder.settle(&[Settlement { reply, ..Settlement::done(gone[0]) }]).await, []);
    assert_eq!(texts(&entries(&broker, &inbox).await), ["reply"]);

    holder.hand_back(&held[1..]).await;
    assert_eq!(scene.pending_ids().await, held[1..]);
    let (_, mut trimmed) = scene.member().reclaim(Duration::ZERO).await;
    trimmed.sort();
    assert_eq!(trimmed, gone[1..]);
}
