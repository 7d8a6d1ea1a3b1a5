//! Handlers, extractors and workers: the service side of streamerson.
//!
//! A [`Consumer`] binds plain async functions to the event types of a topic and runs them as a member of a group. Their
//! arguments are [extractors](extract), their results [replies](IntoReply), what goes around them are tower layers, and
//! [`Consumer::answer`] takes those that are tied to a [contract](Call): one that answers with the wrong type does not
//! compile.
//!
//! # What becomes of a message
//!
//! | the handler | with an inbox | without |
//! |---|---|---|
//! | returns, status below 400 | reply | done |
//! | returns, status 400 to 499 | reply | dead letter `failed` |
//! | returns, status from 500 on | reply and dead letter `failed` | dead letter `failed` |
//! | returns a [`Failure`] | 502 and dead letter `failed` | dead letter `failed` |
//! | panics | 502 and dead letter `panicked` | dead letter `panicked` |
//! | is not reached: an extractor refuses | 400, 415, 422 | dead letter `rejected` |
//! | is not reached: a layer's error | 504, 503, 502 and dead letter `failed` | dead letter `failed` |
//! | is not there | 501 and dead letter `no-handler` | dead letter `no-handler` |
//! | is not reached before the deadline | nothing | expired |
//!
//! What is `failed` or `panicked` here is first tried again, if a [`Retry`] policy says so.
//!
//! A process that dies with a message makes another delivery of it, so handlers with effects have to be idempotent.
//!
//! # Services that speak HTTP
//!
//! With the feature `http`, `Consumer::serve_http` answers whole HTTP requests with an `axum::Router` or any other tower
//! service, so that one which exists moves behind a topic as it is.

mod answer;
mod batch;
mod broadcast;
mod consumer;
mod deduplicate;
mod error;
pub mod extract;
mod failure;
mod function;
mod handler;
mod handler_error;
mod incoming;
mod membership;
mod outcome;
mod problem;
pub mod rejection;
mod reply;
mod retry;
mod route;
mod router;
#[cfg(feature = "http")]
mod serve_http;
mod worker;

pub use streamerson_core::{Call, Problem, Reply, Topic};

#[cfg(feature = "http")]
pub use self::serve_http::RequestBody;

pub use self::{
    answer::{Answer, ReplyTo},
    batch::{Batch, batch},
    consumer::Consumer,
    deduplicate::{Deduplicate, DeduplicateLayer},
    error::{ConfigError, RunError},
    extract::{FromRef, Json, State},
    failure::Failure,
    handler::Handler,
    handler_error::HandlerError,
    incoming::Incoming,
    problem::IntoProblem,
    reply::IntoReply,
    retry::Retry,
    route::Route,
};

/// What [`Handler`] and [`Answer`] ask of functions, argument by argument: the compiler's errors are about these, and
/// programs have no need to name them.
pub mod bounds {
    pub use crate::{
        answer::EndsInCall,
        batch::BatchArgs,
        extract::FromMessages,
        function::Function,
        handler::{Around, Layered},
        reply::IntoHeaders,
    };
}
