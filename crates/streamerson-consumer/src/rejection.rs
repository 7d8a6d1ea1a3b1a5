//! Why extractors refuse messages: one type for each failure, all of them problem documents.

use std::{any::type_name, error::Error};

use http::StatusCode;
use streamerson_core::Problem;

use crate::problem::IntoProblem;

/// Most characters of a rejection that the caller is told: some quote what the caller sent.
const DETAIL_CHARS_MAX: usize = 300;

fn problem(status: StatusCode, rejection: &impl Error) -> Problem {
    let detail: String = rejection.to_string().chars().take(DETAIL_CHARS_MAX).collect();
    Problem::new(status).with_detail(detail)
}

/// Declares that a rejection is told to the caller with this status, and its text as the detail.
macro_rules! told_with {
    ($type:ty, $status:expr) => {
        impl IntoProblem for $type {
            fn into_problem(self) -> Problem {
                problem($status, &self)
            }

            fn cause(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
    };
}

/// Why a payload is no [`Json<T>`](crate::Json).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonRejection {
    /// The content type is something else: 415.
    #[error("the payload is {0:?} and not JSON")]
    ContentType(String),
    /// The payload is no JSON: 400.
    #[error("the payload is not JSON: {0}")]
    Syntax(serde_json::Error),
    /// The payload is JSON, but no `T`: 422.
    #[error("the payload does not fit: {0}")]
    Shape(serde_json::Error),
}

impl JsonRejection {
    pub(crate) fn content_type(content_type: &str) -> Self {
        Self::ContentType(content_type.to_owned())
    }
}

impl From<serde_json::Error> for JsonRejection {
    fn from(error: serde_json::Error) -> Self {
        if error.is_data() { Self::Shape(error) } else { Self::Syntax(error) }
    }
}

impl IntoProblem for JsonRejection {
    fn into_problem(self) -> Problem {
        let status = match self {
            Self::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Syntax(_) => StatusCode::BAD_REQUEST,
            Self::Shape(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        problem(status, &self)
    }

    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

/// The payload is no UTF-8: 400.
#[derive(Debug, thiserror::Error)]
#[error("the payload is not UTF-8 text")]
pub struct NotText(#[from] std::str::Utf8Error);
told_with!(NotText, StatusCode::BAD_REQUEST);

/// The query does not fit the type that the handler wants: 400.
#[derive(Debug, thiserror::Error)]
#[error("the query does not fit: {0}")]
pub struct InvalidQuery(#[from] serde_urlencoded::de::Error);
told_with!(InvalidQuery, StatusCode::BAD_REQUEST);

/// The parameters of the path do not fit the type that the handler wants: 400.
#[derive(Debug, thiserror::Error)]
#[error("the path does not fit: {0}")]
pub struct InvalidPath(pub(crate) String);
told_with!(InvalidPath, StatusCode::BAD_REQUEST);

/// No layer left an [`Extension`](crate::extract::Extension) of this type. That is the consumer's own fault: 502.
#[derive(Debug, thiserror::Error)]
#[error("no layer left an extension of the type {0}")]
pub struct MissingExtension(&'static str);

impl MissingExtension {
    pub(crate) fn of<T>() -> Self {
        Self(type_name::<T>())
    }
}

impl IntoProblem for MissingExtension {
    fn into_problem(self) -> Problem {
        Problem::new(StatusCode::BAD_GATEWAY)
    }

    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}
