//! Ends of deliveries.

use bytes::Bytes;
use streamerson_core::{
    Fields, Name, SharedBroker,
    broker::{Append, DeadAppend, Fence, ReplyAppend, Settlement},
    dead_letter::{DeadLetter, Reason},
};

use super::scene::{Scene, entries, fields, texts};

fn reply(key: &streamerson_core::StreamKey, text: &str) -> Option<ReplyAppend> {
    Some(ReplyAppend { key: key.clone(), fields: fields(text) })
}

/// A reply and its ack go together, looked at or not.
pub async fn replies_and_acks(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let (member, held) = scene.holder(2).await;
    for (id, fence) in held.into_iter().zip([Fence::Renewed, Fence::Check]) {
        let batch = [Settlement { reply: reply(&inbox, &format!("{fence:?}")), ..Settlement::done(id) }];
        let lost = broker.settle(&member.membership, &batch, fence).await.expect("settled").lost;
        assert_eq!(lost, [], "{fence:?}");
    }
    assert_eq!(texts(&entries(&broker, &inbox).await), ["Renewed", "Check"]);
    assert_eq!(scene.pending_ids().await, []);
}

/// A reply to an inbox that is gone is swallowed: the delivery ends, and no stream comes of it.
pub async fn swallows_a_reply_to_nobody(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let gone = scene.topic.inbox(&Name::unique());
    let (member, held) = scene.holder(2).await;
    for (id, fence) in held.into_iter().zip([Fence::Renewed, Fence::Check]) {
        let batch = [Settlement { reply: reply(&gone, "late"), ..Settlement::done(id) }];
        assert_eq!(broker.settle(&member.membership, &batch, fence).await.expect("settled").lost, [], "{fence:?}");
        assert!(!scene.exists(&gone).await, "{fence:?}");
    }
    assert_eq!(scene.pending_ids().await, []);
}

/// A dead letter keeps the original fields byte for byte, and adds its own.
pub async fn buries_byte_for_byte(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let mut original = Fields::default();
    original.push(vec![0xff, 0x00], vec![0xc3, 0x28, b'\r', b'\n']);
    original.push("m", "twice");
    original.push("m", "");
    original.push("d", "not the letter's");
    broker.append(vec![Append::new(scene.key.clone(), original.clone())]).await.remove(0).expect("appended");
    let mut member = scene.member();
    let delivery = member.read(1).await.remove(0);
    assert_eq!(delivery.entry.fields, original);

    let own_name = Name::new(member.name().to_owned()).expect("a name");
    let letter = DeadLetter::new(Reason::Failed, "bad luck", scene.group.clone(), own_name, delivery.entry.id);
    let dead = DeadAppend::new(scene.topic.dead(), letter.fields(&delivery.entry.fields));
    assert_eq!(member.settle(&[Settlement { dead: Some(dead), ..Settlement::done(delivery.entry.id) }]).await, []);

    assert_eq!(scene.pending_ids().await, []);
    let found = entries(&broker, &scene.topic.dead()).await;
    assert_eq!(found.len(), 1);
    assert_eq!(DeadLetter::split(&found[0].fields), Some((letter, original)));
}

/// A batch may hold every kind of end, and appends come in its order.
pub async fn mixes_outcomes(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (inbox, other, gone) = (scene.inbox().await, scene.inbox().await, scene.topic.inbox(&Name::unique()));
    let (member, held) = scene.holder(7).await;
    let dead = |text| Some(DeadAppend::new(scene.topic.dead(), fields(text)));
    let emitted = |text| Append::new(scene.topic.outbound(), fields(text));
    let batch = [
        Settlement { reply: reply(&inbox, "0"), ..Settlement::done(held[0]) },
        Settlement::done(held[1]),
        Settlement { reply: reply(&gone, "2"), ..Settlement::done(held[2]) },
        Settlement { reply: reply(&inbox, "3"), dead: dead("3"), ..Settlement::done(held[3]) },
        Settlement { emitted: vec![emitted("4a"), emitted("4b")], ..Settlement::done(held[4]) },
        Settlement {
            reply: reply(&other, "5"),
            emitted: vec![emitted("5")],
            dead: dead("5"),
            ..Settlement::done(held[5])
        },
    ];
    assert_eq!(member.settle(&batch).await, []);

    assert_eq!(scene.pending_ids().await, held[6..]);
    assert_eq!(texts(&entries(&broker, &inbox).await), ["0", "3"]);
    assert_eq!(texts(&entries(&broker, &other).await), ["5"]);
    assert_eq!(texts(&entries(&broker, &scene.topic.dead()).await), ["3", "5"]);
    assert_eq!(texts(&entries(&broker, &scene.topic.outbound()).await), ["4a", "4b", "5"]);
    assert!(!scene.exists(&gone).await);
}

