//! Extractors: what handlers take as arguments.
//!
//! | argument | what it is | refused with |
//! |---|---|---|
//! | [`Json<T>`] | the payload, from JSON | 400, 415, 422 |
//! | [`Bytes`](bytes::Bytes) | the payload | |
//! | `String` | the payload, as UTF-8 | 400 |
//! | [`Path<T>`] | the parameters of the HTTP route | 400 |
//! | [`Query<T>`] | the query of the HTTP request | 400 |
//! | [`Headers`](streamerson_core::Headers) | all headers | |
//! | [`EventType`](streamerson_core::EventType), [`MessageId`](streamerson_core::MessageId), [`Topic`](streamerson_core::Topic) | of the message | |
//! | [`Attempt`] | the how manyeth attempt this is | |
//! | [`Deadline`] | until when the caller waits | |
//! | [`Cancelled`] | whether it is still worth the work | |
//! | [`Epoch`] | which owner of its shard this member is | |
//! | [`Emitter`] | sends messages that take effect with the ack | |
//! | [`State<T>`] | the consumer's state, or a part of it | |
//! | [`Extension<T>`] | what a layer left | 502 where it left none |
//! | [`Incoming`] | the delivery as a whole | |
//! | `Option<T>` | `T` where the message has it | as `T` |
//! | `Result<T, T::Rejection>` | `T`, or why not | |

mod attempt;
mod cancelled;
mod deadline;
mod emitter;
mod epoch;
mod extension;
mod json;
mod message;
mod optional;
mod params;
mod path;
mod query;
mod state;

pub use self::{
    attempt::Attempt,
    cancelled::Cancelled,
    deadline::Deadline,
    emitter::{EmitError, Emitter},
    epoch::Epoch,
    extension::Extension,
    json::Json,
    optional::OptionalFromMessage,
    path::Path,
    query::Query,
    state::{FromRef, State},
};
use crate::{function::each_arity, handler_error::HandlerError, incoming::Incoming, problem::IntoProblem};

/// What a handler can take as an argument.
///
/// Payloads are cheap to clone, so any argument may look at the whole message and their order does not matter.
///
/// ```
/// use http::StatusCode;
/// use streamerson_consumer::{Incoming, Problem, extract::FromMessage};
///
/// /// Who sent the message.
/// struct Tenant(String);
///
/// impl<S: Sync> FromMessage<S> for Tenant {
///     type Rejection = Problem;
///
///     async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Problem> {
///         let tenant = incoming.message().headers.get("http.header.x-tenant");
///         tenant.map(|tenant| Self(tenant.to_owned())).ok_or_else(|| Problem::new(StatusCode::FORBIDDEN))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a message",
    label = "not an extractor",
    note = "a payload is `Json<{Self}>`, `Bytes` or `String`, state is `State<{Self}>`; the module `extract` lists them all"
)]
pub trait FromMessage<S>: Sized {
    /// Why there is none.
    type Rejection: IntoProblem;

    /// Extracts it.
    fn from_message(incoming: &Incoming, state: &S) -> impl Future<Output = Result<Self, Self::Rejection>> + Send;
}

impl<S: Sync> FromMessage<S> for Incoming {
    type Rejection = std::convert::Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Self::Rejection> {
        Ok(incoming.clone())
    }
}

/// All arguments of a handler.
///
/// Tuples of extractors implement it, each only if all its parts do: so an error names the part.
pub trait FromMessages<S>: Sized + Send + 'static {
    /// Extracts one after the other; the first that is refused ends it.
    fn from_messages(incoming: &Incoming, state: &S) -> impl Future<Output = Result<Self, HandlerError>> + Send;
}

macro_rules! from_messages {
    ($($arg:ident),*) => {
        #[allow(non_snake_case, unused_variables, clippy::unused_unit)]
        impl<State: Sync, $($arg: FromMessage<State> + Send + 'static),*> FromMessages<State> for ($($arg,)*) {
            async fn from_messages(incoming: &Incoming, state: &State) -> Result<Self, HandlerError> {
                $(let $arg = $arg::from_message(incoming, state).await.map_err(HandlerError::rejected)?;)*
                Ok(($($arg,)*))
            }
        }
    };
}
each_arity!(from_messages);

impl IntoProblem for std::convert::Infallible {
    fn into_problem(self) -> streamerson_core::Problem {
        match self {}
    }
}
