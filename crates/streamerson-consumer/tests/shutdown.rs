//! Stopping: what runs may end, what never began goes to others at once.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use streamerson_consumer::{
    Handler, Incoming,
    extract::{Cancelled, Emitter},
};
use streamerson_core::{
    EntryId,
    broker::{Membership, ReclaimFrom},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tower::limit::ConcurrencyLimitLayer;

use self::common::{Running, consumer, request, status};

#[tokio::test(start_paused = true)]
async fn what_runs_may_end_and_is_answered() {
    let entered = Arc::new(Notify::new());
    let slow = {
        let entered = entered.clone();
        async move || {
            entered.notify_one();
            tokio::time::sleep(Duration::from_secs(10)).await;
            "done"
        }
    };
    let mut running = Running::start(consumer().on("slow", slow));
    let client = running.client.clone();
    let asked = tokio::spawn(async move { client.request(&common::topic(), request("slow", "")).await });
    entered.notified().await;
    let since = Instant::now();
    running.tell_to_stop();
    let broker = running.broker.clone();
    running.stopped().await;
    assert!((10..13).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    assert_eq!(asked.await.unwrap().unwrap().payload, "done");
    let members = broker.members(&common::topic().inbound(), common::topic().name()).await.unwrap();
    assert!(members.is_empty(), "the member left: {members:?}");
}

#[tokio::test(start_paused = true)]
async fn what_never_began_goes_to_another_member_at_once() {
    let (began, mut begun) = mpsc::unbounded_channel();
    let slow = async move || {
        began.send(()).unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        "first"
    };
    let mut first = Running::start(consumer().on("one", slow.layer(ConcurrencyLimitLayer::new(1))));
    let client = first.client.clone();
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.request(&common::topic(), request("one", "")).await })
        })
        .collect();
    begun.recv().await.unwrap();
    while first.pending().await < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let broker = first.broker.clone();
    first.tell_to_stop();
    let since = Instant::now();
    let second = Running::start_on(broker, consumer().on("one", async || "second"));
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap().unwrap().payload);
    }
    first.stopped().await;
    answers.sort();
    assert_eq!(answers, ["first", "second", "second"]);
    assert!(since.elapsed() < Duration::from_secs(30), "no lease had to end: {:?}", since.elapsed());
    assert_eq!(begun.len(), 0, "the first member began one only");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn handlers_past_the_drain_are_told_and_then_dropped() {
    let (events, mut seen) = mpsc::unbounded_channel();
    let entered = Arc::new(AtomicUsize::new(0));
    let polite = {
        let (events, entered) = (events.clone(), entered.clone());
        async move |cancelled: Cancelled| {
            entered.fetch_add(1, Ordering::SeqCst);
            cancelled.cancelled().await;
            assert!(cancelled.is_cancelled());
            events.send("told").unwrap();
            "cut short"
        }
    };
    struct OnDrop(mpsc::UnboundedSender<&'static str>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    let stubborn = {
        let entered = entered.clone();
        async move || {
            let _dropped = OnDrop(events);
            entered.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
    };
    let drain = Duration::from_secs(5);
    let mut running = Running::start(consumer().on("polite", polite).on("stubborn", stubborn).drain(drain));
    let client = running.client.clone();
    let asked = tokio::spawn(async move { client.request(&common::topic(), request("polite", "")).await });
    while entered.load(Ordering::SeqCst) < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.emit("stubborn", "").await;
    while entered.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let since = Instant::now();
    running.tell_to_stop();
    assert_eq!(seen.recv().await, Some("told"));
    assert_eq!(since.elapsed().as_secs(), 5);
    assert_eq!(seen.recv().await, Some("dropped"));
    assert_eq!(since.elapsed().as_secs(), 6);
    assert_eq!(asked.await.unwrap().unwrap().payload, "cut short");

    let broker = running.broker.clone();
    running.stopped().await;
    assert!(since.elapsed() < Duration::from_secs(10));
    let handled = Arc::new(Notify::new());
    let again = {
        let handled = handled.clone();
        async move || handled.notify_one()
    };
    let second = Running::start_on(broker, consumer().on("stubborn", again));
    let since = Instant::now();
    handled.notified().await;
    assert!(since.elapsed() < Duration::from_secs(2), "handed back, not left to its lease: {:?}", since.elapsed());
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_no_more_cancels() {
    let (told, mut elapsed) = mpsc::unbounded_channel();
    let waits = async move |cancelled: Cancelled| {
        let since = Instant::now();
        assert!(!cancelled.is_cancelled());
        cancelled.cancelled().await;
        told.send((since.elapsed().as_secs(), cancelled.is_cancelled())).unwrap();
    };
    let running = Running::start(consumer().on("wait", waits));
    let hasty = request("wait", "").with_timeout(Duration::from_secs(3));
    assert!(running.client.request(&common::topic(), hasty).await.is_err());
    assert_eq!(elapsed.recv().await, Some((3, true)));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_cancels_and_nothing_more_comes_of_the_handler() {
    let entered = Arc::new(Notify::new());
    let waits = {
        let entered = entered.clone();
        async move |cancelled: Cancelled, emitter: Emitter| {
            emitter.emit(&common::topic(), "never.sent", "").unwrap();
            entered.notify_one();
            cancelled.cancelled().await;
        }
    };
    let running = Running::start(consumer().on("wait", waits));
    running.emit("wait", "").await;
    entered.notified().await;
    let other = Membership::new(common::topic().inbound(), common::topic().name().clone());
    let take_over = ReclaimFrom {
        membership: other.clone(),
        lease: Duration::ZERO,
        cursor: EntryId::ZERO,
        count: 10,
        handed_back_first: false,
        dead: common::topic().dead(),
        dead_entries_max: 10,
    };
    let taken = running.broker.reclaim(take_over).await.unwrap().deliveries;
    assert_eq!(taken.len(), 1);
    let broker = running.broker.clone();
    // This waits for the handler, which only the loss ends.
    running.stop().await;
    let members = broker.members(&other.key, &other.group).await.unwrap();
    assert_eq!(members.iter().map(|member| member.pending).collect::<Vec<_>>(), [1], "still the other's: {members:?}");
    assert_eq!(common::entries(&broker, other.key).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_drops_its_handlers_and_the_lease_ends() {
    let (events, mut seen) = mpsc::unbounded_channel();
    struct OnDrop(mpsc::UnboundedSender<&'static str>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    let stubborn = async move || {
        events.send("begun").unwrap();
        let _dropped = OnDrop(events);
        std::future::pending::<()>().await;
    };
    let running = Running::start(consumer().on("stubborn", stubborn));
    running.emit("stubborn", "").await;
    assert_eq!(seen.recv().await, Some("begun"));
    let broker = running.broker.clone();
    running.crash();
    let dropped = tokio::time::timeout(Duration::from_secs(1), seen.recv()).await;
    assert_eq!(dropped, Ok(Some("dropped")));

    let since = Instant::now();
    let (counts, mut counted) = mpsc::unbounded_channel();
    let again = async move |incoming: Incoming| counts.send(incoming.delivery().count).unwrap();
    let second = Running::start_on(broker, consumer().on("stubborn", again));
    assert_eq!(counted.recv().await, Some(2));
    assert!((25..35).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_members_of_a_group_share_the_messages() {
    let count = Arc::new(AtomicUsize::new(0));
    let handler = {
        let count = count.clone();
        async move || {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let first = Running::start(consumer().on("a", handler.clone()).concurrency(5));
    let second = Running::start_on(first.broker.clone(), consumer().on("a", handler).concurrency(5));
    let since = Instant::now();
    let replies = futures_util::future::join_all((0..10).map(|_| first.request("a", ""))).await;
    assert!(replies.iter().all(|reply| status(reply) == 200));
    assert_eq!(count.load(Ordering::SeqCst), 10, "each message once");
    assert_eq!(since.elapsed().as_secs(), 1, "five for each");
    first.stop().await;
    second.stop().await;
}
