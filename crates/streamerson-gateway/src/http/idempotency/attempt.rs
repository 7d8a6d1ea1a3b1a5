//! One attempt at a request with an idempotency key, from its record to its reply.
//!
//! There are two marks for each key. The *record* has the request's fingerprint for as long as the route keeps replies,
//! and the reply once there is one. The *attempt* is there while a gateway handles the request, and goes by itself a little
//! after the deadline. The gateway that sets the attempt looks at the record behind it and not before, so it cannot miss the
//! reply of the attempt before.
//!
//! The bytes of a record are counted when it is set and when it is extended, and with a reply to an attempt that did neither.
//! Room for the reply is reserved before the request is sent.

use std::{sync::Arc, time::Duration};

use axum::http::Extensions;
use bytes::Bytes;
use streamerson_core::{
    BrokerError, MarkKey, Name, Reply,
    broker::{Extension, Mark},
    client::CallError,
    mark_budget::{MarkBudget, MarkKind, Reservation},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Idempotency, Keyed,
    record::{self, OPEN_LEN, Record},
};
use crate::http::{
    refusal::Refusal,
    respond,
    route::{FOR_EVER, Settings},
};

/// How long after its deadline a request counts as being handled: a call may end a little later.
const GRACE: Duration = Duration::from_secs(2);
/// How long a reply may wait for being stored.
const STORED_WITHIN: Duration = Duration::from_secs(1);
/// The pause before a question is asked again whose answer was lost.
const PAUSE: Duration = Duration::from_millis(50);
/// The result of a look at a key.
enum Begun {
    /// The request is this attempt's to send, and there is room for its reply.
    Claimed(Claim),
    /// The request was answered before.
    Answered(Reply),
}

/// The right to send a request.
struct Claim {
    /// The room for the reply.
    room: Reservation,
    /// Whether this attempt has counted the bytes of its record, which were counted by the first attempt otherwise.
    is_counted: bool,
}

/// The record that a key has.
enum Found {
    /// None.
    Nothing,
    /// One of this request without a reply, or a value in another form.
    Open,
    /// One of this request with its reply.
    Answered(Reply),
    /// One of another request.
    AnotherRequest,
}

/// One try of a request that has a key.
struct Attempt {
    settings: Arc<Settings>,
    request: Keyed,
    record_key: MarkKey,
    attempt_key: MarkKey,
    /// A name for this try, so that its own mark is known again.
    name: Name,
    deadline: Instant,
}

/// The reply to a request: the result of `send`, or the reply that a request with this key had before. With a key an attempt
/// runs to its end although its client hangs up: otherwise a repetition would wait for an attempt that no gateway is at.
pub(in crate::http) async fn run_idempotent<F>(
    settings: Arc<Settings>,
    keyed: Option<Keyed>,
    deadline: Instant,
    extensions: Extensions,
    send: F,
) -> Result<Reply, Refusal>
where
    F: Future<Output = Result<Reply, CallError>> + Send + 'static,
{
    let Some(request) = keyed else { return Ok(send.await?) };
    let topic = &settings.topic;
    let (record_key, attempt_key) = (topic.idempotency_mark(&request.key), topic.idempotency_attempt(&request.key));
    let keyed_requests = settings.keyed_requests.clone();
    let attempt = Attempt { settings, request, record_key, attempt_key, name: Name::unique(), deadline };
    let run = async move {
        let result = attempt.run(send).await;
        // Until here, or clients that hang up would have more requests under way than there are permits.
        drop(extensions);
        result
    };
    match keyed_requests.spawn(run).await {
        Ok(result) => result,
        // The process is going down.
        Err(_) => Err(CallError::Closed.into()),
    }
}

impl Attempt {
    async fn run(self, send: impl Future<Output = Result<Reply, CallError>>) -> Result<Reply, Refusal> {
        match timeout_at(self.deadline, self.begin()).await {
            Ok(Ok(Begun::Claimed(claim))) => {
                let result = send.await;
                self.end(&result, claim).await;
                Ok(result?)
            }
            Ok(Ok(Begun::Answered(reply))) => {
                tracing::debug!(key = %self.record_key, "answered before");
                Ok(reply)
            }
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(CallError::TimedOut(self.settings.timeout).into()),
        }
    }

