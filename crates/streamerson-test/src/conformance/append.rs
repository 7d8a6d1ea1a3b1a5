//! Appending.

use streamerson_core::{EntryId, Fields, Name, SharedBroker, broker::Append};

use super::scene::{Scene, append_to, entries, fields, texts};

/// A batch is appended in its order, ids rise, and each answer names its entry.
pub async fn keeps_the_order_of_a_batch(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let first = scene.append_many(100).await;
    let second = scene.append_many(100).await;
    let all: Vec<EntryId> = [first, second].concat();
    assert!(all.is_sorted_by(|a, b| a < b), "ids rise: {all:?}");

    let entries = entries(&broker, &scene.key).await;
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), all);
    let expected: Vec<String> = (0..100).chain(0..100).map(|number| number.to_string()).collect();
    assert_eq!(texts(&entries), expected);
}

/// A batch may go to several streams, of one topic and of others.
pub async fn spreads_a_batch_over_streams(broker: SharedBroker) {
    let (one, other) = (Scene::new(broker.clone()), Scene::new(broker.clone()));
    let keys = [&one.key, &other.key, &one.topic.outbound(), &one.key];
    let batch =
        keys.iter().enumerate().map(|(number, &key)| Append::new(key.clone(), fields(&number.to_string()))).collect();
    let answers = broker.append(batch).await;
    let ids: Vec<_> = answers.into_iter().map(|answer| answer.expect("appended").id.expect("an id")).collect();

    let found = entries(&broker, &one.key).await;
    assert_eq!(texts(&found), ["0", "3"]);
    assert_eq!([found[0].id, found[1].id], [ids[0], ids[3]]);
    assert_eq!(texts(&entries(&broker, &other.key).await), ["1"]);
    assert_eq!(texts(&entries(&broker, &one.topic.outbound()).await), ["2"]);
}

/// An empty batch has an empty answer.
pub async fn answers_an_empty_batch(broker: SharedBroker) {
    assert!(broker.append(Vec::new()).await.is_empty());
}

/// Where the stream must exist and does not, nothing is appended and nothing is made.
pub async fn spares_a_stream_that_must_exist(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let missing = scene.topic.inbox(&Name::unique());
    let only_if_exists = |text| Append { only_if_exists: true, ..Append::new(missing.clone(), fields(text)) };

    let answers = broker.append(vec![only_if_exists("lost"), Append::new(scene.key.clone(), fields("kept"))]).await;
    assert_eq!(answers[0].as_ref().expect("no error").id, None);
    assert!(answers[1].as_ref().expect("appended").id.is_some(), "the next in the batch is not held up");
    assert!(!scene.exists(&missing).await);

    append_to(&broker, &missing, "first").await;
    let answers = broker.append(vec![only_if_exists("second")]).await;
    assert!(answers[0].as_ref().expect("appended").id.is_some());
    assert_eq!(texts(&entries(&broker, &missing).await), ["first", "second"]);
}

/// An entry that the broker refuses does not stop the others of its batch.
pub async fn goes_on_after_a_refused_entry(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let entry = |fields| Append::new(scene.key.clone(), fields);
    let answers = broker.append(vec![entry(fields("a")), entry(Fields::default()), entry(fields("b"))]).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(texts(&entries(&broker, &scene.key).await), ["a", "b"]);
}

/// With a bound the oldest entries go; the newest are all there, and the excess is small.
pub async fn bounds_a_stream(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let entry = |number: usize| Append {
        entries_max: Some(100),
        ..Append::new(scene.key.clone(), fields(&number.to_string()))
    };
    for batch in 0..10 {
        let batch = (0..100).map(|number| entry(batch * 100 + number)).collect();
        assert!(broker.append(batch).await.iter().all(Result::is_ok));
    }
    let texts = texts(&entries(&broker, &scene.key).await);
    // Redis removes whole nodes of 100 entries, so it may keep up to one node more.
    assert!((100..=300).contains(&texts.len()), "{} entries of about 100", texts.len());
    let newest: Vec<String> = (1000 - texts.len()..1000).map(|number| number.to_string()).collect();
    assert_eq!(texts, newest);
}

/// Each answer names the connection that carried it, and appending shows that the broker is up.
pub async fn tells_the_connection(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let answers = broker.append(vec![Append::new(scene.key.clone(), fields("a"))]).await;
    assert_eq!(answers[0].as_ref().expect("appended").epoch, broker.epoch());
    assert!(broker.health().borrow().is_up());
}
