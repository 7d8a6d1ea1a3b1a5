//! Who is measured.

use std::fmt;

use clap::ValueEnum;
use streamerson_test::RedisServer;

use crate::{
    Failure, bare,
    measure::Sample,
    ours::{Echo, Ours},
    raw,
    workload::Workload,
};

/// A way to do the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// Threads that copy bytes between blocking sockets: the floor
    Raw,
    /// The `redis` crate with a coalescing writer: what a careful user would write
    Bare,
    /// streamerson over Redis, with deliveries taken straight from the group
    Member,
    /// streamerson over Redis
    #[value(name = "streamerson")]
    Consumer,
    /// streamerson over its embedded broker
    Memory,
}

impl Contender {
    /// Does the work once, on a server of its own.
    pub(crate) async fn run(self, workload: Workload, ops: usize) -> Result<Sample, Failure> {
        if self == Self::Memory {
            return Ours::in_memory().run(workload, ops, Echo::Consumer).await;
        }
        let server = RedisServer::spawn().await;
        match self {
            // It blocks this thread, on which nothing else runs.
            Self::Raw => raw::run(&server, workload, ops).await,
            Self::Bare => bare::run(&server, workload, ops).await,
            Self::Member => Ours::over(&server).await?.run(workload, ops, Echo::Member).await,
            Self::Consumer | Self::Memory => Ours::over(&server).await?.run(workload, ops, Echo::Consumer).await,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw loop",
            Self::Bare => "bare client",
            Self::Member => "streamerson, no handlers",
            Self::Consumer => "streamerson",
            Self::Memory => "streamerson, embedded",
        })
    }
}