/// What a handler sends out may go to another topic, and may need its stream to exist.
pub async fn emits_elsewhere(broker: SharedBroker) {
    for fence in [Fence::Renewed, Fence::Check] {
        let (scene, other) = (Scene::with_group(broker.clone()).await, Scene::new(broker.clone()));
        let (member, held) = scene.holder(1).await;
        let gone = scene.topic.inbox(&Name::unique());
        let emitted = vec![
            Append::new(other.key.clone(), fields("elsewhere")),
            Append::new(scene.topic.outbound(), fields("here")),
            Append { only_if_exists: true, ..Append::new(gone.clone(), fields("nowhere")) },
        ];
        let batch = [Settlement { emitted, ..Settlement::done(held[0]) }];
        assert_eq!(broker.settle(&member.membership, &batch, fence).await.expect("settled").lost, []);
        assert_eq!(texts(&entries(&broker, &other.key).await), ["elsewhere"], "{fence:?}");
        assert_eq!(texts(&entries(&broker, &scene.topic.outbound()).await), ["here"], "{fence:?}");
        assert!(!scene.exists(&gone).await);
        assert_eq!(scene.pending_ids().await, []);
    }
}

/// A thousand deliveries end in one call, with or without a look at the owner.
pub async fn takes_large_batches(broker: SharedBroker) {
    for (fence, bury) in [(Fence::Renewed, false), (Fence::Check, false), (Fence::Check, true)] {
        let scene = Scene::with_group(broker.clone()).await;
        let inbox = scene.inbox().await;
        let (member, held) = scene.holder(1000).await;
        let end = |number: usize, id| Settlement {
            reply: reply(&inbox, &number.to_string()),
            dead: bury.then(|| DeadAppend::new(scene.topic.dead(), fields(&number.to_string()))),
            ..Settlement::done(id)
        };
        let batch: Vec<_> = held.iter().enumerate().map(|(number, &id)| end(number, id)).collect();
        assert_eq!(broker.settle(&member.membership, &batch, fence).await.expect("settled").lost, []);
        assert_eq!(scene.pending_ids().await, []);
        let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(texts(&entries(&broker, &inbox).await), expected, "{fence:?}");
        let dead = if bury { 1000 } else { 0 };
        assert_eq!(entries(&broker, &scene.topic.dead()).await.len(), dead);
    }
}

/// A reply and a dead letter of a mebibyte arrive whole.
pub async fn carries_large_payloads(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let (member, held) = scene.holder(1).await;
    let large = Bytes::from(vec![0xfe; 1024 * 1024]);
    let mut payload = Fields::default();
    payload.push("p", large.clone());
    let batch = [Settlement {
        reply: Some(ReplyAppend { key: inbox.clone(), fields: payload.clone() }),
        dead: Some(DeadAppend::new(scene.topic.dead(), payload)),
        ..Settlement::done(held[0])
    }];
    assert_eq!(member.settle(&batch).await, []);
    for key in [inbox, scene.topic.dead()] {
        assert!(entries(&broker, &key).await[0].fields.get(b"p") == Some(&large), "{key}");
    }
}

/// An empty batch is no error.
pub async fn takes_an_empty_batch(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let member = scene.member();
    for fence in [Fence::Renewed, Fence::Check] {
        assert_eq!(broker.settle(&member.membership, &[], fence).await.expect("no error").lost, []);
    }
    assert_eq!(member.renew(&[]).await, []);
    member.hand_back(&[]).await;
}
