//! What is remembered of a request with a key: a line with the hash of what was asked and who is at it, and after it the
//! reply, once there is one.

use bytes::{BufMut, Bytes, BytesMut};
use streamerson_core::Reply;

/// In the place of who is at it, when nobody is any more.
const DONE: &str = "-";

/// A mark, as it is found.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The request is being handled.
    UnderWay {
        /// The hash of what is asked.
        asked: String,
        /// Who is at it: the attempt that set the mark.
        attempt: String,
    },
    /// The request was answered.
    Answered {
        /// The hash of what was asked.
        asked: String,
        /// The reply.
        reply: Reply,
    },
    /// Something else wrote it.
    Foreign,
}

/// The mark of an attempt that begins.
pub(super) fn under_way(asked: &str, attempt: &str) -> Bytes {
    format!("{asked} {attempt}\n").into()
}

/// The mark of a request that was answered.
pub(super) fn answered(asked: &str, reply: &Reply) -> Bytes {
    let stored = reply.to_stored();
    let mut mark = BytesMut::with_capacity(asked.len() + 3 + stored.len());
    mark.put_slice(asked.as_bytes());
    mark.put_slice(b" -\n");
    mark.put(stored);
    mark.freeze()
}

/// What a mark says.
pub(super) fn read(mark: &Bytes) -> Found {
    let Some(end) = mark.iter().position(|byte| *byte == b'\n') else { return Found::Foreign };
    let line = std::str::from_utf8(&mark[..end]).ok().and_then(|line| line.split_once(' '));
    let stored = mark.slice(end + 1..);
    match line {
        Some((asked, DONE)) => match Reply::from_stored(&stored) {
            Some(reply) => Found::Answered { asked: asked.to_owned(), reply },
            None => Found::Foreign,
        },
        Some((asked, attempt)) if stored.is_empty() => {
            Found::UnderWay { asked: asked.to_owned(), attempt: attempt.to_owned() }
        }
        _ => Found::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_what_was_put_into_them() {
        let reply = Reply::new(&b"\n\xff"[..]).with_header("x", "1");
        assert_eq!(read(&answered("ab", &reply)), Found::Answered { asked: "ab".into(), reply });
        assert_eq!(read(&under_way("ab", "7")), Found::UnderWay { asked: "ab".into(), attempt: "7".into() });
        for foreign in ["", "1", "\n", "ab -\n", "ab -\nx", "ab 7\nx", "ab\n"] {
            assert_eq!(read(&Bytes::from(foreign)), Found::Foreign, "{foreign}");
        }
    }
}
