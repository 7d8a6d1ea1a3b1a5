//! The messages that all contenders send: the same keys, the same three fields, of the same size.

/// The topic, in the words of streamerson.
pub(crate) const TOPIC: &str = "bench";
/// The stream of that topic.
pub(crate) const INBOUND: &str = "{default:bench}:in";
/// The stream of replies, for the contenders that don't make one of their own.
pub(crate) const INBOX: &str = "{default:bench}:re:01JCALLERS0000000000000000";
/// The group that consumes the topic.
pub(crate) const GROUP: &str = "bench";
/// The event type of every message.
pub(crate) const EVENT: &str = "echo";
/// 128 bytes, as JSON.
pub(crate) const PAYLOAD: &str = concat!(
    r#"{"order":"01JD3N8Q7ZB6M4K2W5XH0V9TGC","customer":"a.person@shop.example","items":"#,
    r#"[7311,7312,9020],"total":129.95,"paid":true}   "#
);

/// How many entries one read for a group takes, at most: what a consumer runs at a time unless told otherwise.
pub(crate) const READ_MAX: usize = 256;
/// How long a read waits.
pub(crate) const BLOCK_MS: usize = 2000;

const _: () = assert!(PAYLOAD.len() == 128);

/// A message line whose id is a number, for contenders that need no more of an id: all that changes is its digits.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    bytes: Vec<u8>,
    /// Where the id ends.
    id_end: usize,
}

impl Line {
    /// How long an id is: as long as a ULID.
    const ID_LEN: usize = 26;

    /// The line of an event.
    pub(crate) fn event() -> Self {
        Self::new(EVENT, "- -")
    }

    /// The line of a request.
    pub(crate) fn request() -> Self {
        Self::new(EVENT, "01JCALLERS0000000000000000 1900000000000")
    }

    /// The line of a reply.
    pub(crate) fn reply() -> Self {
        Self::new("reply", "- -")
    }

    fn new(event: &str, rest: &str) -> Self {
        let id_end = event.len() + 1 + Self::ID_LEN;
        Self { bytes: format!("{event} {:026} {rest}", 0).into(), id_end }
    }

    /// The line with this id.
    pub(crate) fn with_id(&mut self, mut id: usize) -> &[u8] {
        for digit in self.bytes[..self.id_end].iter_mut().rev().take(Self::ID_LEN) {
            *digit = b'0' + (id % 10) as u8;
            id /= 10;
        }
        &self.bytes
    }

    /// The id of a line that was made by [`Line::with_id`].
    pub(crate) fn id_of(line: &[u8]) -> Option<usize> {
        let id = line.split(|&byte| byte == b' ').nth(1)?;
        std::str::from_utf8(id).ok()?.parse().ok()
    }
}
