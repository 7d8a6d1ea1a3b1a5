//! The record of a request with an idempotency key: a line with the request's fingerprint and its state, and after it the
//! reply, once there is one that is kept.

use bytes::{BufMut, Bytes, BytesMut};
use streamerson_core::{Reply, StoredReply};

/// The state of a request that was answered.
const ANSWERED: &str = "-";
/// The state of a request without a reply that is kept: it is being handled, or its fate is unknown.
const OPEN: &str = "?";

/// The length of a record without a reply, in bytes: 64 digits, a space, the state and a line feed.
pub(super) const OPEN_LEN: usize = 67;

/// A record, as it is found.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    /// The request has no reply that is kept.
    Open {
        /// The request's fingerprint.
        fingerprint: String,
    },
    /// The request was answered.
    Answered {
        /// The request's fingerprint.
        fingerprint: String,
        /// The reply.
        reply: Reply,
    },
    /// A value in another form.
    Unrecognised,
}

impl Record {
    /// The record that a value holds.
    pub(super) fn parse(value: &Bytes) -> Self {
        let Some(end) = value.iter().position(|byte| *byte == b'\n') else { return Self::Unrecognised };
        let line = std::str::from_utf8(&value[..end]).ok().and_then(|line| line.split_once(' '));
        let rest = value.slice(end + 1..);
        match line {
            Some((fingerprint, ANSWERED)) => match StoredReply::decode(&rest).and_then(|stored| stored.reply) {
                Some(reply) => Self::Answered { fingerprint: fingerprint.to_owned(), reply },
                None => Self::Unrecognised,
            },
            Some((fingerprint, _)) if rest.is_empty() => Self::Open { fingerprint: fingerprint.to_owned() },
            _ => Self::Unrecognised,
        }
    }
}

/// The value of a record without a reply.
pub(super) fn open(fingerprint: &str) -> Bytes {
    format!("{fingerprint} {OPEN}\n").into()
}

/// The value of a record with a reply.
pub(super) fn answered(fingerprint: &str, reply: &Reply) -> Bytes {
    let stored = StoredReply::encode(Some(reply), None);
    let mut record = BytesMut::with_capacity(fingerprint.len() + 3 + stored.len());
    record.put_slice(fingerprint.as_bytes());
    record.put_u8(b' ');
    record.put_slice(ANSWERED.as_bytes());
    record.put_u8(b'\n');
    record.put(stored);
    record.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_what_was_put_into_them() {
        let reply = Reply::new(&b"\n\xff"[..]).with_header("x", "1");
        let fingerprint = "a".repeat(64);
        let found = Record::parse(&answered(&fingerprint, &reply));
        assert_eq!(found, Record::Answered { fingerprint: fingerprint.clone(), reply });
        let value = open(&fingerprint);
        assert_eq!((value.len(), Record::parse(&value)), (OPEN_LEN, Record::Open { fingerprint }));
        for foreign in ["", "1", "\n", "ab -\n", "ab -\nx", "ab ?\nx", "ab\n"] {
            assert_eq!(Record::parse(&Bytes::from(foreign)), Record::Unrecognised, "{foreign}");
        }
    }
}
