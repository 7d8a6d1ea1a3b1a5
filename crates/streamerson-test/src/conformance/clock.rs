//! The broker's clock.

use std::time::{Duration, Instant};

use streamerson_core::{SharedBroker, UnixMillis};

use super::scene::Scene;

/// How far two readings of clocks on this machine may be apart.
const TOLERANCE: Duration = Duration::from_millis(1000);

/// Broker and test run on one machine: its clock, the broker's and the ids of entries tell the same time.
pub async fn agrees_with_this_machine(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let before = UnixMillis::of_this_machine();
    let id = UnixMillis(scene.append("now").await.ms);
    let now = broker.now();
    let after = UnixMillis::of_this_machine();
    for time in [id, now] {
        assert!(before.since(time) <= TOLERANCE, "{time} is before {before}");
        assert!(time.since(after) <= TOLERANCE, "{time} is after {after}");
    }
}

/// Time goes on at its pace and does not jump.
pub async fn goes_on(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    scene.append("to be connected").await;
    let (started, start) = (Instant::now(), broker.now());
    let mut last = start;
    while started.elapsed() < Duration::from_millis(50) {
        scene.append("tick").await;
        let now = broker.now();
        assert!(last.since(now) <= Duration::from_millis(100), "{now} after {last}");
        last = now;
    }
    let passed = started.elapsed();
    assert!(last.since(start) <= passed + TOLERANCE, "{:?} in {passed:?}", last.since(start));
    assert!(last > start, "it stands still");
}
