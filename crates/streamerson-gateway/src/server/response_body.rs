//! The body of a response, handed over piece by piece, and counted byte by byte as the socket takes it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

use super::exchange::Exchange;

/// Bytes of a body that are handed over at once: the size of a frame of HTTP/2 unless both sides agree on another.
const PIECE_BYTES: usize = 16 * 1024;

/// The body of a response.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: Body,
    /// The part of the last frame that is still to be handed over.
    rest: Bytes,
    exchange: Arc<Exchange>,
}

impl ResponseBody {
    pub(super) fn new(body: Body, exchange: Arc<Exchange>) -> Self {
        Self { body, rest: Bytes::new(), exchange }
    }
}

impl HttpBody for ResponseBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(other.into_trailers().ok().map(|all| Ok(Frame::trailers(all)))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let len = self.rest.len().min(PIECE_BYTES);
        let bytes = self.rest.split_to(len);
        self.exchange.hand_over(len);
        Poll::Ready(Some(Ok(Frame::data(Piece { bytes, exchange: Arc::clone(&self.exchange) }))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = self.body.size_hint();
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

/// A part of a body. `hyper` and `h2` advance it by as much as was written to the socket, and drop it then.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    exchange: Arc<Exchange>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.exchange.record_taken(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.exchange.release(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use axum::response::Response;
    use http_body_util::BodyExt;

    use super::*;
    use crate::{
        http::Outcome,
        server::responses::{ByteBudget, Responses},
    };

    fn responses(bytes_max: usize) -> Arc<Responses> {
        Arc::new(Responses::new(bytes_max, Arc::new(ByteBudget::new(bytes_max))))
    }

    fn exchange(responses: &Arc<Responses>) -> Arc<Exchange> {
        Arc::new(Exchange::new(Arc::clone(responses), None))
    }

    async fn next(body: &mut ResponseBody) -> Piece {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn a_body_comes_in_pieces_and_whole() {
        let bytes = Bytes::from(vec![7; PIECE_BYTES * 2 + 1]);
        let mut body = ResponseBody::new(Body::from(bytes.clone()), exchange(&responses(1)));
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let first = next(&mut body).await;
        assert_eq!((first.remaining(), body.is_end_stream()), (PIECE_BYTES, false));
        assert_eq!(body.size_hint().exact(), Some((PIECE_BYTES + 1) as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes.slice(PIECE_BYTES..));
    }

    #[tokio::test]
    async fn bytes_wait_until_they_are_written_and_an_exchange_lasts_as_long() {
        let responses = responses(100_000);
        let exchange = exchange(&responses);
        let response = exchange.bounded(Response::new(Body::from(vec![7; PIECE_BYTES + 100])));
        assert_eq!(responses.waiting(), PIECE_BYTES + 100);
        let held = Arc::downgrade(&exchange);
        let mut body = ResponseBody::new(response.into_body(), exchange);
        let mut first = next(&mut body).await;
        let mut last = next(&mut body).await;
        drop(body);
        assert_eq!((responses.waiting(), responses.taken()), (PIECE_BYTES + 100, 0));
        first.advance(1);
        assert_eq!((responses.waiting(), responses.taken()), (PIECE_BYTES + 99, 1));
        drop(first);
        assert_eq!((responses.waiting(), responses.taken()), (100, 1), "a piece that is given up was not taken");
        last.advance(100);
        assert_eq!((responses.waiting(), responses.taken(), responses.emptied()), (0, 101, 1));
        assert!(held.upgrade().is_some());
        drop(last);
        assert!(held.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_body_that_is_never_asked_for_waits_no_longer_than_its_exchange() {
        let responses = responses(100_000);
        let exchange = exchange(&responses);
        let response = exchange.bounded(Response::new(Body::from(vec![7; 50_000])));
        let mut body = ResponseBody::new(response.into_body(), exchange);
        drop(next(&mut body).await);
        assert_eq!(responses.waiting(), 50_000 - PIECE_BYTES);
        drop(body);
        assert_eq!(responses.waiting(), 0);
    }

    #[test]
    fn a_reply_that_does_not_fit_becomes_a_problem_and_a_small_one_passes() {
        let responses = responses(10_000);
        let exchange = exchange(&responses);
        let dropped = exchange.bounded(Response::new(Body::from(vec![7; 10_001])));
        assert_eq!((dropped.status().as_u16(), dropped.headers().get("retry-after")), (500, None));
        assert_eq!(dropped.extensions().get(), Some(&Outcome("response-memory")));
        assert!((1..1_000).contains(&responses.waiting()));
        let full = exchange.bounded(Response::new(Body::from(vec![7; 10_000 - responses.waiting()])));
        assert_eq!((full.status().as_u16(), responses.waiting()), (200, 10_000));
        assert_eq!(exchange.bounded(Response::new(Body::from("{}"))).status(), 200);
        drop(exchange);
        assert_eq!(responses.waiting(), 0);
    }
}
