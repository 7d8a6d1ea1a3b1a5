//! Wire format, version 1: a message as the three fields `m`, `h` and `p` of an entry. And [`WireFormat`]: a topic may
//! speak the original's format instead.
//!
//! `m` is the message line `event SP id SP inbox SP deadline *(SP token)`, `h` the headers as a JSON object or empty,
//! `p` the payload. Text costs the server no more than a packed format would and any language reads it with a split.

mod js;

use std::{
    fmt::{self, Write},
    str::FromStr,
};

use bytes::Bytes;
use bytestring::ByteString;

pub use self::js::REPLY as JS_REPLY;
use crate::{
    entry::Fields,
    headers::Headers,
    message::{Message, UnixMillis},
    name::{EventType, InvalidName, MessageId, Name},
    topic::Topic,
};

/// How many entries the streams of the original's format keep, about: nothing tells when an entry of them is finished.
pub const JS_ENTRIES_MAX: u64 = 100_000;

/// Longest message line, in bytes.
pub const LINE_BYTES_MAX: usize = 512;
/// Most that the headers take as JSON, in bytes.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// Longest payload unless configured otherwise, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

const LINE: &[u8] = b"m";
const HEADERS: &[u8] = b"h";
const PAYLOAD: &[u8] = b"p";

/// The formats of entries. A topic speaks one of them: see [`Topic::with_wire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum WireFormat {
    /// Version 1: `m`, `h` and `p`.
    #[default]
    V1,
    /// What `@streamerson/core` 0.0.19 writes and reads: eight values, packed as four names with their values.
    Js,
}

impl WireFormat {
    /// The word that stands for it on command lines and in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Js => "js",
        }
    }
}

impl fmt::Display for WireFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that stands for no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a wire is \"v1\", which is ours, or \"js\", the original's")]
pub struct UnknownWireFormat;

impl FromStr for WireFormat {
    type Err = UnknownWireFormat;

    fn from_str(word: &str) -> Result<Self, UnknownWireFormat> {
        [Self::V1, Self::Js].into_iter().find(|format| format.as_str() == word).ok_or(UnknownWireFormat)
    }
}

/// Encodes and decodes messages, within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// Longest payload, in bytes; 1 MiB by default. Both sides of a topic must agree on it.
    pub payload_bytes_max: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self { payload_bytes_max: PAYLOAD_BYTES_MAX }
    }
}

/// A message that is too large to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{part} takes {len} bytes, more than the {max} allowed")]
pub struct TooLarge {
    /// Which part.
    pub part: Part,
    /// Its size, in bytes.
    pub len: usize,
    /// The bound, in bytes.
    pub max: usize,
}

/// A part of a message that has a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The message line.
    Line,
    /// The headers, as JSON.
    Headers,
    /// The payload.
    Payload,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "the message line",
            Self::Headers => "the headers",
            Self::Payload => "the payload",
        })
    }
}

