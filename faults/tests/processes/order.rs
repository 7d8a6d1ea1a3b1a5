//! Keys in order over shards, while their owners are killed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use faults::{Job, What};
use futures_util::{SinkExt, future::join};
use streamerson::{Message, core::shards::Shards};
use streamerson_test::RedisServer;

use crate::{
    fleet::{Deeds, Fleet, settled, topic},
    scaled,
};

const SHARDS: u32 = 12;

/// 200 keys with 500 messages each, over 4 members that are killed, stopped and started: per key the first handlings are
/// in order, and no two are at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_in_order() {
    let (keys, messages) = (scaled(200, 60) as u64, scaled(500, 250) as u64);
    let server = RedisServer::spawn().await;
    let options = format!("shards={SHARDS} ordered=1 lease_ms=2000 shard_lease_ms=1000 concurrency=64");
    let mut fleet = Fleet::start(&server.url(), 4, &options).await;
    let broker = streamerson::connect(&server.url()).await.unwrap();
    let shards = Shards::new(topic(), SHARDS).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let story = async {
        let mut publishers: Vec<_> = shards.iter().map(|shard| broker.publisher(shard.inbound())).collect();
        for number in 0..messages {
            for key in 0..keys {
                let shard = shards.of(key.to_string()).shard().unwrap();
                let message = Message::json("work", &Job { key, number, takes_ms: scaled(20, 3) as u64 }).unwrap();
                publishers[shard as usize].feed(message).await.unwrap();
            }
        }
        for publisher in &mut publishers {
            publisher.flush().await.unwrap();
        }
        settled(&server, SHARDS).await;
        over.store(true, Ordering::Relaxed);
    };
    let over_too = Arc::clone(&over);
    let kills = fleet.kill_at_random(Duration::from_millis(1200), async move {
        while !over_too.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ((), kills) = join(story, kills).await;
    let deeds = fleet.end().await;
    assert!(kills > 0);
    let repeated = assert_in_order(&deeds, keys, messages);
    eprintln!(
        "order: {keys} keys with {messages} messages each, {kills} members killed, {repeated} messages more than once"
    );
}

/// One handling of a message.
struct Handling {
    begun: u64,
    /// When it ended, or its process.
    over: u64,
    number: u64,
}

/// Answers how many messages were handled more than once.
fn assert_in_order(deeds: &[Deeds], keys: u64, messages: u64) -> usize {
    let mut by_key: BTreeMap<u64, Vec<Handling>> = BTreeMap::new();
    for Deeds { lines, killed_micros } in deeds {
        let mut open = BTreeMap::new();
        for line in lines {
            match line.what {
                What::Begun => _ = open.insert((line.key, line.number), line.at_micros),
                What::Ended => {
                    let begun = open.remove(&(line.key, line.number)).expect("it began");
                    let handling = Handling { begun, over: line.at_micros, number: line.number };
                    by_key.entry(line.key).or_default().push(handling);
                }
            }
        }
        for ((key, number), begun) in open {
            let over = killed_micros.expect("only what was killed does not end");
            by_key.entry(key).or_default().push(Handling { begun, over, number });
        }
    }
    assert_eq!(by_key.len() as u64, keys);
    let mut repeated = 0;
    for (key, mut handlings) in by_key {
        handlings.sort_by_key(|handling| handling.begun);
        let mut next = 0;
        for handling in &handlings {
            assert!(handling.number <= next, "key {key}: {} came before {next}", handling.number);
            if handling.number == next {
                next += 1;
            } else {
                repeated += 1;
            }
        }
        assert_eq!(next, messages, "key {key} is complete");
        for pair in handlings.windows(2) {
            assert!(pair[0].over <= pair[1].begun, "key {key}: {} and {} overlap", pair[0].number, pair[1].number);
        }
    }
    repeated
}
