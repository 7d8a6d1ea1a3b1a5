//! A message that takes its process along.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use faults::{Job, What};
use futures_util::future::join;
use streamerson::{
    Client, Message,
    core::dead_letter::{DeadLetters, Filter, Reason},
};
use streamerson_test::{RedisServer, eventually};

use crate::fleet::{Fleet, settled, topic};

/// Deliveries until a message is given up: what members do unless told otherwise.
const DELIVERIES_MAX: usize = 5;

/// It is given up after so many deliveries, its neighbours are handled meanwhile, and none of them is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_aborts_its_process_takes_no_other_along() {
    let server = RedisServer::spawn().await;
    let mut fleet = Fleet::start(&server.url(), 3, "lease_ms=800 concurrency=16").await;
    let client = Client::new(streamerson::connect(&server.url()).await.unwrap());
    let poison = Message::json("poison", &Job { key: 0, number: 0, takes_ms: 30 }).unwrap();
    let poisons = [poison.id.to_string()];
    let over = Arc::new(AtomicBool::new(false));
    let story = async {
        client.emit(&topic(), poison).await.unwrap();
        let mut neighbours = BTreeSet::new();
        // Neighbours for as long as it lives, so that there are some at each of its ends.
        let dead = topic().dead();
        for number in 1.. {
            let job = Job { key: number, number, takes_ms: 20 };
            let message = Message::json("work", &job).unwrap();
            neighbours.insert(message.id.to_string());
            client.emit(&topic(), message).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            if number % 50 == 0 && server.command(["XLEN", dead.as_str()]).await.int() > 0 {
                break;
            }
            assert!(number < 60_000, "it is never given up");
        }
        settled(&server, 0).await;
        over.store(true, Ordering::Relaxed);
        neighbours
    };
    let over_too = Arc::clone(&over);
    let revive = fleet.revive(async move {
        while !over_too.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (neighbours, deaths) = join(story, revive).await;

    let letters =
        DeadLetters::new(client.broker().clone(), topic()).first_page(&Filter::default()).await.unwrap().letters;
    let dead: Vec<_> = letters
        .iter()
        .map(|dead| (dead.message.as_ref().unwrap().id.to_string(), dead.letter.as_ref().unwrap().reason))
        .collect();
    assert_eq!(dead, [(poisons[0].clone(), Reason::Abandoned)]);
    eventually("all members are back", async || (fleet.members().len() == 3).then_some(())).await;
    client.close().await;
    let deeds = fleet.end().await;
    let lines = || deeds.iter().flat_map(|deeds| &deeds.lines);
    let taken = lines().filter(|line| line.what == What::Begun && line.id == poisons[0]).count();
    let ended: BTreeSet<_> = lines().filter(|line| line.what == What::Ended).map(|line| line.id.clone()).collect();
    assert_eq!(ended, neighbours, "each of them was handled");
    let most = lines().filter(|line| line.id != poisons[0]).map(|line| line.count).max().unwrap();
    eprintln!(
        "poison: handled {taken} times and given up; {deaths} processes died of it; {} neighbours, delivered {most} times at most",
        neighbours.len()
    );
    assert_eq!((taken, deaths), (DELIVERIES_MAX, DELIVERIES_MAX));
    assert!(most < 4, "a neighbour came near to being given up: {most}");
}
