//! Why there is no answer, and what the caller is told: a problem document.

use std::error::Error;

use http::StatusCode;
use streamerson::{Problem, consumer::IntoProblem};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no book {0}")]
    NoSuchBook(i64),
    #[error("another book has the ISBN {0}")]
    IsbnTaken(String),
    #[error("the book is at version {0} by now: read it again")]
    OtherVersion(i64),
    #[error("{0} must have 1 to {1} characters, and not only spaces")]
    Text(&'static str, usize),
    #[error("limit must be from 1 to {0}")]
    Limit(u32),
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    #[error("what was answered before cannot be read")]
    Answered(#[from] serde_json::Error),
    #[error("the database's thread failed")]
    Thread(#[from] tokio::task::JoinError),
}

impl IntoProblem for Refusal {
    fn into_problem(self) -> Problem {
        let status = match self {
            Self::NoSuchBook(_) => StatusCode::NOT_FOUND,
            Self::IsbnTaken(_) => StatusCode::CONFLICT,
            Self::OtherVersion(_) => StatusCode::PRECONDITION_FAILED,
            Self::Text(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Limit(_) => StatusCode::BAD_REQUEST,
            // A failure: the caller learns no more, the log and the dead letter all of it.
            Self::Database(_) | Self::Answered(_) | Self::Thread(_) => {
                return Problem::new(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        Problem::new(status).with_detail(self.to_string())
    }

    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}
