//! The clean end of a member.

use std::time::Duration;

use streamerson_core::{SharedBroker, group::Outcome};

use super::scene::{Scene, next, payload};
use crate::eventually;

const PATIENCE: Duration = Duration::from_secs(10);

/// What never started goes to others at once, and the member is off the list.
pub async fn hands_back_what_never_started(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(3).await;
    let mut leaving = scene.member().await;
    let started = next(&mut leaving).await;
    eventually("all are taken", async || (scene.pending().await.len() == 3).then_some(())).await;
    started.settle(Outcome::Done).await;
    assert_eq!(leaving.leave(PATIENCE).await, 2);
    assert_eq!(scene.members().await, ["-"], "what was handed back is nobody's, and the member is off the list");

    // At once, although the lease is long, and without being counted.
    let mut other = scene.member().await;
    for expected in ["1", "2"] {
        let held = next(&mut other).await;
        assert_eq!((payload(&held), held.delivery.count), (expected.to_owned(), 1));
        held.settle(Outcome::Done).await;
    }
    scene.all_settled().await;
    assert_eq!(other.leave(PATIENCE).await, 0);
    assert!(scene.members().await.is_empty());
}

/// Outcomes that are on their way take effect before the member is gone.
pub async fn settles_what_ended(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(300).await;
    let mut member = scene.member_with(|config| config.concurrency = 300).await;
    for _ in 0..300 {
        next(&mut member).await.settle(Outcome::Done).await;
    }
    assert_eq!(member.leave(PATIENCE).await, 0);
    assert!(scene.pending().await.is_empty(), "all outcomes took effect before the member was gone");
    assert!(scene.members().await.is_empty());
}

/// What somebody may still be working on waits for its lease.
pub async fn leaves_what_is_held(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(1).await;
    let mut member = scene.member().await;
    let held = next(&mut member).await;
    let name = member.membership().member.to_string();
    assert_eq!(member.leave(Duration::from_millis(1)).await, 0);
    let pending = scene.pending().await;
    assert_eq!((pending.len(), &pending[0].member), (1, &name), "somebody may still be working on it");
    assert_eq!(scene.members().await, [name], "so the member stays on the list");
    // Too late: it stays pending, as after a crash.
    held.settle(Outcome::Done).await;
    assert_eq!(scene.pending().await.len(), 1);
}
