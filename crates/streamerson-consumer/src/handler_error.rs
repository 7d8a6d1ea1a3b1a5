//! Why a message got no plain reply.

use std::{error::Error, fmt};

use http::StatusCode;
use streamerson_core::{Problem, Reply, broker::BrokerError, dead_letter::Reason};
use tower::{BoxError, load_shed::error::Overloaded, timeout::error::Elapsed};

use crate::{failure::Failure, problem::IntoProblem};

/// Most characters of an error that are logged and kept.
const TEXT_CHARS_MAX: usize = 1000;

/// Why a message got no plain reply: the error of the tower services that handlers are.
///
/// Layers see it boxed, and may look at it by downcast or put an error of their own in its place.
#[derive(Debug, Clone)]
pub struct HandlerError {
    pub(crate) kind: Kind,
    /// What went wrong, with its sources: for the log and the dead letter, never for the caller.
    pub(crate) error: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// It failed for good.
    Failed {
        reason: Reason,
        /// What the caller is told.
        reply: Reply,
    },
    /// Before the handler began, the deadline passed or the caller went away.
    Expired,
    /// The handler did not begin, and the message goes back to the group.
    Unstarted,
}

impl HandlerError {
    /// An extractor or a layer refused the message. Only the message's sender can do something about that, unless it is
    /// at fault itself and says so with a status of 500 or above.
    pub(crate) fn rejected(rejection: impl IntoProblem) -> Self {
        let error = rejection.cause().map(chain);
        let problem = rejection.into_problem();
        let reason = if problem.status.is_server_error() { Reason::Failed } else { Reason::Rejected };
        let error = error.unwrap_or_else(|| problem.to_string());
        Self { kind: Kind::Failed { reason, reply: problem.into() }, error }
    }

    pub(crate) fn no_handler() -> Self {
        Self::failed(Reason::NoHandler, StatusCode::NOT_IMPLEMENTED, "no handler takes this event type".into())
    }

    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("a panic whose payload is no text");
        Self::failed(Reason::Panicked, StatusCode::BAD_GATEWAY, text.into())
    }

    pub(crate) fn expired() -> Self {
        Self { kind: Kind::Expired, error: "the deadline passed before the handler began".into() }
    }

    pub(crate) fn cancelled() -> Self {
        Self { kind: Kind::Expired, error: "the caller went away before the handler began".into() }
    }

    pub(crate) fn unstarted() -> Self {
        Self { kind: Kind::Unstarted, error: "the consumer stopped before the handler began".into() }
    }

    /// Nobody can say now whether it was handled before; somebody can later.
    pub(crate) fn unknown(error: &BrokerError) -> Self {
        Self { kind: Kind::Unstarted, error: format!("not known whether it was handled before: {error}") }
    }

    pub(crate) fn no_final_status(code: u16) -> Self {
        let error = format!("the handler answered with the status {code}, which is not that of a final answer");
        Self::failed(Reason::Failed, StatusCode::BAD_GATEWAY, error)
    }

    /// A reply whose status says that the handler failed; the caller gets it as it is.
    pub(crate) fn of_reply(reply: Reply) -> Self {
        let error = format!("the handler answered {}", reply.problem());
        Self { kind: Kind::Failed { reason: Reason::Failed, reply }, error }
    }

    /// What a layer made of it: its own error, or one that passed through.
    ///
    /// A problem document is a refusal, as an extractor's is; what else goes wrong is a failure.
    pub(crate) fn of_layer(error: BoxError) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(passed_through) => return *passed_through,
            Err(error) => error,
        };
        let error = match error.downcast::<Problem>() {
            Ok(refusal) => return Self::rejected(*refusal),
            Err(error) => error,
        };
        let status = if error.is::<Elapsed>() {
            StatusCode::GATEWAY_TIMEOUT
        } else if error.is::<Overloaded>() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::BAD_GATEWAY
        };
        Self::failed(Reason::Failed, status, chain(&*error))
    }

    fn failed(reason: Reason, status: StatusCode, error: String) -> Self {
        Self { kind: Kind::Failed { reason, reply: Problem::new(status).into() }, error }
    }

    /// Why the message becomes a dead letter; `None` when it expired or goes back to the group.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match &self.kind {
            Kind::Failed { reason, .. } => Some(*reason),
            Kind::Expired | Kind::Unstarted => None,
        }
    }

    /// Whether a handler, or a layer around it, took its time to come to this.
    pub(crate) fn is_of_handler(&self) -> bool {
        !matches!(self.kind, Kind::Expired | Kind::Unstarted | Kind::Failed { reason: Reason::NoHandler, .. })
    }

    /// What the caller is told.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match &self.kind {
            Kind::Failed { reply, .. } => Some(reply),
            Kind::Expired | Kind::Unstarted => None,
        }
    }
}

impl From<Failure> for HandlerError {
    fn from(failure: Failure) -> Self {
        let error = chain(failure.error());
        let reason = Reason::Failed;
        Self { kind: Kind::Failed { reason, reply: failure.into_problem().into() }, error }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl Error for HandlerError {}

/// An error and its sources, in one line of bounded length.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // No error has so many sources, unless one is its own.
    for _ in 0..32 {
        let Some(error) = source else { break };
        let next = error.to_string();
        // Some errors print their source themselves.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    // Some errors quote what they were given, which may be a whole payload.
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(end);
    }
    text
}
