//! Errors that say what the caller is told.

use std::error::Error;

use streamerson_core::Problem;

/// An error that is a problem document to the caller.
///
/// A status below 500 is an answer like any other; 500 and above is a failure, which is also logged and dead-lettered.
///
/// ```
/// use std::error::Error;
/// use http::StatusCode;
/// use streamerson_consumer::{IntoProblem, Problem};
///
/// #[derive(Debug, thiserror::Error)]
/// enum GreetError {
///     #[error("there is nobody called {0}")]
///     Nobody(String),
///     #[error("the address book does not open")]
///     AddressBook(#[from] std::io::Error),
/// }
///
/// impl IntoProblem for GreetError {
///     fn into_problem(self) -> Problem {
///         match self {
///             Self::Nobody(_) => Problem::new(StatusCode::NOT_FOUND).with_detail(self.to_string()),
///             Self::AddressBook(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE),
///         }
///     }
///
///     fn cause(&self) -> Option<&(dyn Error + 'static)> {
///         Some(self)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an error that a caller can be told",
    label = "not a problem document",
    note = "implement `IntoProblem` for it, or return `Result<_, Failure>`: any error becomes a `Failure` by `?`"
)]
pub trait IntoProblem {
    /// What the caller is told. It holds no internal detail.
    fn into_problem(self) -> Problem;

    /// What went wrong, for the log and the dead letter, which also show its sources. `None` when the problem document
    /// says it all.
    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        None
    }
}

impl IntoProblem for Problem {
    fn into_problem(self) -> Problem {
        self
    }
}
