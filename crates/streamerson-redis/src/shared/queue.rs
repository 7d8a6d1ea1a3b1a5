//! What callers have queued on the shared connection: encoded commands, and who waits for which reply.

use std::collections::VecDeque;

use streamerson_core::metrics::BrokerCall;
use tokio::{sync::oneshot, time::Instant};

use crate::resp::{Command, Reply, Segments, WriteBuffer};

/// What a waiter learns in the end.
pub(super) type Outcome = Result<Vec<Reply>, Fate>;

/// What became of commands whose connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// No byte of them left this process.
    NotSent,
    /// They may have been carried out.
    Unknown,
}

/// Commands being queued by one call. They go out next to each other, in order.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    buffer: &'a mut WriteBuffer,
    epoch: u64,
    commands: usize,
    counts_as: Option<BrokerCall>,
}

impl Batch<'_> {
    /// Has the call counted as one of these, and timed from the start of the batch that carries it. For calls of which
    /// there are so many that each would feel the two looks at the clock.
    pub(crate) fn counts_as(&mut self, call: BrokerCall) {
        self.counts_as = Some(call);
    }

    /// Begins a command of `arguments` arguments, its name included. It is answered by one reply.
    pub(crate) fn command(&mut self, arguments: usize) -> Command<'_> {
        self.commands += 1;
        self.buffer.command(arguments)
    }

    /// The number of the connection that the batch goes out on.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// Who waits for the replies to one call.
#[derive(Debug)]
struct Waiter {
    /// Gone for commands whose outcome interests nobody.
    tell: Option<oneshot::Sender<Outcome>>,
    /// How many replies are still to come.
    missing: usize,
    replies: Vec<Reply>,
    /// Where in the connection's bytes its commands begin.
    start: u64,
    /// How much room it takes among what is in flight.
    weight: usize,
    timed: Option<Timed>,
}

/// A call that is timed: what it is, and since when.
pub(super) type Timed = (BrokerCall, Instant);

/// The state behind the mutex that callers and driver share. It is held for an encoding or a few pops at a time, never
/// across an await, so a std mutex serves.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Whether there is a connection to queue for.
    open: bool,
    epoch: u64,
    buffer: WriteBuffer,
    waiters: VecDeque<Waiter>,
    /// How many bytes were encoded for this connection, and how many of them the socket has taken.
    encoded: u64,
    written: u64,
    /// Since when the server owes a reply and was silent.
    silent_since: Option<Instant>,
    /// Since when commands queue that were not taken to be written.
    batch_since: Option<Instant>,
}

impl Queue {
    /// Begins a new connection; what is queued from now on is for it.
    pub(super) fn open(&mut self, epoch: u64) {
        *self = Self { open: true, epoch, ..Self::default() };
    }

    /// Queues what `encode` encodes, if there is a connection.
    pub(super) fn push(
        &mut self,
        weight: usize,
        tell: Option<oneshot::Sender<Outcome>>,
        encode: &mut dyn FnMut(&mut Batch<'_>),
    ) -> Result<Pushed, Closed> {
        if !self.open {
            return Err(Closed);
        }
        let before = self.buffer.len();
        let mut batch = Batch { buffer: &mut self.buffer, epoch: self.epoch, commands: 0, counts_as: None };
        encode(&mut batch);
        let (missing, counts_as) = (batch.commands, batch.counts_as);
        let start = self.encoded;
        self.encoded += (self.buffer.len() - before) as u64;
        if missing > 0 {
            let since = *self.batch_since.get_or_insert_with(Instant::now);
            self.silent_since.get_or_insert(since);
            let timed = counts_as.map(|call| (call, since));
            self.waiters.push_back(Waiter { tell, missing, replies: Vec::new(), start, weight, timed });
        }
        Ok(Pushed { epoch: self.epoch, commands: missing, first: before == 0 && missing > 0 })
    }

    /// Takes what waits to be written.
    pub(super) fn take(&mut self) -> Segments {
        self.batch_since = None;
        self.buffer.take()
    }

    /// The socket has taken so many more bytes.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// The server was heard, and these are the replies, in order. Moves the calls that now have all of theirs to
    /// `answered`.
    pub(super) fn heard(&mut self, replies: &mut Vec<Reply>, answered: &mut Vec<Answered>) -> Result<(), Unsolicited> {
        for reply in replies.drain(..) {
            let waiter = self.waiters.front_mut().filter(|waiter| waiter.start < self.written).ok_or(Unsolicited)?;
            if waiter.replies.is_empty() {
                waiter.replies.reserve_exact(waiter.missing);
            }
            waiter.replies.push(reply);
            waiter.missing -= 1;
            if waiter.missing == 0 {
                let waiter = self.waiters.pop_front().ok_or(Unsolicited)?;
                let Waiter { tell, replies, weight, timed, .. } = waiter;
                answered.push(Answered { tell, outcome: Ok(replies), weight, timed });
            }
        }
        self.silent_since = (!self.waiters.is_empty()).then(Instant::now);
        Ok(())
    }

    /// Ends the connection: what waited for it learns what became of it.
    pub(super) fn close(&mut self) -> Vec<Answered> {
        self.open = false;
        self.buffer.clear();
        (self.silent_since, self.batch_since) = (None, None);
        let written = self.written;
        let lost = |waiter: Waiter| {
            let fate = if waiter.start >= written { Fate::NotSent } else { Fate::Unknown };
            Answered { tell: waiter.tell, outcome: Err(fate), weight: waiter.weight, timed: None }
        };
        self.waiters.drain(..).map(lost).collect()
    }

    /// The number of the connection now, or of the last one.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_idle(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Since when the server owes a reply and was silent.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }
}

/// There is no connection to queue for.
#[derive(Debug)]
pub(super) struct Closed;

/// A reply came that nobody waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsolicited;

/// What was queued.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pushed {
    /// The number of the connection.
    pub(super) epoch: u64,
    /// How many commands there were; with none, nobody will answer.
    pub(super) commands: usize,
    /// Whether the buffer was empty before, so that the writer must be told.
    pub(super) first: bool,
}

