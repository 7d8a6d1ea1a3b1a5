//! Calls that wait for their replies.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::CallError;
use crate::{
    name::MessageId,
    reply::{InvalidReply, Reply},
};

type Answer = Result<Reply, InvalidReply>;

/// The number of a [`Channel`](super::channel::Channel) within its client. A channel has one inbox, so the number names
/// the inbox too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ChannelNumber(pub(super) u64);

/// The key of a pending call: the inbox that its reply must come from, and the id of its request.
///
/// The id alone would let a worker of any topic complete the call: ids are visible to every reader of a topic, and those
/// of requests with an `Idempotency-Key` can be computed.
type CallKey = (ChannelNumber, MessageId);

/// The pending calls of one client, by inbox and message id. The first reply completes a call; a reply without a call is
/// dropped.
#[derive(Debug)]
pub(super) struct PendingCalls {
    // A plain lock: it is held for one look-up, and never across an await.
    waiting: Mutex<Option<HashMap<CallKey, oneshot::Sender<Answer>>>>,
    calls_max: usize,
}

impl PendingCalls {
    pub(super) fn new(calls_max: usize) -> Self {
        Self { waiting: Mutex::new(Some(HashMap::new())), calls_max }
    }

    /// Enters a call whose reply comes to the inbox of `channel`; the call is forgotten when the returned guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, channel: ChannelNumber, id: MessageId) -> Result<PendingCall, CallError> {
        let mut waiting = self.lock();
        let waiting = waiting.as_mut().ok_or(CallError::Closed)?;
        if waiting.len() >= self.calls_max {
            return Err(CallError::Overloaded("too many calls wait for their replies in this process"));
        }
        let (sender, answer) = oneshot::channel();
        let key = (channel, id);
        match waiting.entry(key.clone()) {
            Entry::Occupied(_) => Err(CallError::DuplicateId(key.1)),
            Entry::Vacant(vacant) => {
                vacant.insert(sender);
                Ok(PendingCall { calls: Arc::clone(self), key, answer, entered: true })
            }
        }
    }

    /// Completes the call with this id whose reply was expected in the inbox of `channel`, the one that it came from. A
    /// call of another channel is left as it is.
    pub(super) fn complete(&self, channel: ChannelNumber, id: MessageId, answer: Answer) {
        let sender = self.lock().as_mut().and_then(|waiting| waiting.remove(&(channel, id)));
        if let Some(sender) = sender {
            // The caller may have gone in this moment, and then nobody wants to know.
            _ = sender.send(answer);
        }
    }

    /// How many calls wait.
    pub(super) fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, HashMap::len)
    }

    /// Fails every call, and each that comes.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<CallKey, oneshot::Sender<Answer>>>> {
        // Nothing panics while it is held, and a map is whole after any of its operations.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits. Dropping it forgets the call.
#[derive(Debug)]
pub(super) struct PendingCall {
    calls: Arc<PendingCalls>,
    key: CallKey,
    answer: oneshot::Receiver<Answer>,
    /// Whether it may still be among the calls that wait.
    entered: bool,
}

impl PendingCall {
    pub(super) async fn answer(&mut self) -> Result<Reply, CallError> {
        let answer = (&mut self.answer).await;
        self.entered = false;
        match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(CallError::Closed),
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.entered {
            return;
        }
        self.answer.close();
        if let Some(waiting) = self.calls.lock().as_mut()
            // An answer may have taken this call out a moment ago, and another call of the same id be in its place.
            && let Entry::Occupied(entered) = waiting.entry(self.key.clone())
            && entered.get().is_closed()
        {
            entered.remove();
        }
    }
}
