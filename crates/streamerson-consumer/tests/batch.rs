//! Handlers of batches.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use http::StatusCode;
use streamerson_consumer::{Consumer, Failure, Handler, Json, Problem, State, batch};
use streamerson_core::dead_letter::Reason;
use tokio::sync::{Notify, Semaphore, mpsc};
use tower::timeout::TimeoutLayer;

use self::common::{Running, consumer, reasons, request, status, topic};

#[tokio::test(start_paused = true)]
async fn a_batch_is_what_came_in_while_the_one_before_was_handled() {
    let (entered, free) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let batches = Arc::new(Mutex::new(Vec::new()));
    let count = {
        let (entered, free, batches) = (entered.clone(), free.clone(), batches.clone());
        async move |numbers: Vec<Json<u32>>| {
            batches.lock().unwrap().push(numbers.into_iter().map(|Json(number)| number).collect::<Vec<_>>());
            entered.notify_one();
            free.acquire().await.unwrap().forget();
        }
    };
    let running = Running::start(consumer().on("count", batch(count).of_at_most(4)));
    let first = running.request("count", "0");
    let rest = async {
        entered.notified().await;
        let rest: Vec<_> = (1..=10).map(|number| number.to_string()).collect();
        let rest = join_all(rest.iter().map(|number| running.request("count", number)));
        // The handler of the first batch ends once all the others wait.
        let release = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            free.add_permits(10);
        };
        tokio::join!(rest, release).0
    };
    let (first, rest) = tokio::join!(first, rest);
    assert!(rest.iter().chain([&first]).all(|reply| status(reply) == 200 && reply.payload.is_empty()));
    let mut batches = batches.lock().unwrap().clone();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [1, 4, 4, 2]);
    let mut all = std::mem::take(&mut batches).concat();
    all.sort_unstable();
    assert_eq!(all, (0..=10).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_state_and_rejects_one_by_one() {
    async fn sum(State(sums): State<mpsc::UnboundedSender<u32>>, numbers: Vec<Json<u32>>) -> Result<(), Failure> {
        sums.send(numbers.iter().map(|Json(number)| number).sum())?;
        Ok(())
    }
    let (sums, mut summed) = mpsc::unbounded_channel();
    let running = Running::start(Consumer::new(topic()).on_batch("sum", sum).with_state(sums));
    assert_eq!(status(&running.request("sum", "7").await), 200);
    assert_eq!(status(&running.request("sum", "x").await), 400);
    assert_eq!(summed.recv().await, Some(7));
    running.emit("sum", "x").await;
    running.idle().await;
    assert_eq!(reasons(&running.dead_letters().await), [Reason::Rejected]);
    assert!(summed.try_recv().is_err(), "a batch of nothing is not handled");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_fails_for_each_of_its_messages_and_the_next_one_runs() {
    async fn fail(texts: Vec<String>) -> Result<(), Failure> {
        match &*texts[0] {
            "fail" => Err("no luck".into()),
            "panic" => panic!("no luck at all"),
            "refuse" => Err(Problem::new(StatusCode::CONFLICT).into()),
            _ => Ok(()),
        }
    }
    let running = Running::start(consumer().on_batch("try", fail));
    assert_eq!(status(&running.request("try", "refuse").await), 409);
    assert_eq!(status(&running.request("try", "fail").await), 502);
    assert_eq!(status(&running.request("try", "panic").await), 502);
    assert_eq!(status(&running.request("try", "fine").await), 200);
    let letters = running.dead_letters().await;
    assert_eq!(reasons(&letters), [Reason::Failed, Reason::Panicked]);
    assert_eq!([&*letters[0].0.error, &*letters[1].0.error], ["no luck", "no luck at all"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_past_its_deadline_or_a_timeout_is_in_no_batch() {
    let (entered, free) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (handled, mut batches) = mpsc::unbounded_channel();
    let handler = {
        let (entered, free) = (entered.clone(), free.clone());
        async move |texts: Vec<String>| {
            handled.send(texts).unwrap();
            entered.notify_one();
            free.acquire().await.unwrap().forget();
        }
    };
    let running = Running::start(consumer().on("one", batch(handler).layer(TimeoutLayer::new(Duration::from_secs(9)))));
    let first = running.request("one", "first");
    let expires = async {
        entered.notified().await;
        let hasty = request("one", "expires").with_timeout(Duration::from_secs(1));
        running.client.request(&topic(), hasty).await
    };
    let gives_up = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        running.request("one", "given up").await
    };
    let later = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        free.add_permits(5);
        running.request("one", "last").await
    };
    let (first, expires, gives_up, last) = tokio::join!(first, expires, gives_up, later);
    assert_eq!((status(&first), status(&gives_up), status(&last)), (504, 504, 200));
    assert!(expires.is_err());
    assert_eq!(batches.recv().await.unwrap(), ["first"]);
    assert_eq!(batches.recv().await.unwrap(), ["last"]);
    running.stop().await;
}
