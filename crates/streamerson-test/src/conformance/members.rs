//! Members of one group: what they share and how they leave.

use std::time::Duration;

use streamerson_core::{EntryId, SharedBroker, broker::Membership};

use super::scene::{FOREVER, Scene, ids};

/// Members share a group's entries: each goes to one of them, in order, no more than it asked for.
pub async fn share_without_overlap(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let all = scene.append_many(10).await;
    let (mut one, mut two) = (scene.member(), scene.member());
    let mut shared: Vec<EntryId> = Vec::new();
    for count in [1, 2, 3] {
        shared.extend(ids(&one.read(count).await));
        shared.extend(ids(&two.read(1).await));
    }
    shared.extend(ids(&one.read(100).await));
    assert_eq!(shared, all);
    assert_eq!(two.read(100).await, []);
}

/// A delivery carries its entry, and belongs to the member that read it.
pub async fn own_what_they_read(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (member, held) = scene.holder(3).await;
    let pending = scene.pending().await;
    assert_eq!(pending.iter().map(|entry| entry.id).collect::<Vec<_>>(), held);
    assert!(pending.iter().all(|entry| entry.member == member.name() && entry.count == 1), "{pending:?}");
}

/// A member that holds nothing leaves, and is on the list no more.
pub async fn leave_with_empty_hands(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (leaver, held) = scene.holder(2).await;
    let (stayer, _) = scene.holder(1).await;
    leaver.finish(&held).await;
    assert!(leaver.leave().await);
    let members = broker.members(&scene.key, &scene.group).await.expect("the members");
    assert_eq!(members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), [stayer.name()]);
    assert!(leaver.leave().await, "who is off the list already stays off it");
}

/// A member that holds something does not leave: its deliveries would go with it.
pub async fn never_leave_with_something(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (member, held) = scene.holder(2).await;
    member.finish(&held[..1]).await;
    assert!(!member.leave().await);
    assert_eq!(scene.pending_ids().await, held[1..]);
    assert_eq!(ids(&scene.member().steal().await), held[1..], "others still can take it over");
    assert!(member.leave().await);
}

/// What is handed back is taken by the next who looks, whatever the lease, as if it had never been delivered.
pub async fn hand_back_at_once(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (leaver, held) = scene.holder(5).await;
    leaver.hand_back(&held[1..]).await;
    assert!(scene.pending().await[1..].iter().all(|entry| entry.member == Membership::NOBODY && entry.count == 1));
    let members = broker.members(&scene.key, &scene.group).await.expect("the members");
    let nobody = members.iter().find(|member| member.name == Membership::NOBODY).expect("the pseudo-member");
    assert_eq!(nobody.pending, 4);

    let heir = scene.member();
    let (taken, _) = heir.reclaim(FOREVER).await;
    assert_eq!(ids(&taken), held[1..]);
    assert!(taken.iter().all(|delivery| delivery.count == 1), "a hand-back is no crash: {taken:?}");
    assert!(scene.pending().await[1..].iter().all(|entry| entry.member == heir.name() && entry.count == 1));
    assert_eq!(scene.member().reclaim(FOREVER).await.0, [], "taken once");

    leaver.finish(&held[..1]).await;
    assert!(leaver.leave().await);
    heir.finish(&held[1..]).await;
}

/// With a long list of what is all alive, of which a look with little room sees a part, what was handed back is found
/// nonetheless: first, the oldest of it, and once.
pub async fn hand_back_to_who_has_little_room(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (leaver, held) = scene.holder(300).await;
    leaver.hand_back(&held[250..]).await;
    let heir = scene.member();
    let first = heir.reclaim_handed_back(FOREVER, 1, EntryId::ZERO).await;
    assert_eq!(ids(&first.deliveries), held[250..251]);
    let next = heir.reclaim_handed_back(FOREVER, 9, held[280]).await;
    assert_eq!(ids(&next.deliveries), held[251..260], "wherever the cursor is");
    let rest = heir.reclaim_handed_back(Duration::ZERO, 300, EntryId::ZERO).await;
    let others = held[..250].iter().chain(&held[250..260]);
    assert_eq!(
        ids(&rest.deliveries),
        held[260..].iter().chain(others).copied().collect::<Vec<_>>(),
        "none of it twice"
    );
    assert!(rest.deliveries[..40].iter().all(|delivery| delivery.count == 1), "a hand-back is no crash");
}

/// What members died of has no precedence when it is handed back: it is found in its place, behind what comes first.
pub async fn hand_back_what_they_died_of_without_precedence(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (_crashed, held) = scene.holder(2).await;
    let heir = scene.member();
    assert_eq!(ids(&heir.reclaim_step(Duration::ZERO, 1, EntryId::ZERO).await.deliveries), held[..1]);
    let (leaver, given_back) = scene.holder(1).await;
    heir.hand_back(&held[..1]).await;
    leaver.hand_back(&given_back).await;
    let next = scene.member();
    let step = next.reclaim_handed_back(FOREVER, 1, EntryId::ZERO).await;
    assert_eq!((ids(&step.deliveries), step.deliveries[0].count), (given_back, 1));
    let step = next.reclaim_handed_back(FOREVER, 1, EntryId::ZERO).await;
    assert_eq!((ids(&step.deliveries), step.deliveries[0].count), (held[..1].to_vec(), 2));
}

/// A look with little room goes through a good part of a long list, not ten entries of it.
pub async fn take_over_at_the_end_of_a_long_list(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (leaver, held) = scene.holder(500).await;
    leaver.hand_back(&held[499..]).await;
    let step = scene.member().reclaim_step(FOREVER, 1, EntryId::ZERO).await;
    assert_eq!(ids(&step.deliveries), held[499..]);
}

/// What a member lost before, it cannot hand back.
pub async fn hand_back_only_what_is_theirs(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (slow, held) = scene.holder(2).await;
    let thief = scene.member();
    assert_eq!(ids(&thief.steal().await), held);
    slow.hand_back(&held).await;
    assert!(scene.pending().await.iter().all(|entry| entry.member == thief.name()));
    assert_eq!(scene.member().reclaim(FOREVER).await.0, []);
}

/// Crashes count, whoever had the delivery before; hand-backs never do.
pub async fn count_crashes_and_no_hand_backs(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (first, held) = scene.holder(1).await;
    first.hand_back(&held).await;
    assert_eq!(scene.member().reclaim(FOREVER).await.0[0].count, 1);
    let third = scene.member();
    assert_eq!(third.steal().await[0].count, 2);
    third.hand_back(&held).await;
    assert_eq!(scene.pending().await[0].count, 2);
    assert_eq!(scene.member().reclaim(FOREVER).await.0[0].count, 2);
    assert_eq!(scene.member().steal().await[0].count, 3);
}
