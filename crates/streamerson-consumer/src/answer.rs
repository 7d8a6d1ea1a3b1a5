//! Handlers that are tied to a contract.

use http::StatusCode;
use serde::Serialize;
use streamerson_core::Call;

use crate::{
    Json,
    extract::FromMessages,
    function::{Function, each_arity},
    handler::{Around, Handler, Layered},
    problem::IntoProblem,
    reply::{IntoHeaders, IntoReply},
};

/// A handler that answers the call `C`: any extractors, then [`Json<C>`], and a [`ReplyTo`] its reply type.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use streamerson_consumer::{Call, Consumer, Json, Topic};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Call for Greet {
///     const TOPIC: &'static str = "greetings";
///     const EVENT: &'static str = "greet";
///     type Reply = String;
/// }
///
/// async fn greet(Json(greet): Json<Greet>) -> Json<String> {
///     Json(format!("Hello, {}!", greet.name))
/// }
///
/// let consumer: Consumer = Consumer::new(Topic::new("greetings")?).answer(greet);
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
///
/// A reply of another type does not compile:
///
/// ```compile_fail
/// # use serde::{Deserialize, Serialize};
/// # use streamerson_consumer::{Call, Consumer, Json, Topic};
/// # #[derive(Serialize, Deserialize)]
/// # struct Greet {
/// #     name: String,
/// # }
/// # impl Call for Greet {
/// #     const TOPIC: &'static str = "greetings";
/// #     const EVENT: &'static str = "greet";
/// #     type Reply = String;
/// # }
/// async fn greet(Json(greet): Json<Greet>) -> Json<u64> {
///     Json(greet.name.len() as u64)
/// }
///
/// let consumer: Consumer = Consumer::new(Topic::new("greetings")?).answer(greet);
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer `{C}`",
    label = "not an answer to `{C}`",
    note = "an answer is an async function of any extractors and then `Json<{C}>`"
)]
pub trait Answer<C: Call, Args, S>: Handler<Args, S> {}

impl<F, C, Args, S> Answer<C, Args, S> for F
where
    C: Call,
    F: Function<Args>,
    F::Future: Send,
    F::Output: ReplyTo<C::Reply>,
    Args: EndsInCall<C> + FromMessages<S>,
    S: Send + Sync + 'static,
{
}

impl<L, H, C, Args, S> Answer<C, Around<Args>, S> for Layered<L, H, Args, S>
where
    C: Call,
    H: Answer<C, Args, S>,
    Self: Handler<Around<Args>, S>,
{
}

/// Arguments of which the last is the call.
#[diagnostic::on_unimplemented(
    message = "the arguments `{Self}` do not end in `Json` of a call",
    label = "the last argument is not a call",
    note = "the last argument of an answer is `Json<C>`, where `C` implements `Call`"
)]
pub trait EndsInCall<C> {}

macro_rules! ends_in_call {
    // The longest list has no room for the call.
    ($a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident,
     $g:ident, $h:ident, $i:ident, $j:ident, $k:ident, $l:ident) => {};
    ($($arg:ident),*) => {
        impl<Contract: Call, $($arg),*> EndsInCall<Contract> for ($($arg,)* Json<Contract>,) {}
    };
}
each_arity!(ends_in_call);

/// What may answer a call whose reply is `R`: [`Json<R>`], with a status, with headers, or as a result whose error is
/// [`IntoProblem`]; and nothing at all where `R` is `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a reply of type `{R}`",
    label = "the call's `Reply` is `{R}`",
    note = "a reply of type `{R}` is `Json<{R}>`, `(StatusCode, Json<{R}>)` or `Result<Json<{R}>, impl IntoProblem>`"
)]
pub trait ReplyTo<R>: IntoReply {}

impl ReplyTo<()> for () {}
impl<R: Serialize> ReplyTo<R> for Json<R> {}
impl<R, T: ReplyTo<R>> ReplyTo<R> for (StatusCode, T) {}
impl<R, H: IntoHeaders, T: ReplyTo<R>> ReplyTo<R> for (StatusCode, H, T) {}
impl<R, T: ReplyTo<R>, E: IntoProblem> ReplyTo<R> for Result<T, E> {}
