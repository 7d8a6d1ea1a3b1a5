//! A client of HTTP/2, by hyper.

use std::error::Error;

use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::http::Wire;

/// A connection, on which any number of requests can be under way. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Http2(http2::SendRequest<Full<Bytes>>);

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer2 {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// The server did not process the request: it was not sent, or the server's GOAWAY names an earlier stream as its last
/// (RFC 9113, section 6.8). A client may send it again on another connection.
#[derive(Debug)]
pub(crate) struct NotProcessed;

impl Http2 {
    pub(crate) async fn over(wire: Box<dyn Wire>) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(wire)).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request with this line, such as `GET /path`.
    ///
    /// # Panics
    ///
    /// If the server can have processed the request, and it is not answered.
    pub(crate) async fn exchange(&mut self, line: &str, body: &str) -> Result<Answer2, NotProcessed> {
        self.exchange_with(line, &[], body).await
    }

    /// As [`Self::exchange`], with these headers.
    ///
    /// # Panics
    ///
    /// If the server can have processed the request, and it is not answered.
    pub(crate) async fn exchange_with(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer2, NotProcessed> {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut request = Request::builder().method(method).uri(format!("http://gateway{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).expect("a request");
        if self.0.ready().await.is_err() {
            return Err(NotProcessed);
        }
        let response = match self.0.try_send_request(request).await {
            Ok(response) => response,
            Err(error) if error.message().is_some() => return Err(NotProcessed),
            // A request can be written behind the client's acknowledgement of the shutdown, and so arrive after the
            // server has named its last stream.
            Err(error) => match error.into_error() {
                error if is_beyond_the_last_stream(&error) => return Err(NotProcessed),
                error => panic!("a request was sent and has no answer: {error:?}"),
            },
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer2 { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Waits until the server says that it takes no more.
    pub(crate) async fn ended(mut self) {
        while self.0.ready().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

/// Returns whether the server's GOAWAY said, without an error, that it does not process this request.
fn is_beyond_the_last_stream(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR))
}
