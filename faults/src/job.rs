//! What a message asks for.

use serde::{Deserialize, Serialize};

/// The topic of all jobs.
pub const TOPIC: &str = "jobs";

/// A job: event types say what kind it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Jobs with equal keys are done in order, where the member is told so.
    pub key: u64,
    /// Which one of its key this is.
    pub number: u64,
    /// How long it takes.
    pub takes_ms: u64,
}
