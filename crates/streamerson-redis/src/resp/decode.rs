//! Replies, decoded from a stream of bytes that may end anywhere.
//!
//! Two passes. The first finds where a whole reply ends and can stop and go on at any byte, remembering only a position
//! and how many elements are outstanding, so a large reply that arrives in many pieces is looked at once. The second
//! builds the reply out of slices of that stretch of the buffer. Nothing is allocated on the word of a length that the
//! bytes behind it don't back.

use bytes::{Buf, Bytes, BytesMut};

use super::{BULK_BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, LINE_BYTES_MAX, REPLY_BYTES_MAX, Reply};

/// Bytes that are no RESP2, or more of it than is accepted. The connection that sent them cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reply begins with a byte that RESP2 does not know.
    #[error("a reply begins with byte 0x{0:02x}, which is no RESP2 type")]
    UnknownType(u8),
    /// A length or an integer is not a number.
    #[error("a length or an integer is not a number")]
    BadNumber,
    /// A line or a bulk string does not end with CR LF.
    #[error("a line or string does not end with CR LF")]
    BadEnd,
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A bulk string is longer than [`BULK_BYTES_MAX`].
    #[error("a string of {0} bytes is longer than {BULK_BYTES_MAX}")]
    BulkTooLong(u64),
    /// A reply is longer than [`REPLY_BYTES_MAX`].
    #[error("a reply is longer than {REPLY_BYTES_MAX} bytes")]
    ReplyTooLong,
    /// A reply has more than [`ELEMENTS_MAX`] elements outstanding.
    #[error("a reply announces more than {ELEMENTS_MAX} elements")]
    TooManyElements,
    /// Arrays nest deeper than [`DEPTH_MAX`].
    #[error("a reply nests deeper than {DEPTH_MAX} arrays")]
    TooDeep,
    /// A reply came that no command asked for.
    #[error("a reply came that no command asked for")]
    Unsolicited,
}

/// Takes replies off the front of a read buffer.
#[derive(Debug)]
pub struct Decoder {
    /// Up to where the reply at the front of the buffer has been looked at: always the start of an element.
    position: usize,
    /// How many elements the reply still needs, nested ones included.
    outstanding: usize,
    /// Up to where the line that starts at `position` is known to hold no end.
    searched: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { position: 0, outstanding: 1, searched: 0 }
    }
}

impl Decoder {
    /// Takes the next reply off the buffer; `None` until all its bytes are there. After an error the decoder and its
    /// connection are of no more use.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, ProtocolError> {
        if !self.scan(buffer)? {
            return match buffer.len() > REPLY_BYTES_MAX {
                true => Err(ProtocolError::ReplyTooLong),
                false => Ok(None),
            };
        }
        let frame = buffer.split_to(self.position).freeze();
        *self = Self::default();
        Builder { frame: &frame, position: 0 }.build(0).map(Some)
    }

    /// Moves on to the end of the reply, as far as there are bytes.
    fn scan(&mut self, buffer: &[u8]) -> Result<bool, ProtocolError> {
        while self.outstanding > 0 {
            let Some(Line { kind, text, mut next }) = self.line(buffer)? else { return Ok(false) };
            let mut announced = 0;
            match kind {
                b'+' | b'-' | b':' => {}
                b'$' => {
                    if let Some(length) = length(text)? {
                        if length > BULK_BYTES_MAX {
                            return Err(ProtocolError::BulkTooLong(length as u64));
                        }
                        let end = next + length;
                        let Some(ending) = buffer.get(end..end + 2) else { return Ok(false) };
                        if ending != b"\r\n" {
                            return Err(ProtocolError::BadEnd);
                        }
                        next = end + 2;
                    }
                }
                b'*' => announced = length(text)?.unwrap_or(0),
                other => return Err(ProtocolError::UnknownType(other)),
            }
            self.outstanding = (self.outstanding - 1).saturating_add(announced);
            if self.outstanding > ELEMENTS_MAX {
                return Err(ProtocolError::TooManyElements);
            }
            self.position = next;
            self.searched = next;
        }
        Ok(true)
    }

    /// The line at the position, if all of it is there.
    fn line<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<Line<'a>>, ProtocolError> {
        let Some(&kind) = buffer.get(self.position) else { return Ok(None) };
        // Said before the line is complete, or a stream of garbage would be collected up to the limit first.
        if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
            return Err(ProtocolError::UnknownType(kind));
        }
        match buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
            None => {
                self.searched = buffer.len();
                match self.searched - self.position > LINE_BYTES_MAX {
                    true => Err(ProtocolError::LineTooLong),
                    false => Ok(None),
                }
            }
            Some(offset) => {
                let end = self.searched + offset;
                if end - self.position > LINE_BYTES_MAX {
                    return Err(ProtocolError::LineTooLong);
                }
                // An incomplete string behind this line brings us here again, and then to this end at once.
                self.searched = end;
                match buffer[self.position + 1..=end].strip_suffix(b"\r\n") {
                    Some(text) => Ok(Some(Line { kind, text, next: end + 1 })),
                    None => Err(ProtocolError::BadEnd),
                }
            }
        }
    }
}

