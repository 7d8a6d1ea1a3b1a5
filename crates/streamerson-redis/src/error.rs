//! Errors of the connection and of the server, in the port's terms.

use std::sync::Arc;

use streamerson_core::broker::BrokerError;

use crate::{connection::ConnectError, resp::Reply, url::UrlError};

/// Why a connection could not be made.
pub(crate) fn connect_error(address: &Arc<str>, error: &ConnectError) -> BrokerError {
    match error {
        ConnectError::Login(_) | ConnectError::Config(_) => {
            BrokerError::Config { broker: address.clone(), message: error.to_string().into() }
        }
        ConnectError::Unreachable(cause) => unavailable(address, cause.as_str()),
    }
}

/// Nothing was sent.
pub(crate) fn unavailable(address: &Arc<str>, cause: impl Into<Arc<str>>) -> BrokerError {
    BrokerError::Unavailable { broker: address.clone(), cause: cause.into() }
}

/// It may have been carried out.
pub(crate) fn interrupted(address: &Arc<str>, cause: impl Into<Arc<str>>) -> BrokerError {
    BrokerError::Interrupted { broker: address.clone(), cause: cause.into() }
}

/// The server's own error: its code and its message.
pub(crate) fn refused(message: &[u8]) -> BrokerError {
    let text = String::from_utf8_lossy(message);
    let (code, message) = text.split_once(' ').unwrap_or((&text, ""));
    BrokerError::Refused { code: code.into(), message: message.into() }
}

/// A reply of a shape that the command does not have.
pub(crate) fn unexpected(command: &str, reply: &Reply) -> BrokerError {
    let shape = match reply {
        Reply::Error(message) => return refused(message),
        Reply::Status(_) => "a status",
        Reply::Integer(_) => "an integer",
        Reply::Bulk(_) => "a string",
        Reply::Nil => "nil",
        Reply::Array(_) => "an array of another shape",
    };
    BrokerError::Protocol(format!("{command} was answered by {shape}").into())
}

impl From<UrlError> for BrokerError {
    fn from(error: UrlError) -> Self {
        Self::Config { broker: error.url().into(), message: error.kind().to_string().into() }
    }
}
