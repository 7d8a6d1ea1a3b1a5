//! The answers that are the gateway's own, all of them problem documents (RFC 9457).
//!
//! They tell the caller what to do differently and nothing of what lies behind the gateway; that goes to the log.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use streamerson_core::{
    BrokerError, MessageId, Problem,
    client::CallError,
    wire::{Part, TooLarge},
};

use super::shard_key::ShardKey;
use crate::log_throttle::LogThrottle;

/// Longest reason that is quoted: it may repeat a part of the body.
const REASON_CHARS_MAX: usize = 200;

/// What became of a request, in a word: the reason why the gateway itself answered, as an extension of its response.
///
/// A response without it is the consumer's reply, or an event that was accepted. Layers find it by
/// `response.extensions().get::<Outcome>()`, and can count or log it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome(pub(crate) &'static str);

impl Outcome {
    /// The word: `timed-out`, `no-consumers`, `overloaded`, `unavailable`, `interrupted`, `invalid-reply`, `not-json`,
    /// `body-too-large`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// What is wrong for one request is wrong for all of them.
static BROKER_REFUSES: LogThrottle = LogThrottle::new(Duration::from_secs(10));

/// Why a request has no reply.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A path parameter is not UTF-8.
    PathNotText,
    /// A header that is passed on is not UTF-8.
    HeaderNotText(HeaderName),
    /// The body ended early.
    BodyCut,
    /// The body took longer than the route's timeout.
    BodyStalled,
    /// The body is longer than the route or the wire takes.
    BodyTooLarge,
    /// The body is not the JSON that it is said to be.
    NotJson(String),
    /// The body is of a type that the route does not take.
    MediaType,
    /// The body is JSON and not what the contract asks for.
    NotTheContract(String),
    /// `Connection` names a header that the route needs.
    HopByHop(HeaderName),
    /// The request does not say which shard it belongs to.
    NoShardKey(ShardKey),
    /// The route asks for an idempotency key.
    KeyMissing,
    /// The idempotency key breaks this rule.
    KeyInvalid(&'static str),
    /// Another request with the same idempotency key is being handled.
    UnderWay,
    /// The idempotency key stands for a request that asked for something else.
    KeyReused,
    /// The topic keeps as much of requests with an idempotency key as it may.
    KeysFull,
    /// There is no reply, or the event was not stored.
    NoReply(Box<CallError>),
}

impl Refusal {
    /// The same in a word, for whoever counts.
    fn outcome(&self) -> Outcome {
        Outcome(match self {
            Self::PathNotText | Self::HeaderNotText(_) => "not-text",
            Self::BodyCut => "body-cut",
            Self::BodyStalled => "body-stalled",
            Self::BodyTooLarge => "body-too-large",
            Self::NotJson(_) => "not-json",
            Self::MediaType => "media-type",
            Self::NotTheContract(_) => "not-the-contract",
            Self::HopByHop(_) => "hop-by-hop",
            Self::NoShardKey(_) => "no-shard-key",
            Self::KeyMissing => "key-missing",
            Self::KeyInvalid(_) => "key-invalid",
            Self::UnderWay => "under-way",
            Self::KeyReused => "key-reused",
            Self::KeysFull => "keys-full",
            Self::NoReply(error) => match &**error {
                CallError::TooLarge(TooLarge { part: Part::Payload, .. }) => "body-too-large",
                CallError::TooLarge(_) => "head-too-large",
                error => describe(error).1,
            },
        })
    }

