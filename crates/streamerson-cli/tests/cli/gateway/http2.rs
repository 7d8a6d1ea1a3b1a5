//! A client of HTTP/2, by hyper.

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

/// The connection takes no more requests, and this one was never sent.
#[derive(Debug)]
pub(crate) struct NotSent;

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
    /// If it was sent, and is not answered.
    pub(crate) async fn exchange(&mut self, line: &str, body: &str) -> Result<Answer2, NotSent> {
        self.exchange_with(line, &[], body).await
    }

    /// As [`Self::exchange`], with these headers.
    ///
    /// # Panics
    ///
    /// If it was sent, and is not answered.
    pub(crate) async fn exchange_with(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer2, NotSent> {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut request = Request::builder().method(method).uri(format!("http://gateway{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).expect("a request");
        if self.0.ready().await.is_err() {
            return Err(NotSent);
        }
        let response = match self.0.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => match error.take_message() {
                Some(_) => return Err(NotSent),
                None => panic!("a request was sent and has no answer: {:?}", error.into_error()),
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
