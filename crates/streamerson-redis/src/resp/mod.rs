//! RESP2, the wire protocol of Redis: commands go out through [`WriteBuffer`], replies come in through [`Decoder`].
//!
//! Only the version 2 types are read. Every server of the common denominator speaks it without being asked, and some
//! answer blocking stream reads wrongly in version 3.

mod decode;
mod encode;

use bytes::Bytes;

pub use decode::{Decoder, ProtocolError};
pub use encode::{Command, Segments, WriteBuffer};

/// The longest bulk string accepted in a reply, in bytes: the server's own limit for one value.
pub const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The longest reply accepted as a whole, in bytes.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The longest line accepted, in bytes: a length, a status, an integer or an error message.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The most elements that one reply may still owe, all its arrays together.
pub const ELEMENTS_MAX: usize = 1024 * 1024;

/// How deep the arrays of a reply may nest. Stream replies need four levels.
pub const DEPTH_MAX: usize = 16;

/// One reply of the server. The bytes are slices of the read buffer, not copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A short word such as `OK`.
    Status(Bytes),
    /// An error: a code in capitals, a space and a message.
    Error(Bytes),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bulk(Bytes),
    /// No value: a nil string or a nil array.
    Nil,
    /// A list of replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// The error message, if this is one.
    pub fn error(&self) -> Option<&Bytes> {
        match self {
            Reply::Error(message) => Some(message),
            _ => None,
        }
    }
}