    /// Claims the request, unless it was answered, is being handled, or its key stands for another request.
    async fn begin(&self) -> Result<Begun, Refusal> {
        let bytes = MarkBudget::bytes_of(&self.record_key, OPEN_LEN);
        let with_reply = bytes.saturating_add(self.request.terms.reply_bytes_max as u64);
        let room = self.ask(move || self.budget().reserve(with_reply)).await.map_err(CallError::from)?;
        let Some(mut room) = room else { return self.look().await };
        // From here the record may be there, also where this attempt is cut off before it hears of it.
        room.risk(bytes);
        let mut tries = 0;
        let set = self.ask(|| {
            tries += 1;
            self.set_both_if_absent()
        });
        let set = set.await;
        // A try whose answer was lost may have set either mark.
        let is_first_try = tries == 1;
        let [attempt, record] = match set {
            Ok(found) => found,
            Err(error) => {
                self.undo(&error, is_first_try, &mut room).await;
                return Err(CallError::from(error).into());
            }
        };
        let found = self.found(record.as_ref());
        if record.is_some() && is_first_try {
            room.risk(0);
        }
        let is_claimed = attempt.is_none_or(|value| value == self.name.as_bytes());
        let begun = match found {
            Found::Answered(reply) => Ok(Begun::Answered(reply)),
            Found::AnotherRequest => Err(Refusal::KeyReused),
            Found::Nothing | Found::Open if !is_claimed => Err(Refusal::UnderWay),
            Found::Nothing => {
                room.commit(bytes);
                return Ok(Begun::Claimed(Claim { room, is_counted: true }));
            }
            Found::Open => match self.extend_record(&mut room, bytes).await {
                Ok((Extension::Absent, _)) => {
                    // It went at this moment: a repetition begins anew.
                    Err(Refusal::UnderWay)
                }
                Ok((extension, is_sure)) => {
                    let is_counted = extension == Extension::Extended || !is_first_try || !is_sure;
                    if is_counted {
                        room.commit(bytes);
                    }
                    return Ok(Begun::Claimed(Claim { room, is_counted }));
                }
                Err(error) => Err(CallError::from(error).into()),
            },
        };
        if is_claimed {
            self.release().await;
        }
        begun
    }

    /// Has the record that was found stay longer than this attempt, or another request could take the key meanwhile. Answers
    /// also whether that was done in one try: an earlier one may have extended it.
    async fn extend_record(&self, room: &mut Reservation, bytes: u64) -> Result<(Extension, bool), BrokerError> {
        let (least, ttl) = (self.left() + GRACE, self.open_ttl());
        // Its bytes are counted until it would have gone, and once more when it is extended.
        room.risk(bytes);
        let mut tries = 0;
        let extended = self.ask(|| {
            tries += 1;
            self.broker().extend_mark(&self.record_key, least, ttl)
        });
        let extended = extended.await;
        let is_sure = tries == 1;
        if is_sure && extended.as_ref().map_or_else(is_undone, |extension| *extension != Extension::Extended) {
            room.risk(0);
        }
        Ok((extended?, is_sure))
    }

    /// After an error of the question that sets both marks: lets go of the attempt, and of the record's bytes if there is
    /// none.
    async fn undo(&self, error: &BrokerError, is_first_try: bool, room: &mut Reservation) {
        let is_refused = matches!(error, BrokerError::Refused { .. });
        if is_first_try && !is_refused && is_undone(error) {
            return room.risk(0);
        }
        // The broker may have taken one of the two.
        let keys = vec![self.attempt_key.clone(), self.record_key.clone()];
        let Ok(Ok(found)) = timeout(STORED_WITHIN, self.broker().recall(keys)).await else { return };
        if let [attempt, record] = &*found {
            if record.is_none() && is_first_try {
                room.risk(0);
            }
            if attempt.as_ref().is_some_and(|value| value == self.name.as_bytes()) {
                self.release().await;
            }
        }
    }

    /// The answer to a request for whose reply there is no room: it is not sent.
    async fn look(&self) -> Result<Begun, Refusal> {
        let marks = self.ask(|| self.broker().recall(vec![self.record_key.clone(), self.attempt_key.clone()]));
        let marks = marks.await.map_err(CallError::from)?;
        let (record, attempt) = (marks.first().cloned().flatten(), marks.get(1).cloned().flatten());
        match self.found(record.as_ref()) {
            Found::Answered(reply) => Ok(Begun::Answered(reply)),
            Found::AnotherRequest => Err(Refusal::KeyReused),
            Found::Nothing | Found::Open if attempt.is_some() => Err(Refusal::UnderWay),
            Found::Nothing | Found::Open => {
                self.budget().on_refused();
                Err(Refusal::KeysFull)
            }
        }
    }

    fn found(&self, record: Option<&Bytes>) -> Found {
        match record.map(Record::parse) {
            None => Found::Nothing,
            Some(Record::Open { fingerprint } | Record::Answered { fingerprint, .. })
                if fingerprint != self.request.fingerprint =>
            {
                Found::AnotherRequest
            }
            Some(Record::Open { .. }) => Found::Open,
            Some(Record::Answered { reply, .. }) => Found::Answered(reply),
            Some(Record::Unrecognised) => {
                tracing::debug!(key = %self.record_key, "the record of a request is in another form; a reply takes its place");
                Found::Open
            }
        }
    }

