//! Consumers of events for everyone.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use streamerson_consumer::{Consumer, Failure, Json, RunError, Topic, extract::Emitter};
use streamerson_core::{Message, Reply, SharedBroker, broker::memory::Memory, wire::WireFormat};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use common::{messages, topic};

struct Listener {
    seen: Arc<Mutex<Vec<u64>>>,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), RunError>>,
}

impl Listener {
    async fn start(broker: &SharedBroker) -> Self {
        let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
        let handler = {
            let seen = Arc::clone(&seen);
            move |Json(number): Json<u64>| {
                let seen = Arc::clone(&seen);
                async move {
                    assert_ne!(number, 13, "a handler that panics");
                    seen.lock().unwrap().push(number);
                    if number == 7 { Err(Failure::new("no luck")) } else { Ok(()) }
                }
            }
        };
        let (stop, stopped) = oneshot::channel();
        let consumer = Consumer::new(topic()).broadcast().on("changed", handler);
        let run = tokio::spawn(consumer.run(broker.clone(), async { _ = stopped.await }));
        // Events count from when it looks at the stream for the first time.
        sleep(Duration::from_millis(100)).await;
        Self { seen, stop, run }
    }

    async fn stop(self) -> Vec<u64> {
        self.stop.send(()).unwrap();
        self.run.await.unwrap().unwrap();
        Arc::into_inner(self.seen).unwrap().into_inner().unwrap()
    }
}

async fn changed(broker: &SharedBroker, number: u64) {
    broker.publish(topic().outbound(), &Message::json("changed", &number).unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_process_sees_every_event_whatever_became_of_others() {
    let broker: SharedBroker = Memory::new().into();
    changed(&broker, 0).await;
    let listeners = [Listener::start(&broker).await, Listener::start(&broker).await];
    for number in [1, 7, 13, 2] {
        changed(&broker, number).await;
    }
    broker.publish(topic().outbound(), &Message::json("other", "").unwrap()).await.unwrap();
    changed(&broker, 3).await;
    sleep(Duration::from_secs(1)).await;
    for listener in listeners {
        assert_eq!(listener.stop().await, [1, 7, 2, 3], "from when it began, and past what fails");
    }
    assert_eq!(messages(&broker, topic().dead()).await, []);
    assert_eq!(broker.groups(&topic().outbound()).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_handlers_send_out_goes_once_they_succeed() {
    let broker: SharedBroker = Memory::new().into();
    let results = Topic::new("results").unwrap();
    let handler = {
        let results = results.clone();
        move |emitter: Emitter, Json(number): Json<u64>| {
            let results = results.clone();
            async move {
                emitter.emit(&results, "result", &number)?;
                if number == 7 { Err(Failure::new("no luck")) } else { Ok(()) }
            }
        }
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let consumer = Consumer::new(topic()).broadcast().on("changed", handler);
    let run = tokio::spawn(consumer.run(broker.clone(), async { _ = stopped.await }));
    sleep(Duration::from_millis(100)).await;
    for number in [6, 7, 8] {
        changed(&broker, number).await;
    }
    sleep(Duration::from_secs(1)).await;
    stop.send(()).unwrap();
    run.await.unwrap().unwrap();
    let sent: Vec<_> = messages(&broker, results.inbound()).await.into_iter().map(|message| message.payload).collect();
    assert_eq!(sent, ["6", "8"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_handled_at_once_than_was_said() {
    let broker: SharedBroker = Memory::new().into();
    let consumer = Consumer::new(topic()).broadcast().concurrency(1).on("changed", async || {
        sleep(Duration::from_secs(10)).await;
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let mut run = tokio::spawn(consumer.run(broker.clone(), async { _ = stopped.await }));
    sleep(Duration::from_millis(100)).await;
    let began = tokio::time::Instant::now();
    for number in 0..3 {
        changed(&broker, number).await;
    }
    sleep(Duration::from_secs(25)).await;
    stop.send(()).unwrap();
    // The third is at work since 20 s, and may end.
    timeout(Duration::from_secs(10), &mut run).await.unwrap().unwrap().unwrap();
    assert_eq!(began.elapsed().as_secs(), 30);
}

/// In the original's format they lie in the same stream.
#[tokio::test(start_paused = true)]
async fn replies_are_no_events_for_everyone() {
    let broker: SharedBroker = Memory::new().into();
    let topic = topic().with_wire(WireFormat::Js);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let handler = {
        let seen = Arc::clone(&seen);
        async move |text: String| seen.lock().unwrap().push(text)
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let consumer = Consumer::new(topic.clone()).broadcast().fallback(handler);
    let run = tokio::spawn(consumer.run(broker.clone(), async { _ = stopped.await }));
    sleep(Duration::from_millis(100)).await;
    let reply = Reply::new("reply").into_message(topic.new_message_id());
    let event = Message::json("changed", "event").unwrap();
    for message in [reply, event] {
        broker.publish(topic.outbound(), &message).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    stop.send(()).unwrap();
    run.await.unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), ["\"event\""]);
}

#[tokio::test]
async fn events_for_everyone_are_not_shared_out() {
    let consumer = Consumer::new(topic()).broadcast().shards(2).on("changed", async || ());
    assert!(matches!(consumer.run(Memory::new(), async {}).await, Err(RunError::Config(_))));
}