    fn problem(&self) -> Problem {
        let (status, detail) = match self {
            Self::PathNotText => (StatusCode::BAD_REQUEST, "a part of the path is not UTF-8".into()),
            Self::HeaderNotText(name) => (StatusCode::BAD_REQUEST, format!("the header {name} is not UTF-8")),
            Self::BodyCut => (StatusCode::BAD_REQUEST, "the body could not be read to its end".into()),
            Self::NotJson(reason) => (StatusCode::BAD_REQUEST, quoted("the body is not JSON", reason)),
            Self::BodyStalled => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".into()),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large".into()),
            Self::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has a type that is not accepted here".into())
            }
            Self::NotTheContract(reason) => {
                (StatusCode::UNPROCESSABLE_ENTITY, quoted("the body is not what is expected", reason))
            }
            Self::HopByHop(name) => (
                StatusCode::BAD_REQUEST,
                format!("the header Connection names {name}, which is needed here and cannot end at this hop"),
            ),
            Self::NoShardKey(key) => (StatusCode::BAD_REQUEST, format!("{key} is missing or empty")),
            Self::KeyMissing => (
                StatusCode::BAD_REQUEST,
                "the header Idempotency-Key is missing; make a new key for each new request".into(),
            ),
            Self::KeyInvalid(rule) => {
                (StatusCode::BAD_REQUEST, format!("the header Idempotency-Key is no key: {rule}"))
            }
            Self::UnderWay => {
                (StatusCode::CONFLICT, "a request with this Idempotency-Key is under way; try again in a moment".into())
            }
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for another request; make a new key for each new request".into(),
            ),
            Self::KeysFull => {
                let detail = "too many requests with an Idempotency-Key are remembered; try again later";
                return Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail).with("reason", "overloaded");
            }
            Self::NoReply(error) => return no_reply(error),
        };
        Problem::new(status).with_detail(detail)
    }

    /// The response, under the id that the message has or would have had.
    pub(super) fn into_response(self, id: &MessageId) -> Response {
        let problem = self.problem();
        self.log(id, problem.status);
        let mut response = respond(problem, id, self.outcome());
        if let Self::UnderWay = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// What is the operator's to know. Warned of is what does not pass by itself: an outage fails every request, and the
    /// broker's adapter tells of it once.
    fn log(&self, id: &MessageId, status: StatusCode) {
        let status = status.as_u16();
        match self {
            Self::NoReply(error) => match &**error {
                CallError::Broker(error) if !error.is_transient() => {
                    if let Some(suppressed) = BROKER_REFUSES.admit() {
                        tracing::warn!(%id, status, %error, suppressed, "the broker does not take requests");
                    } else {
                        tracing::debug!(%id, status, %error, "the broker does not take requests");
                    }
                }
                error => tracing::debug!(%id, status, %error, "a request has no reply"),
            },
            // The reasons of the rest may quote the body, which is not for a log.
            _ => tracing::debug!(%id, status, "a request was refused"),
        }
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Self::NoReply(Box::new(error))
    }
}

/// The response that a problem is, under the id that the message has or would have had.
pub(crate) fn respond(problem: Problem, id: &MessageId, outcome: Outcome) -> Response {
    let problem = problem.with("id", id.as_str());
    let mut response = Response::new(Body::from(problem.to_json()));
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::MEDIA_TYPE));
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    let extensions = response.extensions_mut();
    extensions.insert(outcome);
    extensions.insert(id.clone());
    response
}

/// The problem of a request that has no reply, with a `reason` that a program can tell apart.
fn no_reply(error: &CallError) -> Problem {
    match error {
        CallError::TooLarge(TooLarge { part: Part::Payload, .. }) => return Refusal::BodyTooLarge.problem(),
        CallError::TooLarge(_) => return head_too_large(),
        _ => {}
    }
    let (status, reason, detail) = describe(error);
    Problem::new(status).with_detail(detail).with("reason", reason)
}

/// The problem of a request whose head is longer than the bound.
pub(crate) fn head_too_large() -> Problem {
    let problem = Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    problem.with_detail("path, query and headers are too long together")
}