/// Why the fields of an entry are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// There is no message line, and it is no entry of the original's format.
    #[error("the entry has no field m")]
    NoLine,
    /// A field that has a meaning occurs twice.
    #[error("the field {0} occurs more than once")]
    RepeatedField(&'static str),
    /// The line is not `event id inbox deadline`, with one space between tokens of visible ASCII.
    #[error("the message line is not four or more tokens of visible ASCII with one space between them")]
    Line,
    /// A token of the line breaks its rule.
    #[error(transparent)]
    Token(#[from] InvalidName),
    /// The deadline is neither `-` nor 1 to 16 digits.
    #[error("the deadline is neither - nor 1 to 16 digits")]
    Deadline,
    /// The headers are not an object of strings.
    #[error("the field h is not a JSON object of strings: {0}")]
    Headers(String),
    /// A part is larger than allowed.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A value of the original's format that must be text is none.
    #[error("the {0} is not text")]
    NotText(&'static str),
    /// The original's format knows two kinds of payloads.
    #[error("the payload is said to be neither json nor text")]
    Protocol,
    /// The reply is wanted in a stream that is not the topic's own, and nobody writes there.
    #[error("the reply is wanted in a stream that is not the topic's own")]
    ReplyKey,
}

impl Wire {
    /// The fields that carry a message in the format of its topic.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] when the headers or the payload exceed their bound.
    pub fn encode_for(&self, topic: &Topic, message: &Message) -> Result<Fields, TooLarge> {
        match topic.wire() {
            WireFormat::V1 => self.encode(message),
            WireFormat::Js => js::encode(message, topic, self.payload_bytes_max),
        }
    }

    /// The message that the fields of a topic's entry carry, as [`Wire::decode`], if its reply can go where it is wanted.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the fields are not a message, or the reply is wanted where this topic has none.
    pub fn decode_for(&self, topic: &Topic, fields: &Fields) -> Result<Message, Malformed> {
        if js::is_js(fields) {
            return js::decode(fields, Some(topic), self.payload_bytes_max);
        }
        let message = self.decode(fields)?;
        if topic.is_js() && message.inbox.is_some() { Err(Malformed::ReplyKey) } else { Ok(message) }
    }

    /// The message that the fields of an entry in a topic's stream of replies carry: where it is a reply, its type is
    /// [`EventType::REPLY`] or [`EventType::ERROR`].
    pub(crate) fn decode_reply_for(&self, topic: &Topic, fields: &Fields) -> Result<Message, Malformed> {
        if topic.is_js() && js::is_js(fields) {
            return js::decode_reply(fields, self.payload_bytes_max);
        }
        self.decode_for(topic, fields)
    }

    /// The fields that carry a message in version 1: always all three, in order.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] when the headers or the payload exceed their bound.
    pub fn encode(&self, message: &Message) -> Result<Fields, TooLarge> {
        let headers = encode_headers(&message.headers)?;
        within(Part::Payload, message.payload.len(), self.payload_bytes_max)?;
        Ok(Fields::from(vec![
            (Bytes::from_static(LINE), encode_line(message)),
            (Bytes::from_static(HEADERS), headers),
            (Bytes::from_static(PAYLOAD), message.payload.clone()),
        ]))
    }

    /// The message that the fields carry, in whichever format: an entry with a field `m` is of version 1, one of exactly
    /// four fields the last of which is named `UnoccupiedField` is the original's. In version 1 fields of other names are
    /// ignored, and `h` and `p` may be missing.
    ///
    /// The payload and the tokens are slices of the fields, not copies.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the fields are not a message.
    pub fn decode(&self, fields: &Fields) -> Result<Message, Malformed> {
        if js::is_js(fields) {
            return js::decode(fields, None, self.payload_bytes_max);
        }
        let (mut line, mut headers, mut payload) = (None, None, None);
        for (name, value) in fields {
            let (slot, shown) = match &name[..] {
                LINE => (&mut line, "m"),
                HEADERS => (&mut headers, "h"),
                PAYLOAD => (&mut payload, "p"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Malformed::RepeatedField(shown));
            }
        }
        let payload = payload.cloned().unwrap_or_default();
        within(Part::Payload, payload.len(), self.payload_bytes_max)?;
        let headers = headers.map_or(Ok(Headers::new()), decode_headers)?;
        decode_line(line.ok_or(Malformed::NoLine)?, headers, payload)
    }
}

fn within(part: Part, len: usize, max: usize) -> Result<(), TooLarge> {
    if len <= max { Ok(()) } else { Err(TooLarge { part, len, max }) }
}

fn encode_line(message: &Message) -> Bytes {
    let Message { event, id, inbox, deadline, .. } = message;
    let inbox = inbox.as_deref().unwrap_or("-");
    let deadline = deadline.map(|deadline| deadline.min(UnixMillis::MAX));
    let digits = deadline.and_then(|deadline| deadline.0.checked_ilog10()).unwrap_or(0) as usize + 1;
    // The exact size: what has room to spare is allocated once more on its way to shared bytes.
    let mut line = String::with_capacity(event.len() + id.len() + inbox.len() + 3 + digits);
    line.push_str(event);
    line.push(' ');
    line.push_str(id);
    line.push(' ');
    line.push_str(inbox);
    line.push(' ');
    match deadline {
        // Writing to a String cannot fail.
        Some(deadline) => _ = write!(line, "{deadline}"),
        None => line.push('-'),
    }
    line.into()
}

fn decode_line(line: &Bytes, headers: Headers, payload: Bytes) -> Result<Message, Malformed> {
    within(Part::Line, line.len(), LINE_BYTES_MAX)?;
    if !line.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(Malformed::Line);
    }
    let line = ByteString::try_from(line.clone()).map_err(|_| Malformed::Line)?;
    let mut tokens = line.split(' ');
    let mut token = || tokens.next().filter(|token| !token.is_empty()).ok_or(Malformed::Line);
    let (event, id, inbox, deadline) = (token()?, token()?, token()?, token()?);
    if tokens.any(str::is_empty) {
        return Err(Malformed::Line);
    }
    Ok(Message {
        event: EventType::new(line.slice_ref(event))?,
        id: MessageId::new(line.slice_ref(id))?,
        inbox: if inbox == "-" { None } else { Some(Name::new(line.slice_ref(inbox))?) },
        deadline: decode_deadline(deadline)?,
        headers,
        payload,
    })
}

fn decode_deadline(token: &str) -> Result<Option<UnixMillis>, Malformed> {
    match token {
        "-" => Ok(None),
        digits if digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(|ms| Some(UnixMillis(ms))).map_err(|_| Malformed::Deadline)
        }
        _ => Err(Malformed::Deadline),
    }
}

