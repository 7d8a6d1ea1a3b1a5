//! How much memory the entries of a broker may take.

use std::{
    mem::size_of,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;

use crate::{
    broker::BrokerError,
    entry::{Entry, Fields},
};

/// Bytes in use by all streams of a broker, and the most there may be.
///
/// The count is exact; the bound is looked at before an append, so appends that run at the same time can each pass it
/// by an entry.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicU64,
    max: u64,
}

impl Budget {
    pub(super) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), max })
    }

    /// Answers whether there is room for so many bytes, as Redis does above `maxmemory`.
    pub(super) fn admit(&self, bytes: u64) -> Result<(), BrokerError> {
        let used = self.used.load(Relaxed);
        if used.saturating_add(bytes) <= self.max {
            return Ok(());
        }
        Err(BrokerError::Refused {
            code: "OOM".into(),
            message: format!("the embedded broker holds {used} of at most {} bytes", self.max).into(),
        })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

/// What one stream takes of the budget. Goes back when the stream goes.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Share {
    pub(super) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.budget.used.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// What an entry with these fields takes: names, values and the places that hold them.
pub(super) fn entry_bytes(fields: &Fields) -> u64 {
    let places = size_of::<Entry>() + fields.len() * size_of::<(Bytes, Bytes)>();
    (places + fields.bytes_len()) as u64
}
