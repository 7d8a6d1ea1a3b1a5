//! The byte stream of a connection, as HTTP is spoken over it: what was read to find out which HTTP comes first, a client
//! that takes nothing is given up, and one that still sends gets to read why it is not listened to.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How long a client may go on sending to a connection that is closed for it. Closed at once, what it sends would reset
/// the connection, and the response with it.
const LINGER: Duration = Duration::from_secs(5);
/// How long one is waited for of whom nothing more has come: what it sends may be under way, and one that has read the
/// end of its response hangs up by itself.
const LINGER_QUIET: Duration = Duration::from_secs(1);
/// How much of what it sends is thrown away meanwhile, in bytes.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of that is read at once, in bytes.
const SCRAP_BYTES: usize = 8 * 1024;

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
    lingering: Option<Lingering>,
}

/// The end of a stream that was closed on this side.
#[derive(Debug)]
struct Lingering {
    until: Pin<Box<Sleep>>,
    has_heard: bool,
    bytes_left: usize,
}

impl<S> Peer<S> {
    pub(super) fn new(opening: Bytes, stream: S, send_timeout: Duration) -> Self {
        Self { opening, stream, send_timeout, stalled: None, is_waiting: false, lingering: None }
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

impl<S: AsyncRead + Unpin> Peer<S> {
    /// Reads what comes and throws it away, until the client has ended, too.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            until: Box::pin(sleep(LINGER_QUIET)),
            has_heard: false,
            bytes_left: LINGER_BYTES_MAX,
        });
        loop {
            let mut scrap = [MaybeUninit::uninit(); SCRAP_BYTES];
            let mut scrap = ReadBuf::uninit(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(cx, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {
                    if !lingering.has_heard {
                        lingering.has_heard = true;
                        lingering.until.as_mut().reset(Instant::now() + LINGER);
                    }
                    match lingering.bytes_left.checked_sub(scrap.filled().len()) {
                        Some(left) => lingering.bytes_left = left,
                        None => return Poll::Ready(()),
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return lingering.until.as_mut().poll(cx),
            }
        }
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Peer<S> {
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
        if self.lingering.is_none() {
            let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.within_time(ended, cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