fn encode_headers(headers: &Headers) -> Result<Bytes, TooLarge> {
    if headers.is_empty() {
        return Ok(Bytes::new());
    }
    // An object of strings always has a JSON form, and a Vec always takes it.
    let json = serde_json::to_vec(headers).unwrap_or_default();
    within(Part::Headers, json.len(), HEADERS_BYTES_MAX)?;
    Ok(json.into())
}

fn decode_headers(json: &Bytes) -> Result<Headers, Malformed> {
    if json.is_empty() {
        return Ok(Headers::new());
    }
    within(Part::Headers, json.len(), HEADERS_BYTES_MAX)?;
    serde_json::from_slice(json).map_err(|error| Malformed::Headers(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(line: &[u8]) -> Fields {
        let mut fields = Fields::default();
        fields.push("m", line.to_vec());
        fields
    }

    fn decode(line: &str) -> Result<Message, Malformed> {
        Wire::default().decode(&fields(line.as_bytes()))
    }

    #[test]
    fn a_request_reads_as_the_protocol_says() {
        let mut entry = fields(b"order.get 01J 01K 1700000000000 future-token");
        entry.push("h", r#"{"http.method":"GET","X":"1"}"#);
        entry.push("p", "{}");
        entry.push("unknown", "ignored");
        let message = Wire::default().decode(&entry).unwrap();
        assert_eq!(message.event.as_str(), "order.get");
        assert_eq!(message.id.as_str(), "01J");
        assert_eq!(message.inbox.as_deref(), Some("01K"));
        assert_eq!(message.deadline, Some(UnixMillis(1_700_000_000_000)));
        assert_eq!(message.headers.get("x"), Some("1"));
        assert_eq!(message.payload, "{}");
    }

    #[test]
    fn three_fields_are_written_always_and_in_order() {
        let message = Message::new(EventType::new("seen").unwrap(), "");
        let fields = Wire::default().encode(&message).unwrap();
        let names: Vec<_> = fields.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, [b"m", b"h", b"p"]);
        assert_eq!(fields.get(b"m").unwrap(), format!("seen {} - -", message.id).as_bytes());
    }

    #[test]
    fn bad_lines_are_malformed() {
        for bad in [
            "",
            " ",
            "a",
            "a b c",
            "a b  -",
            " a b - -",
            "a b - - ",
            "a b - -  x",
            "a\tb - -",
            "a b - x",
            "a b - 12345678901234567",
            "a b - +1",
            "- b - -",
            "a - - -",
            "a b i/x -",
            "ä b - -",
        ] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
        assert!(decode(&format!("a b - - {}", "x".repeat(LINE_BYTES_MAX))).is_err());
        assert!(decode("a b - - x y z").is_ok());
        assert!(decode("a b - 0").is_ok());
    }

    #[test]
    fn repeated_missing_and_oversized_fields_are_malformed() {
        let wire = Wire { payload_bytes_max: 3 };
        let mut repeated = fields(b"a b - -");
        repeated.push("m", "a b - -");
        assert_eq!(wire.decode(&repeated), Err(Malformed::RepeatedField("m")));
        assert_eq!(wire.decode(&Fields::default()), Err(Malformed::NoLine));
        let mut large = fields(b"a b - -");
        large.push("p", "four");
        assert!(matches!(wire.decode(&large), Err(Malformed::TooLarge(_))));
        let mut headers = fields(b"a b - -");
        headers.push("h", "[]");
        assert!(matches!(wire.decode(&headers), Err(Malformed::Headers(_))));
    }

    #[test]
    fn what_is_too_large_is_not_encoded() {
        let wire = Wire { payload_bytes_max: 3 };
        let message = Message::new(EventType::new("a").unwrap(), "four");
        assert_eq!(wire.encode(&message), Err(TooLarge { part: Part::Payload, len: 4, max: 3 }));
        let message = message.with_header("x", "y".repeat(HEADERS_BYTES_MAX));
        assert!(wire.encode(&message).is_err());
    }

    prop_compose! {
        fn messages()(
            event in "[A-Za-z0-9._:][A-Za-z0-9._:-]{0,127}",
            id in "[!-,.-~][!-~]{0,63}",
            inbox in proptest::option::of("[A-Za-z0-9._][A-Za-z0-9._-]{0,63}"),
            deadline in proptest::option::of(0..=UnixMillis::MAX.0),
            headers in proptest::collection::vec(("[^A-Z]{0,20}", ".{0,40}"), 0..6),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) -> Message {
            Message {
                event: EventType::new(event).unwrap(),
                id: MessageId::new(id).unwrap(),
                inbox: inbox.map(|inbox| Name::new(inbox).unwrap()),
                deadline: deadline.map(UnixMillis),
                headers: headers.into_iter().collect(),
                payload: payload.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn every_valid_message_round_trips(message in messages()) {
            let wire = Wire::default();
            prop_assert_eq!(wire.decode(&wire.encode(&message).unwrap()), Ok(message));
        }

        #[test]
        fn any_bytes_decode_to_a_message_or_an_error(
            entry in proptest::collection::vec(
                (proptest::sample::select(vec!["m", "h", "p", "x"]), proptest::collection::vec(any::<u8>(), 0..80)),
                0..5,
            ),
        ) {
            let mut fields = Fields::default();
            for (name, value) in entry {
                fields.push(name, value);
            }
            if let Ok(message) = Wire::default().decode(&fields) {
                let again = Wire::default().encode(&message).unwrap();
                prop_assert_eq!(Wire::default().decode(&again), Ok(message));
            }
        }

        #[test]
        fn any_text_line_decodes_to_a_message_or_an_error(line in "[ -~]{0,60}") {
            if let Ok(message) = decode(&line) {
                let again = Wire::default().encode(&message).unwrap();
                prop_assert!(line.as_bytes().starts_with(&again.get(b"m").unwrap()[..message.event.len()]));
            }
        }
    }
}
