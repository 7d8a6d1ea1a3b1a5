//! What handlers are told to do, and how often they did it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use streamerson::{
    Consumer, Json, State, Topic,
    consumer::{
        Failure, Problem,
        extract::{Cancelled, Emitter},
    },
    core::MessageId,
    test::Seed,
};

/// What a message asks its handler for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Work {
    /// How long it takes.
    pub(crate) takes_ms: u64,
    /// How many attempts fail before one succeeds.
    pub(crate) failures: u32,
    /// How it ends if it does not fail.
    pub(crate) end: End,
    /// How many messages it sends out.
    pub(crate) emits: usize,
    pub(crate) key: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Answer,
    NotFound,
    Panic,
    /// It goes on until it is told that nobody waits any more.
    UntilCancelled,
}

impl Work {
    pub(crate) fn of(seed: &Seed) -> Self {
        let takes_ms = if seed.percent(10) { seed.below(8000) } else { seed.below(50) };
        let end = match seed.below(20) {
            0 => End::NotFound,
            1 => End::Panic,
            _ => End::Answer,
        };
        let failures = if seed.percent(20) { u32::try_from(seed.below(5)).unwrap() } else { 0 };
        let emits = usize::try_from(seed.below(3)).unwrap();
        Self { takes_ms, failures, end, emits, key: seed.below(5) }
    }
}

/// What handlers did, by message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done(Arc<Mutex<BTreeMap<MessageId, Handled>>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Handled {
    pub(crate) begun: u32,
    pub(crate) failed: u32,
    pub(crate) succeeded: u32,
}

impl Done {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<MessageId, Handled>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn of(&self, id: &MessageId) -> Handled {
        self.lock().get(id).copied().unwrap_or_default()
    }

    fn note(&self, id: &MessageId, note: impl FnOnce(&mut Handled)) {
        note(self.lock().entry(id.clone()).or_default());
    }
}

pub(crate) fn topic() -> Topic {
    Topic::new("work").unwrap()
}

pub(crate) fn results() -> Topic {
    Topic::new("results").unwrap()
}

/// Does as it is told.
pub(crate) async fn handle(
    State(done): State<Done>,
    id: MessageId,
    cancelled: Cancelled,
    emitter: Emitter,
    Json(work): Json<Work>,
) -> Result<Json<u64>, Failure> {
    done.note(&id, |handled| handled.begun += 1);
    for number in 0..work.emits {
        emitter.emit(&results(), "result", &number)?;
    }
    if work.end == End::UntilCancelled {
        cancelled.cancelled().await;
    }
    tokio::time::sleep(Duration::from_millis(work.takes_ms)).await;
    if done.of(&id).failed < work.failures {
        done.note(&id, |handled| handled.failed += 1);
        return Err(Failure::new("not this time"));
    }
    match work.end {
        End::Answer | End::UntilCancelled => {
            done.note(&id, |handled| handled.succeeded += 1);
            Ok(Json(work.takes_ms))
        }
        End::NotFound => {
            done.note(&id, |handled| handled.succeeded += 1);
            Err(Problem::new(StatusCode::NOT_FOUND).into())
        }
        End::Panic => {
            done.note(&id, |handled| handled.failed += 1);
            panic!("a handler that panics")
        }
    }
}

pub(crate) fn consumer(done: &Done) -> Consumer<Done> {
    _ = done;
    Consumer::new(topic()).on("work", handle)
}
