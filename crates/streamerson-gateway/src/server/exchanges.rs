//! Requests and responses on a connection of HTTP/2, counted: one on which nothing is asked, or nothing taken, ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{sync::watch, time::timeout};

/// How much of a body is handed over at once, so that it can be seen whether the client takes it. The size of a frame
/// unless both sides agree on another.
const PIECE_BYTES: usize = 16 * 1024;

/// The exchanges of one connection. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Exchanges(watch::Sender<Counts>);

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    /// Requests that came, ever.
    begun: u64,
    /// Those whose response has not been handed over to its end.
    open: usize,
    /// Those of them whose response has begun.
    sending: usize,
    /// Pieces of responses that were handed over, ever.
    pieces: u64,
}

/// One request and its response; it ends when dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    counts: watch::Sender<Counts>,
    is_sending: bool,
}

impl Exchanges {
    pub(super) fn begin(&self) -> Exchange {
        self.0.send_modify(|counts| {
            counts.begun += 1;
            counts.open += 1;
        });
        Exchange { counts: self.0.clone(), is_sending: false }
    }

    /// Returns when there was a request, or there was one already.
    pub(super) async fn first(&self) {
        // The sender is here, so it fails never.
        _ = self.0.subscribe().wait_for(|counts| counts.begun > 0).await;
    }

    /// Returns when nothing was asked for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        let mut counts = self.0.subscribe();
        loop {
            let Ok(idle) = counts.wait_for(|counts| counts.open == 0).await.map(|counts| counts.begun) else { return };
            if timeout(limit, counts.wait_for(|counts| counts.begun > idle)).await.is_err() {
                return;
            }
        }
    }

    /// Returns when there is something to take, and nothing was taken for so long.
    pub(super) async fn stalled(&self, limit: Duration) {
        let mut counts = self.0.subscribe();
        loop {
            let Ok(pieces) = counts.wait_for(|counts| counts.sending > 0).await.map(|counts| counts.pieces) else {
                return;
            };
            let moved = counts.wait_for(|counts| counts.sending == 0 || counts.pieces > pieces);
            if timeout(limit, moved).await.is_err() {
                return;
            }
        }
    }
}

impl Exchange {
    /// The response's body, which takes the exchange to its end.
    pub(super) fn body(mut self, body: Body) -> Sent {
        self.is_sending = true;
        self.counts.send_modify(|counts| counts.sending += 1);
        Sent { body, rest: Bytes::new(), exchange: self }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.counts.send_modify(|counts| {
            counts.open -= 1;
            counts.sending -= usize::from(self.is_sending);
            // What ended has moved.
            counts.pieces += 1;
        });
    }
}

/// The body of a response, handed over piece by piece.
#[derive(Debug)]
pub(super) struct Sent {
    body: Body,
    /// What of the last frame is still to be handed over.
    rest: Bytes,
    exchange: Exchange,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        self.exchange.counts.send_modify(|counts| counts.pieces += 1);
        let piece = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(piece);
        Poll::Ready(Some(Ok(Frame::data(piece))))
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_body_comes_in_pieces_and_whole() {
        let exchanges = Exchanges::default();
        let body = Bytes::from(vec![7; PIECE_BYTES * 2 + 1]);
        let mut sent = exchanges.begin().body(Body::from(body.clone()));
        assert_eq!(sent.size_hint().exact(), Some(body.len() as u64));
        let first = sent.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), sent.is_end_stream()), (PIECE_BYTES, false));
        assert_eq!(sent.size_hint().exact(), Some((PIECE_BYTES + 1) as u64));
        assert_eq!(sent.collect().await.unwrap().to_bytes(), body.slice(PIECE_BYTES..));
        assert_eq!(exchanges.0.borrow().open, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_keeps_a_connection_and_what_is_taken_too() {
        let exchanges = Exchanges::default();
        let start = Instant::now();
        exchanges.idle(LIMIT).await;
        assert_eq!(start.elapsed(), LIMIT);

        let exchange = exchanges.begin();
        exchanges.first().await;
        assert!(timeout(LIMIT * 5, exchanges.idle(LIMIT)).await.is_err(), "it is being answered");
        assert!(timeout(LIMIT * 5, exchanges.stalled(LIMIT)).await.is_err(), "there is nothing to take");
        let mut sent = exchange.body(Body::from(vec![7; PIECE_BYTES * 3]));
        let start = Instant::now();
        let take = async {
            tokio::time::sleep(LIMIT / 2).await;
            sent.frame().await.unwrap().unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = take => {}
            () = exchanges.stalled(LIMIT) => {}
        }
        assert_eq!(start.elapsed(), LIMIT + LIMIT / 2);
        drop(sent);
        exchanges.idle(LIMIT).await;
    }
}