    /// Sets the attempt and behind it the record; answers the values that are there already.
    async fn set_both_if_absent(&self) -> Result<[Option<Bytes>; 2], BrokerError> {
        let marks = vec![self.attempt_mark(self.left()), self.open_record()];
        let found = self.broker().mark_if_absent(marks).await?;
        found.try_into().map_err(|_| BrokerError::Protocol("two marks were set, and not two were answered".into()))
    }

    /// Asks the broker, again where the answer was lost.
    async fn ask<T, F>(&self, mut question: impl FnMut() -> F) -> Result<T, BrokerError>
    where
        F: Future<Output = Result<T, BrokerError>>,
    {
        loop {
            match question().await {
                Err(BrokerError::Interrupted { .. }) => sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }

    /// Keeps the reply, or lets the next attempt begin; where the request may still be handled, not before its deadline.
    /// The record stays in any case, so that its key cannot stand for another request.
    async fn end(&self, result: &Result<Reply, CallError>, claim: Claim) {
        match result {
            Ok(reply) if !respond::status(reply).is_server_error() => {
                let Some(released) = self.released() else { return };
                let is_set = self.set(self.kept(reply, claim).into_iter().chain([released]).collect()).await;
                if !is_set {
                    // The broker may have no room for the reply, and some for this.
                    self.release().await;
                }
            }
            // It may be under way.
            Err(
                CallError::TimedOut(_)
                | CallError::DuplicateId(_)
                | CallError::Closed
                | CallError::Broker(BrokerError::Interrupted { .. }),
            ) => {}
            Ok(_) | Err(_) => self.release().await,
        }
    }

    /// The record with its reply, if that is not too large.
    fn kept(&self, reply: &Reply, Claim { mut room, is_counted }: Claim) -> Option<Mark> {
        let value = record::answered(&self.request.fingerprint, reply);
        if value.len() > self.request.terms.reply_bytes_max {
            return None;
        }
        // The whole record stays for the time of a reply from now on.
        let counted = if is_counted { MarkBudget::bytes_of(&self.record_key, OPEN_LEN) } else { 0 };
        room.commit(MarkBudget::bytes_of(&self.record_key, value.len()).saturating_sub(counted));
        Some(Mark { key: self.record_key.clone(), value, ttl: self.request.terms.ttl })
    }

    /// Lets the next attempt begin.
    async fn release(&self) {
        _ = self.set(self.released().into_iter().collect()).await;
    }

    /// Sets marks; answers whether the broker did, or may still do so. Where it does not, the attempt goes by itself.
    async fn set(&self, marks: Vec<Mark>) -> bool {
        match timeout(STORED_WITHIN, self.broker().mark(marks)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(key = %self.record_key, %error, "the reply to a request with a key is not kept");
                return false;
            }
            Err(_) => tracing::debug!(key = %self.record_key, "the reply to a request with a key may not be kept"),
        }
        true
    }

    fn open_record(&self) -> Mark {
        Mark { key: self.record_key.clone(), value: record::open(&self.request.fingerprint), ttl: self.open_ttl() }
    }

    /// How long a record without a reply stays: longer than the attempt, or the key could stand for another request while
    /// this one is handled. So much longer that attempts extend it once in the time of a reply.
    fn open_ttl(&self) -> Duration {
        self.request.terms.ttl.saturating_add(self.left() + GRACE)
    }

    fn attempt_mark(&self, left: Duration) -> Mark {
        let value = Bytes::copy_from_slice(self.name.as_bytes());
        Mark { key: self.attempt_key.clone(), value, ttl: left + GRACE }
    }

    /// The attempt's mark, about to go; `None` when its time is nearly over, as after a long pause of this process: the marks
    /// that are there then may be another attempt's.
    fn released(&self) -> Option<Mark> {
        let is_own = Instant::now() + GRACE / 2 < self.deadline + GRACE;
        is_own.then(|| Mark { ttl: Duration::from_millis(1), ..self.attempt_mark(Duration::ZERO) })
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn broker(&self) -> &streamerson_core::SharedBroker {
        self.settings.client.broker()
    }

    /// The bound of all marks of the topic.
    fn budget(&self) -> &MarkBudget {
        let Settings { client, topic, marks, timeout, keyed_requests, .. } = &*self.settings;
        marks.get_or_init(|| {
            let Idempotency { ttl, topic_bytes_max, .. } = self.request.terms;
            // A record may be as old as its request when it gets its reply, which is kept for the time from then on.
            let ttl = ttl.saturating_add((*timeout).min(FOR_EVER)).saturating_add(GRACE);
            let (broker, meter) = (client.broker().clone(), topic.idempotency_meter());
            let kind = MarkKind::Idempotency;
            let budget = MarkBudget::new(broker, topic, kind, meter, ttl, topic_bytes_max, client.metrics());
            keyed_requests.on_budget(&budget);
            budget
        })
    }
}

/// Returns whether an error says that the broker did nothing.
fn is_undone(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Config { .. }
            | BrokerError::Unavailable { .. }
            | BrokerError::Saturated { .. }
            | BrokerError::Refused { .. }
    )
}
