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

/// The calls of one client, by message id. The first reply wins; a reply that nobody waits for is dropped.
#[derive(Debug)]
pub(super) struct PendingCalls {
    // A plain lock: it is held for one look-up, and never across an await.
    waiting: Mutex<Option<HashMap<MessageId, oneshot::Sender<Answer>>>>,
    calls_max: usize,
}

impl PendingCalls {
    pub(super) fn new(calls_max: usize) -> Self {
        Self { waiting: Mutex::new(Some(HashMap::new())), calls_max }
    }

    /// Enters a call; it is forgotten when the returned guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, id: MessageId) -> Result<PendingCall, CallError> {
        let mut waiting = self.lock();
        let waiting = waiting.as_mut().ok_or(CallError::Closed)?;
        if waiting.len() >= self.calls_max {
            return Err(CallError::Overloaded("too many calls wait for their replies in this process"));
        }
        let (sender, answer) = oneshot::channel();
        match waiting.entry(id.clone()) {
            Entry::Occupied(_) => Err(CallError::DuplicateId(id)),
            Entry::Vacant(vacant) => {
                vacant.insert(sender);
                Ok(PendingCall { calls: Arc::clone(self), id, answer, entered: true })
            }
        }
    }

    /// Hands a reply to whoever waits for it.
    pub(super) fn complete(&self, id: &MessageId, answer: Answer) {
        let sender = self.lock().as_mut().and_then(|waiting| waiting.remove(id));
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

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<MessageId, oneshot::Sender<Answer>>>> {
        // Nothing panics while it is held, and a map is whole after any of its operations.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits. Dropping it forgets the call.
#[derive(Debug)]
pub(super) struct PendingCall {
    calls: Arc<PendingCalls>,
    id: MessageId,
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
            && let Entry::Occupied(entered) = waiting.entry(self.id.clone())
            && entered.get().is_closed()
        {
            entered.remove();
        }
    }
}
