//! Keys in order over shards, whoever owns them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use streamerson::{
    Consumer, State,
    consumer::{Failure, Retry, extract::Epoch},
    core::{Message, shards::Shards},
    test::{Faults, TestBed, explore},
};
use tokio::time::sleep;

use crate::work::topic;

const COUNT: u32 = 3;
const KEYS: u64 = 6;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// First handlings, by key.
    first: BTreeMap<String, Vec<u64>>,
    seen: BTreeSet<String>,
    at_work: BTreeSet<String>,
    epochs: BTreeMap<String, u64>,
}

/// Takes a key out of those that are being handled, also when its handler is dropped.
struct AtWork(Log, String);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().at_work.remove(&self.1);
    }
}

async fn handle(State(log): State<Log>, Epoch(epoch): Epoch, text: String) -> Result<(), Failure> {
    let (key, number) = text.split_once('-').unwrap();
    let (key, number) = (key.to_owned(), number.parse::<u64>().unwrap());
    let _at_work = {
        let mut log_now = log.0.lock().unwrap();
        // A broken promise is noted, since a panic here would only be a dead letter.
        if !log_now.at_work.insert(key.clone()) {
            log_now.first.entry(key.clone()).or_default().push(u64::MAX);
        }
        if log_now.seen.insert(text.clone()) {
            log_now.first.entry(key.clone()).or_default().push(number);
        }
        let highest = log_now.epochs.entry(key.clone()).or_default();
        if epoch.unwrap() < *highest {
            log_now.first.entry(key.clone()).or_default().push(u64::MAX - 1);
        } else {
            *highest = epoch.unwrap();
        }
        AtWork(log.clone(), key)
    };
    sleep(Duration::from_millis(number * 7 % 60)).await;
    // Some fail at first, and stay in front of those behind them.
    if number % 11 == 3 && fastrand::bool() { Err(Failure::new("not this time")) } else { Ok(()) }
}

#[test]
fn keys_stay_in_order_whoever_owns_their_shards() {
    explore(1000, async |seed| {
        let log = Log::default();
        let make = {
            let log = log.clone();
            move || {
                Consumer::new(topic())
                    .on("said", handle)
                    .with_state(log.clone())
                    .shards(COUNT)
                    .ordered_by(|message: &Message| message.headers.get("key").map(str::to_owned))
                    .retry(Retry::attempts(50).first(Duration::from_millis(10)).longest(Duration::from_millis(500)))
                    .lease(Duration::from_secs(20))
                    .shard_lease(Duration::from_secs(3))
                    .drain(Duration::from_secs(5))
            }
        };
        let shards = Shards::new(topic(), COUNT).unwrap();
        let bed = TestBed::with_faults(Faults::of(&seed), make);
        let mut sent = BTreeMap::<String, u64>::new();
        for _ in 0..seed.below(10) {
            for _ in 0..seed.below(30) {
                let key = format!("k{}", seed.below(KEYS));
                let number = sent.entry(key.clone()).or_default();
                let message =
                    Message::new("said".parse().unwrap(), format!("{key}-{number}")).with_header("key", &*key);
                bed.send(&shards.of(&key), message).await;
                *number += 1;
            }
            sleep(Duration::from_millis(seed.below(4000))).await;
            let running = bed.running();
            match seed.below(6) {
                0 if !running.is_empty() => bed.crash(*seed.one_of(&running)),
                1 if !running.is_empty() => bed.stop(*seed.one_of(&running)).await,
                2 => bed.outage(Duration::from_millis(seed.below(8000))).await,
                3 => bed.cut(),
                _ => _ = bed.start(),
            }
        }
        if bed.running().is_empty() {
            bed.start();
        }
        bed.settled().await;
        let log = log.0.lock().unwrap();
        for (key, count) in sent {
            let first = log.first.get(&key).cloned().unwrap_or_default();
            assert_eq!(first, (0..count).collect::<Vec<_>>(), "{key} is in order, and one at a time");
        }
        assert!(log.at_work.is_empty());
    });
}
