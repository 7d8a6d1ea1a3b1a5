//! Messages that come twice, with a layer that handles them once.

use std::time::Duration;

use futures_util::future::join;
use streamerson::{
    consumer::DeduplicateLayer,
    core::{Message, MessageId, client::Request},
    test::{Faults, Seed, TestBed, explore},
};
use tokio::time::sleep;

use crate::work::{Done, End, Work, consumer, topic};

/// What was settled once is not handled again, and a repetition is answered as the first was.
#[test]
fn what_is_settled_is_not_handled_again() {
    explore(500, async |seed| {
        let done = Done::default();
        let make = {
            let done = done.clone();
            move || {
                let layer = DeduplicateLayer::within(Duration::from_secs(24 * 60 * 60));
                consumer(&done).layer(layer).with_state(done.clone()).lease(Duration::from_secs(2))
            }
        };
        let bed = TestBed::with_faults(Faults::of(&seed), make);
        bed.start();
        let work = || Work { failures: 0, end: End::Answer, ..Work::of(&seed) };
        for _ in 0..10 {
            let work = work();
            let id = MessageId::unique();
            if seed.percent(50) {
                for _ in 0..=seed.below(2) {
                    bed.send(&topic(), event(&work, &id)).await;
                }
                disturb(&seed, &bed).await;
                bed.settled().await;
                let before = done.of(&id);
                assert!(before.succeeded > 0);
                bed.send(&topic(), event(&work, &id)).await;
                bed.settled().await;
                assert_eq!(done.of(&id), before, "it was settled, and is not handled again");
            } else {
                let (first, ()) = join(bed.client().request(&topic(), request(&work, &id)), disturb(&seed, &bed)).await;
                bed.settled().await;
                let before = done.of(&id);
                let again = bed.client().request(&topic(), request(&work, &id)).await.unwrap();
                assert_eq!(first.unwrap(), again, "answered as the first was");
                assert_eq!((again.payload, done.of(&id)), (work.takes_ms.to_string().into(), before));
            }
        }
    });
}

async fn disturb(seed: &Seed, bed: &TestBed) {
    sleep(Duration::from_millis(seed.below(200))).await;
    if seed.percent(10) {
        bed.crash(*seed.one_of(&bed.running()));
        bed.start();
    }
    if seed.percent(10) {
        bed.cut();
    }
}

fn event(work: &Work, id: &MessageId) -> Message {
    Message::json("work", work).unwrap().with_id(id.clone())
}

fn request(work: &Work, id: &MessageId) -> Request {
    let message = event(work, id);
    Request::new(message.event, message.payload).with_id(message.id)
}
