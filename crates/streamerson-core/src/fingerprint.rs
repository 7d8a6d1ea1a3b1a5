//! Fingerprints: hashes by which two requests, or two keys, are told apart.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::{headers::Headers, message::Message};

/// A SHA-256 over parts, each with its length before it, so that two lists of parts never run into each other.
///
/// Callers choose parts of it, so it must be a hash that they cannot make collide: a caller that could would get the reply
/// to another caller's request.
///
/// ```
/// use streamerson_core::Fingerprint;
///
/// let one = Fingerprint::new("example").part("a").part("bc").into_hex(32);
/// assert_eq!(one.len(), 64);
/// assert_ne!(one, Fingerprint::new("example").part("ab").part("c").into_hex(32));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a fingerprint is used by its digits"]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// A fingerprint of this kind, different from that of the same parts of another kind.
    pub fn new(kind: &str) -> Self {
        Self(Sha256::new()).part(kind)
    }

    /// Adds a part: its length in bytes, as 8 bytes with the highest first, and the bytes.
    pub fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// Adds a part that may be absent, which is not the same as empty: `1` and the part, or `0` and an empty one.
    pub fn optional_part(self, part: Option<impl AsRef<[u8]>>) -> Self {
        match part {
            Some(part) => self.part("1").part(part),
            None => self.part("0").part(""),
        }
    }

    /// Adds the parts by which a consumer tells two requests apart: the HTTP method, path, query and content type, and the
    /// payload. Other headers may differ from one try of a request to the next.
    pub fn request(self, headers: &Headers, payload: &[u8]) -> Self {
        let names = [Headers::HTTP_METHOD, Headers::HTTP_PATH, Headers::HTTP_QUERY, Headers::CONTENT_TYPE];
        names.into_iter().fold(self, |hash, name| hash.optional_part(headers.get(name))).part(payload)
    }

    /// The first bytes of the hash, 32 at most, in hexadecimal digits.
    #[must_use]
    pub fn into_hex(self, bytes: usize) -> String {
        let mut hex = String::with_capacity(2 * bytes);
        for byte in self.0.finalize().iter().take(bytes) {
            // Writing to a String cannot fail.
            _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

impl Message {
    /// The fingerprint of the message, in 64 hexadecimal digits: the same for each delivery, repetition and replay of it,
    /// and another one for a message with another event type, HTTP request or payload, even under the same id.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Fingerprint::new("message").part(self.event.as_str()).request(&self.headers, &self.payload).into_hex(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{EventType, MessageId};

    #[test]
    fn parts_do_not_run_into_each_other() {
        let hash = |parts: &[&str]| parts.iter().fold(Fingerprint::new("k"), |hash, part| hash.part(part)).into_hex(24);
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_eq!(hash(&["a"]).len(), 48);
        assert_ne!(hash(&["a", "b"]), hash(&["ab"]));
        assert_ne!(hash(&["a", ""]), hash(&["", "a"]));
        assert_ne!(Fingerprint::new("a").into_hex(24), Fingerprint::new("b").into_hex(24));
        let optional = |part: Option<&str>| Fingerprint::new("k").optional_part(part).into_hex(32);
        assert_ne!(optional(None), optional(Some("")));
    }

    #[test]
    fn a_message_is_known_again_by_its_content_alone() {
        let message =
            |event: &'static str, payload: &'static str| Message::new(EventType::new(event).unwrap(), payload);
        let sent = message("paid", "1").with_header(Headers::HTTP_PATH, "/a");
        let again = sent.clone().with_id(MessageId::unique()).with_header(Headers::ATTEMPT, "2");
        assert_eq!(sent.fingerprint(), again.fingerprint());
        for other in [
            message("paid", "1"),
            message("paid", "2").with_header(Headers::HTTP_PATH, "/a"),
            message("owed", "1").with_header(Headers::HTTP_PATH, "/a"),
            message("paid", "1").with_header(Headers::HTTP_PATH, "/b"),
            sent.clone().with_header(Headers::CONTENT_TYPE, ""),
        ] {
            assert_ne!(sent.fingerprint(), other.fingerprint(), "{other:?}");
        }
    }
}
