//! Commands, encoded one behind the other into a buffer that goes out with vectored writes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

/// From this size on, in bytes, a payload is sent from where it lies. Below it, copying it next to its neighbours costs
/// less than one more segment in the write.
const SEGMENT_BYTES_MIN: usize = 16 * 1024;

/// Commands waiting to be written. Small arguments are copied into one growing tail, large payloads are kept as they
/// are, by reference.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl WriteBuffer {
    /// Begins a command of `arguments` arguments, its name included. Exactly so many must follow.
    pub fn command(&mut self, arguments: usize) -> Command<'_> {
        self.header(b'*', arguments);
        Command { buffer: self, missing: arguments }
    }

    /// How many bytes are waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all that is waiting, to write it; the buffer is empty afterwards.
    pub fn take(&mut self) -> Segments {
        self.close_tail();
        Segments { segments: std::mem::take(&mut self.segments), remaining: std::mem::take(&mut self.len) }
    }

    /// Throws away all that is waiting.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.tail.clear();
        self.len = 0;
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    fn header(&mut self, kind: u8, number: usize) {
        let mut line = [0; DIGITS_MAX + 3];
        let end = DIGITS_MAX + 1;
        let start = write_decimal(number as u64, &mut line[..end]) - 1;
        line[start] = kind;
        line[end..].copy_from_slice(b"\r\n");
        self.copy(&line[start..]);
    }
}

/// A command being encoded: add its arguments in order.
#[derive(Debug)]
pub struct Command<'a> {
    buffer: &'a mut WriteBuffer,
    missing: usize,
}

impl Command<'_> {
    /// Adds an argument by copying it.
    pub fn arg(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.buffer.header(b'$', bytes.len());
        self.buffer.copy(bytes);
        self.end()
    }

    /// Adds an argument that may be large; a large one is not copied.
    pub fn payload(&mut self, bytes: &Bytes) -> &mut Self {
        if bytes.len() < SEGMENT_BYTES_MIN {
            return self.arg(bytes);
        }
        self.buffer.header(b'$', bytes.len());
        self.buffer.close_tail();
        self.buffer.segments.push_back(bytes.clone());
        self.buffer.len += bytes.len();
        self.end()
    }

    /// Adds a number, in decimal.
    pub fn int(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; DIGITS_MAX];
        let start = write_decimal(number, &mut digits);
        self.arg(&digits[start..])
    }

    /// Adds two numbers with a dash between them: an entry id.
    pub fn pair(&mut self, first: u64, second: u64) -> &mut Self {
        let mut text = [0; 2 * DIGITS_MAX + 1];
        let mut start = write_decimal(second, &mut text) - 1;
        text[start] = b'-';
        start = write_decimal(first, &mut text[..start]);
        self.arg(&text[start..])
    }

    fn end(&mut self) -> &mut Self {
        self.buffer.copy(b"\r\n");
        debug_assert!(self.missing > 0, "more arguments than the command announced");
        self.missing = self.missing.saturating_sub(1);
        self
    }
}

impl Drop for Command<'_> {
    fn drop(&mut self) {
        // A wrong count would make the server read the next command as part of this one.
        debug_assert!(self.missing == 0 || std::thread::panicking(), "fewer arguments than the command announced");
    }
}

/// Bytes on their way to the socket, in the order in which they were encoded.
#[derive(Debug, Default)]
pub struct Segments {
    segments: VecDeque<Bytes>,
    remaining: usize,
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment.as_ref())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(front) = self.segments.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.segments.pop_front();
        }
    }
}

/// The digits of the largest `u64`.
const DIGITS_MAX: usize = 20;

/// Writes a number to the end of a buffer that has room for it and returns where it starts.
fn write_decimal(mut number: u64, buffer: &mut [u8]) -> usize {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut segments: Segments) -> Vec<u8> {
        segments.copy_to_bytes(segments.remaining()).to_vec()
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut buffer = WriteBuffer::default();
        buffer.command(4).arg("XADD").arg("").int(u64::MAX).pair(17, u64::MAX);
        buffer.command(1).arg("PING");
        let expected = "*4\r\n$4\r\nXADD\r\n$0\r\n\r\n$20\r\n18446744073709551615\r\n\
                        $23\r\n17-18446744073709551615\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(buffer.len(), expected.len());
        assert_eq!(drain(buffer.take()), expected.as_bytes());
        assert!(buffer.is_empty());
    }

    #[test]
    fn large_payloads_are_not_copied() {
        let large = Bytes::from(vec![b'x'; SEGMENT_BYTES_MIN]);
        let mut buffer = WriteBuffer::default();
        buffer.command(2).payload(&large).payload(&Bytes::from_static(b"small"));
        let segments = buffer.take();
        assert_eq!(segments.segments.len(), 3);
        assert_eq!(segments.segments[1].as_ptr(), large.as_ptr());

        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(segments.chunks_vectored(&mut slices), 3);
        let bytes = drain(segments);
        assert!(bytes.ends_with(b"x\r\n$5\r\nsmall\r\n"));
    }

    #[test]
    fn advancing_crosses_segments() {
        let mut buffer = WriteBuffer::default();
        let large = Bytes::from(vec![b'x'; SEGMENT_BYTES_MIN]);
        buffer.command(2).payload(&large).arg("end");
        let mut segments = buffer.take();
        let whole = segments.remaining();
        segments.advance(5);
        segments.advance(SEGMENT_BYTES_MIN + 9);
        assert_eq!(segments.remaining(), whole - SEGMENT_BYTES_MIN - 14);
        assert!(drain(segments).ends_with(b"$3\r\nend\r\n"));
    }

    #[test]
    #[should_panic(expected = "fewer arguments")]
    fn a_short_command_is_a_bug() {
        WriteBuffer::default().command(2).arg("PING");
    }
}
