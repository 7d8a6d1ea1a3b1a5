//! Trimming. A broker may keep a little more than asked: Redis removes whole nodes of 100 entries.

use streamerson_core::{
    EntryId, SharedBroker,
    broker::{GroupStart, TrimTo},
};

use super::scene::{Scene, entries};

/// What a broker may keep beyond what it was asked to.
const SLACK: usize = 200;

/// Trims, and checks that nothing from `needed` on has gone, that little before it is left, and the answer.
async fn trim(scene: &Scene, to: TrimTo, all: &[EntryId], needed: usize) {
    let before = scene.len().await;
    let removed = scene.broker.trim(&scene.key, to).await.expect("trimmed");
    let left: Vec<_> = entries(&scene.broker, &scene.key).await.into_iter().map(|entry| entry.id).collect();
    let first = all.len() - left.len();
    assert_eq!(left, all[first..], "the newest stay");
    assert!(first <= needed, "{} that were needed have gone", first - needed);
    assert!(needed - first <= SLACK, "{} that were not needed are left", needed - first);
    assert_eq!(removed, before - left.len() as u64);
}

/// Entries below an id go, and none from it on.
pub async fn below_an_id(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let all = scene.append_many(1000).await;
    trim(&scene, TrimTo::Before(EntryId::ZERO), &all, 0).await;
    trim(&scene, TrimTo::Before(all[500]), &all, 500).await;
    trim(&scene, TrimTo::Before(all[900]), &all, 900).await;
    trim(&scene, TrimTo::Before(all[100]), &all, 900).await;
}

/// The newest entries stay, as many as asked.
pub async fn to_a_length(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let all = scene.append_many(1000).await;
    trim(&scene, TrimTo::Entries(5000), &all, 0).await;
    trim(&scene, TrimTo::Entries(300), &all, 700).await;
}

/// However much there is to remove. Redis stops after 10,000 entries, and has to be asked again.
pub async fn more_than_fits_one_go(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let all = scene.append_many(25_000).await;
    trim(&scene, TrimTo::Before(all[12_000]), &all, 12_000).await;
    let late = scene.other_group(GroupStart::After(all[24_499])).await;
    trim(&late, TrimTo::Finished, &all, 24_500).await;
}

/// A stream that does not exist has nothing to trim.
pub async fn nothing(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    for to in [TrimTo::Before(EntryId::MAX), TrimTo::Entries(0), TrimTo::Finished] {
        assert_eq!(broker.trim(&scene.key, to).await.expect("no error"), 0, "{to:?}");
    }
    assert!(!scene.exists(&scene.key).await);
}

/// Without a group nobody has finished anything.
pub async fn nothing_without_groups(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let all = scene.append_many(500).await;
    trim(&scene, TrimTo::Finished, &all, 0).await;
}

/// What is finished goes; what is pending or unread stays, however much after it is finished.
pub async fn behind_the_oldest_pending(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let all = scene.append_many(1000).await;
    trim(&scene, TrimTo::Finished, &all, 0).await;
    let mut member = scene.member();
    assert_eq!(member.read(800).await.len(), 800);
    trim(&scene, TrimTo::Finished, &all, 0).await;
    member.finish(&all[..400]).await;
    member.finish(&all[401..800]).await;
    trim(&scene, TrimTo::Finished, &all, 400).await;
    member.finish(&all[400..=400]).await;
    trim(&scene, TrimTo::Finished, &all, 800).await;
    assert_eq!(member.read(1000).await.len(), 200, "what was unread is still there");
    member.finish(&all[800..]).await;
    trim(&scene, TrimTo::Finished, &all, 1000).await;
}

/// The slowest group decides.
pub async fn behind_the_slowest_group(broker: SharedBroker) {
    let slow = Scene::with_group(broker).await;
    let quick = slow.other_group(GroupStart::After(EntryId::ZERO)).await;
    let (member, all) = quick.holder(1000).await;
    member.finish(&all).await;
    trim(&slow, TrimTo::Finished, &all, 0).await;

    let mut slow_member = slow.member();
    assert_eq!(slow_member.read(600).await.len(), 600);
    trim(&slow, TrimTo::Finished, &all, 0).await;
    slow_member.finish(&all[..300]).await;
    trim(&slow, TrimTo::Finished, &all, 300).await;
    slow_member.finish(&all[300..600]).await;
    trim(&slow, TrimTo::Finished, &all, 600).await;

    slow.broker.drop_group(&slow.key, &slow.group).await.expect("dropped");
    trim(&slow, TrimTo::Finished, &all, 1000).await;
}

/// A group that starts at the end needs nothing of what was before.
pub async fn behind_a_group_that_starts_late(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let all = scene.append_many(1000).await;
    let late = scene.other_group(GroupStart::After(all[699])).await;
    trim(&late, TrimTo::Finished, &all, 700).await;
    assert_eq!(late.member().read(1000).await.len(), 300);
}