/// Why there is no reply: the status, a word and a sentence.
fn describe(error: &CallError) -> (StatusCode, &'static str, &'static str) {
    const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match error {
        CallError::TimedOut(_) => {
            (StatusCode::GATEWAY_TIMEOUT, "timed-out", "no reply came in time; the request may still run")
        }
        CallError::InvalidReply(_) => (StatusCode::BAD_GATEWAY, "invalid-reply", "the reply cannot be used"),
        CallError::NoConsumers => (UNAVAILABLE, "no-consumers", "nobody is there to handle the request"),
        CallError::Overloaded(_) => (UNAVAILABLE, "overloaded", "too many requests are waiting"),
        CallError::Broker(BrokerError::Interrupted { .. }) => {
            (UNAVAILABLE, "interrupted", "whether the request was stored is unknown; it may still run")
        }
        // The broker is away or refuses, or the client was closed. What is left cannot come of a request with bytes.
        _ => (UNAVAILABLE, "unavailable", "requests cannot be passed on now"),
    }
}

/// A reason in the words of the parser, which may repeat a part of the body: as much as helps.
fn quoted(what: &str, reason: &str) -> String {
    let mut detail = format!("{what}: ");
    detail.extend(reason.chars().take(REASON_CHARS_MAX));
    detail
}

#[cfg(test)]
mod tests {
    use streamerson_core::{InvalidReply, wire::Wire};

    use super::*;

    fn status(refusal: Refusal) -> u16 {
        refusal.into_response(&MessageId::unique()).status().as_u16()
    }

    #[test]
    fn every_way_to_have_no_reply_has_its_status() {
        let broker = || "redis://user@secret-host:6379".into();
        let unavailable = BrokerError::Unavailable { broker: broker(), cause: "connection refused".into() };
        let interrupted = BrokerError::Interrupted { broker: broker(), cause: "reset".into() };
        let refused = BrokerError::Refused { code: "OOM".into(), message: "used memory > 'maxmemory'".into() };
        let wrong = BrokerError::WrongType { key: streamerson_core::StreamKey::raw("{secret-topic}:in") };
        for (error, status, reason) in [
            (CallError::TimedOut(Duration::from_secs(5)), 504, "timed-out"),
            (CallError::InvalidReply(InvalidReply::Status("999".into())), 502, "invalid-reply"),
            (CallError::NoConsumers, 503, "no-consumers"),
            (CallError::Overloaded("the backlog of secret-topic"), 503, "overloaded"),
            (CallError::Closed, 503, "unavailable"),
            (unavailable.into(), 503, "unavailable"),
            (interrupted.into(), 503, "interrupted"),
            (refused.into(), 503, "unavailable"),
            (wrong.into(), 503, "unavailable"),
        ] {
            let response = Refusal::from(error.clone()).into_response(&MessageId::unique());
            assert_eq!(response.status().as_u16(), status, "{error}");
            assert_eq!(response.headers().contains_key("retry-after"), status == 503, "{error}");
            assert_eq!(response.extensions().get(), Some(&Outcome(reason)), "{error}");
            let problem = no_reply(&error);
            assert_eq!(problem.extensions["reason"], reason, "{error}");
            let shown = String::from_utf8(problem.to_json()).unwrap();
            assert!(!shown.contains("secret") && !shown.contains("memory"), "{shown}");
        }
    }

    #[test]
    fn what_is_too_large_is_told_apart() {
        let wire = Wire { payload_bytes_max: 0 };
        let event = || streamerson_core::EventType::new("e").unwrap();
        let payload = wire.encode(&streamerson_core::Message::new(event(), "x")).unwrap_err();
        assert_eq!(status(CallError::from(payload).into()), 413);
        let headers = streamerson_core::Message::new(event(), "").with_header("x", "y".repeat(20_000));
        assert_eq!(status(CallError::from(wire.encode(&headers).unwrap_err()).into()), 431);
    }

    #[test]
    fn a_reason_is_quoted_within_bounds() {
        let problem = Refusal::NotTheContract("ü".repeat(10_000)).problem();
        assert!(problem.detail.unwrap().chars().count() < 300);
    }
}
