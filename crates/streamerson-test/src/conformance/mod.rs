//! What every broker must do, whatever it is made of: one suite for the embedded broker and for every server.
//!
//! [`conformance!`](crate::conformance!) makes a test of each case, and
//! [`conformance_of_a_server!`](crate::conformance_of_a_server) of those that need to reach past the port.
//! Every case works on topics with names of their own, so cases may share a broker and run at the same time.
//!
//! Time passes for real here. A case that waits polls the broker for what it waits for; a case that claims that
//! something does *not* happen in a time waits for a second event that marks the time, never for the clock.

pub mod append;
pub mod clock;
pub mod concurrency;
pub mod dead;
pub mod foreign;
pub mod groups;
pub mod inbox;
pub mod inspect;
pub mod lease;
pub mod marks;
pub mod members;
pub mod owners;
pub mod payloads;
pub mod range;
pub mod read;
pub mod reclaim;
pub mod schedule;
pub mod settle;
pub mod trim;

mod cases;
mod scene;

use std::time::Duration;

use streamerson_core::SharedBroker;
use tokio::{runtime, time::timeout};

use crate::RedisServer;

/// How long one case may take. A broker that hangs fails the case by name instead of holding up the whole run.
const PATIENCE: Duration = Duration::from_secs(60);

/// The broker under test, with the server behind it if there is one.
#[derive(Debug)]
pub struct Subject {
    /// The broker.
    pub broker: SharedBroker,
    /// What it speaks to; lives as long as the case.
    pub server: Option<RedisServer>,
}

impl Subject {
    /// A broker without a server.
    #[must_use]
    pub fn embedded(broker: SharedBroker) -> Self {
        Self { broker, server: None }
    }

    /// A broker that speaks to this server.
    #[must_use]
    pub fn on(server: RedisServer, broker: SharedBroker) -> Self {
        Self { broker, server: Some(server) }
    }
}

/// Runs one case to its end on a runtime of its own; what the macros expand to.
///
/// # Panics
///
/// If the case does, or if it takes more than a minute.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, case).await.expect("the case ends within a minute") });
}
