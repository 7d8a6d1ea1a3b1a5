//! The consumer's state.

use std::convert::Infallible;

use super::FromMessage;
use crate::Incoming;

/// The state that [`Consumer::with_state`](crate::Consumer::with_state) was given, or the part of it that is a `T`.
///
/// Each message gets a clone, so what is costly to clone goes into an `Arc`.
///
/// ```
/// use streamerson_consumer::{Consumer, FromRef, State, Topic};
///
/// #[derive(Clone)]
/// struct Db;
///
/// #[derive(Clone)]
/// struct App {
///     db: Db,
/// }
///
/// impl FromRef<App> for Db {
///     fn from_ref(app: &App) -> Self {
///         app.db.clone()
///     }
/// }
///
/// async fn purge(State(db): State<Db>) {}
///
/// let consumer = Consumer::new(Topic::new("orders")?).on("order.purge", purge).with_state(App { db: Db });
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State<T>(pub T);

impl<S: Sync, T: FromRef<S>> FromMessage<S> for State<T> {
    type Rejection = Infallible;

    async fn from_message(_: &Incoming, state: &S) -> Result<Self, Infallible> {
        Ok(Self(T::from_ref(state)))
    }
}

/// A part of the state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a part of the state `{Outer}`",
    label = "not a part of the state",
    note = "implement `FromRef<{Outer}>` for `{Self}`, or give the consumer another state with `with_state`"
)]
pub trait FromRef<Outer> {
    /// Clones this part.
    fn from_ref(outer: &Outer) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(outer: &T) -> T {
        outer.clone()
    }
}