/// The line that an element begins with.
struct Line<'a> {
    kind: u8,
    /// What follows the type byte.
    text: &'a [u8],
    /// Where the line behind it starts.
    next: usize,
}

/// Every string of one byte.
static ONE_BYTE: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < bytes.len() {
        bytes[byte] = byte as u8;
        byte += 1;
    }
    bytes
};

/// The second pass: builds one reply from a frame that the first pass found whole.
struct Builder<'a> {
    frame: &'a Bytes,
    position: usize,
}

impl Builder<'_> {
    fn build(&mut self, depth: usize) -> Result<Reply, ProtocolError> {
        let (kind, start, end) = self.line()?;
        let line = &self.frame[start..end];
        Ok(match kind {
            b'+' => match line {
                // Shared rather than sliced: each command of a transaction answers with one of them.
                b"OK" => Reply::Status(Bytes::from_static(b"OK")),
                b"QUEUED" => Reply::Status(Bytes::from_static(b"QUEUED")),
                _ => Reply::Status(self.frame.slice(start..end)),
            },
            b'-' => Reply::Error(self.frame.slice(start..end)),
            b':' => Reply::Integer(integer(line)?),
            b'$' => match length(line)? {
                None => Reply::Nil,
                Some(length) => {
                    let start = self.position;
                    let end = start + length;
                    if end + 2 > self.frame.len() {
                        return Err(ProtocolError::BadEnd);
                    }
                    self.position = end + 2;
                    Reply::Bulk(match self.frame[start..end] {
                        // Not sliced either: half of the strings of an entry are names of one byte or empty.
                        [] => Bytes::new(),
                        [byte] => Bytes::from_static(std::slice::from_ref(&ONE_BYTE[usize::from(byte)])),
                        _ => self.frame.slice(start..end),
                    })
                }
            },
            b'*' => match length(line)? {
                None => Reply::Nil,
                Some(_) if depth == DEPTH_MAX => return Err(ProtocolError::TooDeep),
                Some(length) => {
                    // The first pass saw that many elements, so the room is needed.
                    let mut elements = Vec::with_capacity(length.min(ELEMENTS_MAX));
                    for _ in 0..length {
                        elements.push(self.build(depth + 1)?);
                    }
                    Reply::Array(elements)
                }
            },
            other => return Err(ProtocolError::UnknownType(other)),
        })
    }

    /// The type byte of the line at the position and where its text starts and ends; the position moves behind it.
    fn line(&mut self) -> Result<(u8, usize, usize), ProtocolError> {
        let mut rest = self.frame.get(self.position..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n').filter(|&length| length >= 2) else {
            return Err(ProtocolError::BadEnd);
        };
        let start = self.position + 1;
        let end = self.position + length - 1;
        self.position += length + 1;
        Ok((rest.get_u8(), start, end))
    }
}

/// A length: `None` for the -1 that means nil.
fn length(line: &[u8]) -> Result<Option<usize>, ProtocolError> {
    match integer(line)? {
        -1 => Ok(None),
        number => usize::try_from(number).map(Some).map_err(|_| ProtocolError::BadNumber),
    }
}

fn integer(line: &[u8]) -> Result<i64, ProtocolError> {
    let (negative, digits) = match line.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, line),
    };
    if digits.is_empty() {
        return Err(ProtocolError::BadNumber);
    }
    // Counted downwards, as the smallest number has no positive counterpart.
    let mut number = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(ProtocolError::BadNumber);
        }
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_sub(i64::from(digit - b'0')))
            .ok_or(ProtocolError::BadNumber)?;
    }
    match negative {
        true => Ok(number),
        false => number.checked_neg().ok_or(ProtocolError::BadNumber),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
