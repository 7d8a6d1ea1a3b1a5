//! The end of a listener that loses nobody: who comes after it is turned away by the system, not cut off.

use std::io;

use tokio::net::TcpListener;

/// Takes no further connection: from now on the first packet of each (SYN) is dropped, as if it had been lost on its way,
/// so that its client sends it again a second later and finds the port closed, or the next one that listens there.
/// Handshakes that were begun are completed.
///
/// Without it a connection that is made between the last look for one and the end of the listener is reset, though its
/// client believes that it was accepted.
///
/// # Errors
///
/// Where the system has no such filter, or does not allow it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn take_no_more(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    // Instructions of classic BPF (linux/bpf_common.h), over a segment from its TCP header on.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_UNLESS_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Where the flags are (RFC 9293, section 3.1), in bytes.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    const DROP: u32 = 0;
    const KEEP: u32 = u32::MAX;

    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_UNLESS_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, DROP),
        SockFilter::new(RETURN, 0, 0, KEEP),
    ])
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn take_no_more(_listener: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::timeout,
    };

    use super::*;

    #[tokio::test]
    async fn who_has_come_is_let_in_and_who_comes_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut before = TcpStream::connect(address).await.unwrap();
        take_no_more(&listener).unwrap();
        let after = TcpStream::connect(address);
        tokio::pin!(after);
        assert!(timeout(Duration::from_millis(100), &mut after).await.is_err(), "it is neither taken nor refused");

        before.write_all(b"a").await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        assert!(timeout(Duration::from_millis(100), listener.accept()).await.is_err(), "there is no other");
        drop(listener);
        let mut got = [0];
        accepted.read_exact(&mut got).await.unwrap();
        assert_eq!(after.await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
