//! The error of handlers that have no error type of their own.

use std::{error::Error, fmt};

use http::StatusCode;
use streamerson_core::Problem;
use tower::BoxError;

use crate::problem::IntoProblem;

/// What stopped a handler: any error, by `?`.
///
/// The caller is told 502 and no more; the error goes to the log and the dead letter, with its sources. A [`Problem`]
/// is told as it is, and [`Failure::with_problem`] picks one for any error.
///
/// ```
/// use streamerson_consumer::{Failure, Json, Problem};
/// # use http::StatusCode;
///
/// async fn price(Json(text): Json<String>) -> Result<Json<u64>, Failure> {
///     let euros: u64 = text.parse()?;
///     if euros == 0 {
///         return Err(Problem::new(StatusCode::CONFLICT).with_detail("nothing is free").into());
///     }
///     Ok(Json(euros * 100))
/// }
/// ```
pub struct Failure {
    error: BoxError,
    problem: Option<Box<Problem>>,
}

impl Failure {
    /// A failure with this cause.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), problem: None }
    }

    /// The same failure, of which the caller is told this.
    #[must_use]
    pub fn with_problem(mut self, problem: Problem) -> Self {
        self.problem = Some(Box::new(problem));
        self
    }

    /// The cause.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + 'static) {
        &*self.error
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl IntoProblem for Failure {
    fn into_problem(self) -> Problem {
        let told = self.problem.or_else(|| self.error.downcast().ok());
        told.map_or_else(|| Problem::new(StatusCode::BAD_GATEWAY), |problem| *problem)
    }

    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}
