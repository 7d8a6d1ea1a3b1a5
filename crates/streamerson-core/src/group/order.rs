//! What keeps deliveries in order.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::message::Message;

/// A key: messages with equal keys are handled one after the other.
pub type LaneKey = Bytes;

/// Which messages are handled in order: those for which this gives equal keys.
#[derive(Clone)]
pub struct OrderedBy(Arc<KeyOf>);

type KeyOf = dyn Fn(&Message) -> Option<LaneKey> + Send + Sync;

impl OrderedBy {
    /// Orders messages by what `key` gives for each; those with `None` are in no order. It must not block, and gives the
    /// same for the same message every time.
    pub fn new(key: impl Fn(&Message) -> Option<LaneKey> + Send + Sync + 'static) -> Self {
        Self(Arc::new(key))
    }

    pub(super) fn key(&self, message: &Message) -> Option<LaneKey> {
        (self.0)(message)
    }
}

impl fmt::Debug for OrderedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrderedBy")
    }
}
