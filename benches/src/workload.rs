//! What is measured.

use std::fmt;

use clap::ValueEnum;

use crate::contender::Contender;

/// One kind of work, the same for every contender that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One producer appends messages as fast as they are taken
    Publish,
    /// Messages are appended by many tasks, each of which waits until its own is confirmed
    Emit512,
    /// A group of one member reads and acks a stream that is full when it comes
    Consume,
    /// Requests one after the other
    #[value(name = "call-1")]
    Call1,
    /// 64 requests in flight
    #[value(name = "call-64")]
    Call64,
    /// 512 requests in flight
    #[value(name = "call-512")]
    Call512,
}

impl Workload {
    pub(crate) const ALL: [Self; 6] =
        [Self::Publish, Self::Emit512, Self::Consume, Self::Call1, Self::Call64, Self::Call512];

    /// How many messages, or requests with their replies.
    pub(crate) fn ops(self) -> usize {
        match self {
            Self::Publish | Self::Emit512 | Self::Consume | Self::Call512 => 200_000,
            Self::Call64 => 100_000,
            Self::Call1 => 10_000,
        }
    }

    /// How many of them are under way at a time, where the caller decides that.
    pub(crate) fn in_flight(self) -> usize {
        match self {
            Self::Publish | Self::Consume | Self::Call1 => 1,
            Self::Call64 => 64,
            Self::Emit512 | Self::Call512 => 512,
        }
    }

    /// Who takes part. Where nothing is handled, there is no handler layer to tell apart.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        use Contender::{Bare, Consumer, Member, Memory, Raw};
        match self {
            Self::Publish | Self::Emit512 => &[Raw, Bare, Consumer, Memory],
            Self::Consume | Self::Call1 | Self::Call64 | Self::Call512 => &[Raw, Bare, Member, Consumer, Memory],
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish, one producer",
            Self::Emit512 => "emit, 512 in flight",
            Self::Consume => "consume by a group",
            Self::Call1 => "call, 1 in flight",
            Self::Call64 => "call, 64 in flight",
            Self::Call512 => "call, 512 in flight",
        })
    }
}
