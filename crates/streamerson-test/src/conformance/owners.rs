//! Named leases and their epochs, and registries of who lives.

use std::time::Duration;

use streamerson_core::{
    Name, SharedBroker,
    broker::{LeaseRequest, LeaseState},
};
use tokio::task::JoinSet;

use super::scene::{FOREVER, Scene};
use crate::eventually;

const SHORT: Duration = Duration::from_millis(100);

async fn lease(scene: &Scene, holder: &Name, ttl: Duration) -> LeaseState {
    let request = LeaseRequest { key: scene.topic.owner(&scene.group), holder: holder.clone(), ttl };
    let state = scene.broker.lease(request).await.expect("an answer");
    assert_eq!(state.held, state.holder == *holder);
    state
}

async fn release(scene: &Scene, holder: &Name) -> bool {
    scene.broker.release_lease(&scene.topic.owner(&scene.group), holder).await.expect("an answer")
}

/// Who comes first has it, for as long as it renews; others are told who has it and for how long.
pub async fn have_one_holder(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (one, other) = (Name::unique(), Name::unique());
    let first = lease(&scene, &one, FOREVER).await;
    assert!(first.held && first.epoch > 0 && first.left <= FOREVER, "{first:?}");
    let refused = lease(&scene, &other, FOREVER).await;
    assert_eq!((refused.held, &refused.holder, refused.epoch), (false, &one, first.epoch));
    assert!(refused.left > FOREVER - Duration::from_secs(60) && refused.left <= FOREVER, "{refused:?}");
    let renewed = lease(&scene, &one, FOREVER * 2).await;
    assert!(renewed.held && renewed.epoch == first.epoch && renewed.left > FOREVER, "{renewed:?}");

    let shard = Scene { topic: scene.topic.with_shard(3), ..scene.clone() };
    let group = Scene { group: Name::unique(), ..scene.clone() };
    for apart in [shard, group] {
        assert!(lease(&apart, &other, FOREVER).await.held, "another shard and another group are other leases");
    }
}

/// A lease that nobody renews is anybody's, and the epoch rises with the holder.
pub async fn pass_on_when_they_end(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (one, other) = (Name::unique(), Name::unique());
    let first = lease(&scene, &one, SHORT).await;
    let second = eventually("the end of the lease", async || {
        let state = lease(&scene, &other, FOREVER).await;
        state.held.then_some(state)
    })
    .await;
    assert!(second.epoch > first.epoch, "{second:?} after {first:?}");
    let late = lease(&scene, &one, FOREVER).await;
    assert_eq!((late.held, late.holder, late.epoch), (false, other, second.epoch), "who held it is too late");
    assert!(!release(&scene, &one).await, "and can't end what is another's");
}

/// Who is late and finds that nobody had its lease goes on with the same epoch.
pub async fn are_found_again(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let one = Name::unique();
    let first = lease(&scene, &one, Duration::from_millis(1)).await;
    let over = broker.now().plus(Duration::from_millis(50));
    eventually("the end of the lease", async || (broker.now() > over).then_some(())).await;
    let again = lease(&scene, &one, FOREVER).await;
    assert_eq!((again.held, again.epoch), (true, first.epoch));
}

/// What is released is free at once; the epoch never falls, whoever comes next.
pub async fn can_be_released(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (one, other) = (Name::unique(), Name::unique());
    assert!(!release(&scene, &one).await, "nobody holds it");
    let mut before = 0;
    for holder in [&one, &other, &one, &one] {
        let state = lease(&scene, holder, FOREVER).await;
        assert!(state.held && state.epoch > before, "{state:?} after {before}");
        before = state.epoch;
        assert!(release(&scene, holder).await);
        assert!(!release(&scene, holder).await, "once");
    }
}

/// Of many who want it one gets it, and no two holders ever have the same epoch.
pub async fn go_to_one_of_many(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut seekers = JoinSet::new();
    for _ in 0..8 {
        let (scene, name) = (scene.clone(), Name::unique());
        seekers.spawn(async move {
            let epoch = loop {
                let state = lease(&scene, &name, FOREVER).await;
                if state.held {
                    break state.epoch;
                }
                tokio::task::yield_now().await;
            };
            assert!(release(&scene, &name).await, "nobody else can have it");
            epoch
        });
    }
    let mut epochs = seekers.join_all().await;
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 8, "{epochs:?}");
}

/// All who live are listed in order; one that no longer says so goes, and so does one that takes itself off.
pub async fn register_who_lives(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let key = scene.topic.registry(&scene.group);
    let name = |text: &str| Name::new(text.to_owned()).expect("a name");
    let register = async |text: &str, ttl| broker.register(&key, &name(text), ttl).await.expect("registered");
    assert_eq!(register("b", FOREVER).await, [name("b")]);
    assert_eq!(register("a", FOREVER).await, [name("a"), name("b")]);
    assert_eq!(register("c", SHORT).await, [name("a"), name("b"), name("c")]);
    eventually("one stops living", async || (register("b", FOREVER).await == [name("a"), name("b")]).then_some(()))
        .await;
    broker.unregister(&key, &name("a")).await.expect("no error");
    broker.unregister(&key, &name("x")).await.expect("no error");
    assert_eq!(register("b", FOREVER).await, [name("b")]);
    broker.unregister(&key, &name("b")).await.expect("no error");
    assert_eq!(register("d", FOREVER).await, [name("d")]);
    let other = scene.topic.registry(&Name::unique());
    assert_eq!(broker.register(&other, &name("e"), FOREVER).await.expect("registered"), [name("e")]);
}

/// A name that stays is not forgotten when one with a shorter time comes last.
pub async fn outlive_the_last_to_come(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let key = scene.topic.registry(&scene.group);
    let [long, short] = [Name::unique(), Name::unique()];
    broker.register(&key, &long, FOREVER).await.expect("registered");
    broker.register(&key, &short, Duration::from_millis(1)).await.expect("registered");
    let over = broker.now().plus(Duration::from_millis(50));
    eventually("the end of the short one", async || (broker.now() > over).then_some(())).await;
    let third = Name::unique();
    let mut expected = [long, third.clone()];
    expected.sort();
    assert_eq!(broker.register(&key, &third, FOREVER).await.expect("registered"), expected);
}
