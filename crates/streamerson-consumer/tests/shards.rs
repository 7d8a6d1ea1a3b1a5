//! Consumers of a topic in shards.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use streamerson_consumer::{Consumer, Json, RunError, Topic, extract::Epoch};
use streamerson_core::{
    Client, Message, SharedBroker,
    broker::memory::Memory,
    shards::{InvalidShards, Shards, ShardsError},
};
use tokio::sync::{mpsc, oneshot};

use common::{request, topic};

fn sharded(count: u32) -> Consumer {
    Consumer::new(topic()).shards(count)
}

#[tokio::test(start_paused = true)]
async fn messages_of_all_shards_are_handled_and_know_their_epoch() {
    let broker: SharedBroker = Memory::new().into();
    let shards = Shards::new(topic(), 5).unwrap();
    let consumer = sharded(5).on("ask", async |Epoch(epoch): Epoch, topic: Topic| {
        assert!(epoch.is_some_and(|epoch| epoch > 0));
        Json(topic.to_string())
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(consumer.run(broker.clone(), async { _ = stopped.await }));
    let client = Client::new(broker);
    let mut seen = BTreeSet::new();
    for number in 0..50 {
        let shard = shards.of(number.to_string());
        let reply = client.request(&shard, request("ask", "")).await.unwrap();
        assert_eq!(reply.payload, format!("\"{shard}\""));
        seen.insert(shard);
    }
    assert_eq!(seen.len(), 5);
    stop.send(()).unwrap();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn equal_keys_stay_in_order_while_members_come_and_go() {
    let broker: SharedBroker = Memory::new().into();
    let shards = Shards::new(topic(), 4).unwrap();
    let handled: Arc<Mutex<Vec<String>>> = Arc::default();
    let (progress, mut progressed) = mpsc::unbounded_channel();
    let consumer = || {
        let (handled, progress) = (Arc::clone(&handled), progress.clone());
        let handle = move |text: String| {
            let (handled, progress) = (Arc::clone(&handled), progress.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                handled.lock().unwrap().push(text);
                _ = progress.send(());
            }
        };
        sharded(4).ordered_by(|message| message.headers.get("key").map(str::to_owned)).on("said", handle)
    };
    let mut running = Vec::new();
    let client = Client::new(broker.clone());
    let mut sent = 0;
    for round in 0..6 {
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(consumer().run(broker.clone(), async { _ = stopped.await }));
        running.push((stop, run));
        for number in 0..10 {
            for key in ["a", "b", "c", "d", "e", "f"] {
                let text = format!("{key}{:03}", round * 10 + number);
                let message = Message::new("said".parse().unwrap(), text).with_header("key", key);
                client.emit(&shards.of(key), message).await.unwrap();
                sent += 1;
            }
        }
        if round > 1 {
            let (stop, run) = running.remove(0);
            stop.send(()).unwrap();
            run.await.unwrap().unwrap();
        }
    }
    for _ in 0..sent {
        progressed.recv().await.unwrap();
    }
    for (stop, run) in running {
        stop.send(()).unwrap();
        run.await.unwrap().unwrap();
    }
    let handled = handled.lock().unwrap();
    for key in ["a", "b", "c", "d", "e", "f"] {
        let of_key: Vec<_> = handled.iter().filter(|text| text.starts_with(key)).collect();
        let expected: Vec<_> = (0..60).map(|number| format!("{key}{number:03}")).collect();
        assert_eq!(of_key, expected.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_cannot_be_in_shards_is_said_before_anything_runs() {
    let run = |consumer: Consumer| consumer.on("ask", async || ()).run(Memory::new(), async {});
    let too_few = run(sharded(0)).await.unwrap_err();
    assert!(matches!(too_few, RunError::Config(_)), "{too_few:?}");
    assert_eq!(InvalidShards::Count(0).to_string(), "a topic is in 1 to 1024 shards, not 0");
    let part = run(Consumer::new(topic().with_shard(1)).shards(2)).await.unwrap_err();
    assert!(matches!(part, RunError::Config(_)), "{part:?}");
}

#[tokio::test]
async fn consumers_that_mean_another_number_do_not_run() {
    let broker: SharedBroker = Memory::new().into();
    Shards::new(topic(), 8).unwrap().agree(&*broker).await.unwrap();
    let refused = sharded(4).on("ask", async || ()).run(broker, async {}).await.unwrap_err();
    let RunError::Shards(disagree @ ShardsError::Disagree { .. }) = refused else { panic!("{refused:?}") };
    let said = disagree.to_string();
    assert!(said.contains("default:orders is in 8 shards for others, and in 4 here"), "{said}");
    assert!(said.contains("{default:orders}:shards"), "{said}");
}
