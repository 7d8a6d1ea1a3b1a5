//! Requests and events while everything goes wrong.

use std::time::Duration;

use futures_util::future::{join, join_all};
use streamerson::{
    consumer::Retry,
    core::{EventType, Message, client::Request},
    test::{Faults, Seed, TestBed, explore},
};
use tokio::time::{sleep, timeout};

use crate::{
    ledger::{Answer, Ledger},
    work::{Done, End, Work, consumer, topic},
};

/// How long messages come, in the story's time.
const MILLIS: u64 = 20_000;
const ATTEMPTS_MAX: u32 = 3;

#[test]
fn every_message_comes_to_one_end() {
    explore(2000, async |seed| {
        let (bed, done) = bed(&seed);
        let (ledger, ()) = join(send(&seed, &bed), disturb(&seed, &bed)).await;
        if bed.running().is_empty() {
            bed.start();
        }
        bed.settled().await;
        ledger.balance(&bed, &done).await;
    });
}

/// The same seed makes the same story: else a failure could not be looked at again.
#[test]
fn a_seed_tells_the_same_story_each_time() {
    explore(100, async |seed| {
        let (first, second) = (tell(seed.number()), tell(seed.number()));
        assert_eq!(first.len(), second.len());
        if let Some(at) = (0..first.len()).find(|&at| first[at] != second[at]) {
            panic!("line {at} of {}: once {}\nand once {}", first.len(), first[at], second[at]);
        }
    });
}

fn tell(number: u64) -> Vec<String> {
    let told = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // A runtime cannot begin within another.
        scope.spawn(|| {
            explore_one(number, async |seed| {
                let (bed, _) = bed(&seed);
                join(send(&seed, &bed), disturb(&seed, &bed)).await;
                if bed.running().is_empty() {
                    bed.start();
                }
                bed.settled().await;
                let ended = bed.outcomes().into_iter().map(|ended| format!("{} {:?}", ended.id, ended.outcome));
                told.lock().unwrap().extend(ended);
            });
        });
    });
    // The clock goes on between two stories, and what is told of it is no difference.
    told.into_inner().unwrap().iter().map(|line| line.split(" at 1").next().unwrap().to_owned()).collect()
}

fn explore_one(number: u64, scenario: impl AsyncFn(Seed)) {
    streamerson::test::explore_seeds([number], scenario);
}

fn bed(seed: &Seed) -> (TestBed, Done) {
    let done = Done::default();
    let (concurrency, lease) = (1 + seed.below(8), Duration::from_millis(500 + seed.below(10_000)));
    let (ordered, longest) = (seed.percent(30), Duration::from_millis(10 + seed.below(90_000)));
    let make = {
        let done = done.clone();
        move || {
            let mut consumer = consumer(&done).with_state(done.clone());
            if ordered {
                consumer = consumer.ordered_by(key_of);
            }
            consumer
                .concurrency(usize::try_from(concurrency).unwrap())
                .lease(lease)
                .drain(Duration::from_secs(2))
                .retry(Retry::attempts(ATTEMPTS_MAX).first(Duration::from_millis(50)).longest(longest))
        }
    };
    let faults = if seed.percent(20) { Faults::none() } else { Faults::of(seed) };
    (TestBed::with_faults(faults, make), done)
}

fn key_of(message: &Message) -> Option<Vec<u8>> {
    let work: Work = serde_json::from_slice(&message.payload).ok()?;
    Some(work.key.to_string().into_bytes())
}

async fn send(seed: &Seed, bed: &TestBed) -> Ledger {
    let mut ledger = Ledger { attempts_max: ATTEMPTS_MAX, ..Ledger::default() };
    for _ in 0..seed.below(15) {
        let (work, wait) = (Work::of(seed), Duration::from_millis(seed.below(MILLIS)));
        let message = Message::json("work", &work).unwrap();
        let id = if seed.percent(70) {
            // Now and then messages come after a while.
            bed.client().emit_after(&topic(), message, wait).await.unwrap()
        } else {
            bed.send(&topic(), message).await
        };
        ledger.events.insert(id, work);
    }
    let requests = (0..seed.below(15)).map(|_| {
        let mut work = Work::of(seed);
        let leaves_after = seed.percent(10).then(|| Duration::from_millis(seed.below(3000)));
        if leaves_after.is_some() && seed.percent(50) {
            work.end = End::UntilCancelled;
        }
        let wait = Duration::from_millis(seed.below(MILLIS));
        let within = Duration::from_millis(500 + seed.below(30_000));
        ask(bed, work, wait, within, leaves_after)
    });
    ledger.requests = join_all(requests).await.into_iter().collect();
    ledger
}

async fn ask(
    bed: &TestBed,
    work: Work,
    wait: Duration,
    within: Duration,
    leaves_after: Option<Duration>,
) -> (streamerson::core::MessageId, (Work, Answer)) {
    sleep(wait).await;
    let request = Request::new(EventType::for_user("work").unwrap(), serde_json::to_vec(&work).unwrap());
    let (id, request) = (request.id.clone(), request.with_timeout(within));
    let (client, to) = (bed.client(), topic());
    let call = client.request(&to, request);
    let answer = match leaves_after {
        Some(after) => timeout(after, call).await.map_or(Answer::Dropped, Answer::Got),
        None => Answer::Got(call.await),
    };
    (id, (work, answer))
}

/// Up to four crashes and outages, so that no message is given up for them, and whatever else there is.
async fn disturb(seed: &Seed, bed: &TestBed) {
    for _ in 0..seed.below(4) {
        bed.start();
    }
    let mut severe = 0;
    for _ in 0..seed.below(12) {
        sleep(Duration::from_millis(seed.below(MILLIS / 6))).await;
        let running = bed.running();
        match seed.below(6) {
            0 if severe < 4 && !running.is_empty() => {
                severe += 1;
                bed.crash(*seed.one_of(&running));
            }
            1 if severe < 4 => {
                severe += 1;
                bed.outage(Duration::from_millis(seed.below(20_000))).await;
            }
            2 if !running.is_empty() => bed.stop(*seed.one_of(&running)).await,
            3 => bed.cut(),
            _ => {
                if running.len() < 4 {
                    bed.start();
                }
            }
        }
    }
}
