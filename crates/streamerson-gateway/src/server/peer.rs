//! The byte stream of a connection, as HTTP is spoken over it: what was read to find out which HTTP comes first, and a
//! client that takes nothing is given up.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A stream whose first bytes were read already, and whose writes have a time limit.
#[derive(Debug)]
pub(super) struct Peer<S> {
    /// What is still to be read before the stream is.
    opening: Bytes,
    stream: S,
    /// How long the client may take without accepting a byte.
    send_timeout: Duration,
    /// Ends the wait of a write that could not be done. Made with the first of them: most connections have none.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Whether that wait is on.
    is_waiting: bool,
}

impl<S> Peer<S> {
    pub(super) fn new(opening: Bytes, stream: S, send_timeout: Duration) -> Self {
        Self { opening, stream, send_timeout, stalled: None, is_waiting: false }
    }

    /// What came of a write: done, or not for too long.
    fn within_time<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.send_timeout)));
        if !self.is_waiting {
            stalled.as_mut().reset(Instant::now() + self.send_timeout);
            self.is_waiting = true;
        }
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of what it is sent")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peer<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.opening.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let read = self.opening.len().min(buf.remaining());
        buf.put_slice(&self.opening[..read]);
        self.opening.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peer<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within_time(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.within_time(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.within_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within_time(ended, cx)
    }
}
