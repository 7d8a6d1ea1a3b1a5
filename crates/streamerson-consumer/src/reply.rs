//! What handlers return.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use streamerson_core::{Headers, Problem, Reply};

use crate::{Json, failure::Failure, handler_error::chain, problem::IntoProblem};

/// Media type of texts.
const TEXT: &str = "text/plain; charset=utf-8";
/// Media type of bytes that nothing is known of.
const BYTES: &str = "application/octet-stream";

/// What a handler may return: an answer, if somebody waits for one.
///
/// | type | answer |
/// |---|---|
/// | `()` | an empty one: 204 at the edge |
/// | [`Json<T>`] | JSON |
/// | `String`, `&'static str` | `text/plain` |
/// | [`Bytes`], `Vec<u8>` | `application/octet-stream` |
/// | [`StatusCode`] | an empty one with this status; a problem document from 400 on |
/// | `(StatusCode, T)` | that of `T`, with this status |
/// | `(StatusCode, headers, T)` | and these headers: [`Headers`], or an array or vector of names and texts |
/// | [`Problem`], any [`IntoProblem`] | the problem document |
/// | [`Reply`] | itself |
/// | `Result<T, E>` | that of the `T` or the `E` |
///
/// ```
/// use streamerson_consumer::{Failure, IntoReply, Reply};
///
/// struct Csv(Vec<[String; 2]>);
///
/// impl IntoReply for Csv {
///     fn into_reply(self) -> Result<Reply, Failure> {
///         let lines: Vec<String> = self.0.iter().map(|line| line.join(",")).collect();
///         Ok(Reply::new(lines.join("\n")).with_content_type("text/csv"))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from a handler",
    label = "not a reply",
    note = "wrap a value that serde can serialise: `Json<{Self}>`",
    note = "an error type implements `IntoProblem`; any error becomes a `Failure` by `?`"
)]
pub trait IntoReply {
    /// The answer, or what stood in its way.
    ///
    /// # Errors
    ///
    /// A [`Failure`] is told as it says, logged and dead-lettered.
    fn into_reply(self) -> Result<Reply, Failure>;
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(self)
    }
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(Reply::new(Bytes::new()))
    }
}

impl<T: Serialize> IntoReply for Json<T> {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(Reply::new(serde_json::to_vec(&self.0)?))
    }
}

impl IntoReply for String {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(Reply::new(self).with_content_type(TEXT))
    }
}

impl IntoReply for &'static str {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(Reply::new(self).with_content_type(TEXT))
    }
}

impl IntoReply for Bytes {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(Reply::new(self).with_content_type(BYTES))
    }
}

impl IntoReply for Vec<u8> {
    fn into_reply(self) -> Result<Reply, Failure> {
        Bytes::from(self).into_reply()
    }
}

impl IntoReply for StatusCode {
    fn into_reply(self) -> Result<Reply, Failure> {
        if self.is_client_error() || self.is_server_error() {
            return Problem::new(self).into_reply();
        }
        Ok(Reply::new(Bytes::new()).with_status(self))
    }
}

impl<T: IntoReply> IntoReply for (StatusCode, T) {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(self.1.into_reply()?.with_status(self.0))
    }
}

impl<H: IntoHeaders, T: IntoReply> IntoReply for (StatusCode, H, T) {
    fn into_reply(self) -> Result<Reply, Failure> {
        let mut reply = self.2.into_reply()?.with_status(self.0);
        self.1.set_on(&mut reply.headers);
        Ok(reply)
    }
}

impl<T: IntoReply, E: IntoReply> IntoReply for Result<T, E> {
    fn into_reply(self) -> Result<Reply, Failure> {
        match self {
            Ok(value) => value.into_reply(),
            Err(error) => error.into_reply(),
        }
    }
}

/// The errors of a handler are replies: below 500 an answer, else a failure.
#[diagnostic::do_not_recommend]
impl<E: IntoProblem> IntoReply for E {
    fn into_reply(self) -> Result<Reply, Failure> {
        let cause = self.cause().map(chain);
        let problem = self.into_problem();
        if problem.status.is_server_error() {
            let cause = cause.unwrap_or_else(|| problem.to_string());
            return Err(Failure::new(cause).with_problem(problem));
        }
        Ok(problem.into())
    }
}

/// Headers for a reply: [`Headers`], or an array or vector of names and texts.
///
/// Those of the HTTP response have the prefix [`Headers::HTTP_HEADER_PREFIX`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of headers",
    note = "headers are `Headers`, `[(name, text); N]` or `Vec<(name, text)>`"
)]
pub trait IntoHeaders {
    /// Sets each of them.
    fn set_on(self, headers: &mut Headers);
}

impl IntoHeaders for Headers {
    fn set_on(self, headers: &mut Headers) {
        for (name, value) in self.iter() {
            headers.set(name, value);
        }
    }
}

impl<N: AsRef<str>, V: Into<Box<str>>, const COUNT: usize> IntoHeaders for [(N, V); COUNT] {
    fn set_on(self, headers: &mut Headers) {
        for (name, value) in self {
            headers.set(name.as_ref(), value);
        }
    }
}

impl<N: AsRef<str>, V: Into<Box<str>>> IntoHeaders for Vec<(N, V)> {
    fn set_on(self, headers: &mut Headers) {
        for (name, value) in self {
            headers.set(name.as_ref(), value);
        }
    }
}