/// A call that is over.
#[derive(Debug)]
pub(super) struct Answered {
    tell: Option<oneshot::Sender<Outcome>>,
    outcome: Outcome,
    /// The room that it gives back.
    pub(super) weight: usize,
    pub(super) timed: Option<Timed>,
}

impl Answered {
    /// Tells whoever waits. Done outside the mutex, as it wakes a task.
    pub(super) fn tell(self) {
        match (self.tell, self.outcome) {
            // A caller that stopped waiting is no error.
            (Some(tell), outcome) => drop(tell.send(outcome)),
            (None, Ok(replies)) => {
                for message in replies.iter().filter_map(Reply::error) {
                    tracing::debug!(error = %String::from_utf8_lossy(message), "redis refused an unawaited command");
                }
            }
            (None, Err(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue) -> oneshot::Receiver<Outcome> {
        let (tell, outcome) = oneshot::channel();
        queue
            .push(1, Some(tell), &mut |batch| {
                batch.command(1).arg("PING");
            })
            .unwrap();
        outcome
    }

    fn pong() -> Reply {
        Reply::Status("PONG".into())
    }

    #[tokio::test]
    async fn replies_go_to_waiters_in_order() {
        let mut queue = Queue::default();
        queue.open(1);
        let (tell, both) = oneshot::channel();
        let pushed = queue.push(1, Some(tell), &mut |batch| {
            batch.command(1).arg("MULTI");
            batch.command(1).arg("EXEC");
        });
        assert!(pushed.is_ok_and(|pushed| pushed.first && pushed.commands == 2));
        let one = push(&mut queue);
        queue.wrote(usize::MAX);

        let mut answered = Vec::new();
        queue.heard(&mut vec![Reply::Nil], &mut answered).unwrap();
        assert!(answered.is_empty() && queue.silent_since().is_some());
        queue.heard(&mut vec![Reply::Integer(1), pong()], &mut answered).unwrap();
        assert!(queue.is_idle() && queue.silent_since().is_none());
        answered.into_iter().for_each(Answered::tell);
        assert_eq!(both.await.unwrap(), Ok(vec![Reply::Nil, Reply::Integer(1)]));
        assert_eq!(one.await.unwrap(), Ok(vec![pong()]));
        assert_eq!(queue.heard(&mut vec![pong()], &mut Vec::new()), Err(Unsolicited));
    }

    #[tokio::test]
    async fn a_loss_tells_sent_from_unsent() {
        let mut queue = Queue::default();
        queue.open(1);
        let (sent, half, unsent) = (push(&mut queue), push(&mut queue), push(&mut queue));
        queue.wrote("*1\r\n$4\r\nPING\r\n".len() + 1);
        queue.close().into_iter().for_each(Answered::tell);
        assert_eq!(sent.await.unwrap(), Err(Fate::Unknown));
        assert_eq!(half.await.unwrap(), Err(Fate::Unknown));
        assert_eq!(unsent.await.unwrap(), Err(Fate::NotSent));
        assert!(queue.push(1, None, &mut |_| ()).is_err());
    }

    #[test]
    fn a_reply_to_what_was_not_sent_is_nobodys() {
        let mut queue = Queue::default();
        queue.open(1);
        let _outcome = push(&mut queue);
        assert_eq!(queue.heard(&mut vec![pong()], &mut Vec::new()), Err(Unsolicited));
    }
}
