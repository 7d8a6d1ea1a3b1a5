//! Keys in order where one message kills those who handle it, and is handled alone in the end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use streamerson::{
    Consumer, State,
    consumer::{Failure, Retry},
    core::{Message, shards::Shards},
    test::{Faults, Seed, TestBed, explore},
};
use tokio::time::sleep;

use crate::work::topic;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    poison: u32,
    /// Whether the poison is handled now.
    alone: bool,
    beside: bool,
    first: Vec<u64>,
}

async fn handle(State(log): State<Log>, text: String) -> Result<(), Failure> {
    let (key, number) = text.split_once('-').unwrap();
    let number = number.parse::<u64>().unwrap();
    if key == "p" {
        let begun = {
            let mut log = log.0.lock().unwrap();
            log.poison += 1;
            log.alone = log.poison > 3;
            log.poison
        };
        // Those that have it die of it, three times.
        sleep(Duration::from_secs(if begun <= 3 { 1_000_000 } else { 1 })).await;
        log.0.lock().unwrap().alone = false;
        return Ok(());
    }
    {
        let mut log = log.0.lock().unwrap();
        log.beside |= log.alone;
        if key == "a" && !log.first.contains(&number) {
            log.first.push(number);
        }
    }
    sleep(Duration::from_millis(30)).await;
    if key == "b" && fastrand::u32(0..4) > 0 { Err(Failure::new("not this time")) } else { Ok(()) }
}

async fn tell(seed: &Seed, faults: Faults, others: bool) {
    let log = Log::default();
    let make = {
        let log = log.clone();
        move || {
            Consumer::new(topic())
                .on("said", handle)
                .with_state(log.clone())
                .shards(1)
                .ordered_by(|message: &Message| message.headers.get("key").map(str::to_owned))
                .retry(Retry::attempts(500).first(Duration::from_millis(300)).longest(Duration::from_millis(300)))
                .lease(Duration::from_secs(20))
                .shard_lease(Duration::from_secs(3))
        }
    };
    let shards = Shards::new(topic(), 1).unwrap();
    let bed = TestBed::with_faults(faults, make);
    let send = async |key: &str, number: u64| {
        let message = Message::new("said".parse().unwrap(), format!("{key}-{number}")).with_header("key", key);
        bed.send(&shards.of(key), message).await;
    };
    send("p", 0).await;
    for begun in 1..=3 {
        while log.0.lock().unwrap().poison < begun {
            sleep(Duration::from_millis(10)).await;
        }
        bed.crash(*bed.running().first().unwrap());
        bed.start();
    }
    let mut sent = 0;
    for _ in 0..10 {
        send("a", sent).await;
        sent += 1;
        if others {
            send("b", sent).await;
        }
    }
    while log.0.lock().unwrap().poison < 4 {
        sleep(Duration::from_millis(10)).await;
        if seed.percent(20) && sent < 50 {
            send("a", sent).await;
            sent += 1;
        }
    }
    for _ in 0..10 {
        send("a", sent).await;
        sent += 1;
        sleep(Duration::from_millis(seed.below(300))).await;
    }
    bed.settled().await;
    let log = log.0.lock().unwrap();
    assert_eq!(log.first, (0..sent).collect::<Vec<_>>(), "in order");
    assert!(!log.beside, "what is to be alone is alone");
}

#[test]
fn what_is_given_back_keeps_its_place() {
    explore(200, async |seed| {
        let mut faults = Faults::of(&seed);
        (faults.questions_lost_permille, faults.answers_lost_permille) = (100, 100);
        tell(&seed, faults, false).await;
    });
}

#[test]
fn what_is_due_meanwhile_keeps_away() {
    explore(200, async |seed| {
        let mut faults = Faults::of(&seed);
        (faults.questions_lost_permille, faults.answers_lost_permille) = (0, 0);
        tell(&seed, faults, true).await;
    });
}
