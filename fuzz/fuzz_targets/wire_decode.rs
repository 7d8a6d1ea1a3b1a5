//! Any fields of an entry are a message or a typed error, whatever their format; a message survives being written and
//! read again; and what is written in the original's format is what the original can parse.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use streamerson_core::{Fields, Message, Topic, Wire, wire::WireFormat};

/// An entry. Random bytes would hardly ever have a shape that has a meaning.
#[derive(Arbitrary, Debug)]
enum Entry {
    V1(Vec<(FieldName, Vec<u8>)>),
    Js(Js),
}

#[derive(Arbitrary, Debug)]
enum FieldName {
    Line,
    Headers,
    Payload,
    Unoccupied,
    Other(Vec<u8>),
}

/// The eight values of the original's format, but for the word that tells it.
#[derive(Arbitrary, Debug)]
struct Js {
    id: Vec<u8>,
    event: Event,
    reply_key: ReplyKey,
    headers: JsHeaders,
    protocol: Protocol,
    source: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Event {
    Reply,
    Other(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum ReplyKey {
    None,
    Own,
    OfAnother,
    Other(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum JsHeaders {
    None,
    Object(Vec<(HeaderName, String)>),
    Other(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum HeaderName {
    ContentType,
    Deadline,
    Source,
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Protocol {
    Json,
    Text,
    Other(Vec<u8>),
}

impl From<Entry> for Fields {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::V1(fields) => {
                fields.into_iter().map(|(name, value)| (Bytes::from(name), value.into())).collect::<Vec<_>>().into()
            }
            Entry::Js(js) => js.into(),
        }
    }
}

impl From<FieldName> for Bytes {
    fn from(name: FieldName) -> Self {
        match name {
            FieldName::Line => Self::from_static(b"m"),
            FieldName::Headers => Self::from_static(b"h"),
            FieldName::Payload => Self::from_static(b"p"),
            FieldName::Unoccupied => Self::from_static(b"UnoccupiedField"),
            FieldName::Other(bytes) => bytes.into(),
        }
    }
}

impl From<Js> for Fields {
    fn from(js: Js) -> Self {
        let event = match js.event {
            Event::Reply => b"resp".to_vec(),
            Event::Other(bytes) => bytes,
        };
        let reply_key = match js.reply_key {
            ReplyKey::None => Vec::new(),
            ReplyKey::Own => topic().outbound().as_str().into(),
            ReplyKey::OfAnother => b"default::views::PRODUCER_OUTGOING".to_vec(),
            ReplyKey::Other(bytes) => bytes,
        };
        let headers = match js.headers {
            JsHeaders::None => b"nil".to_vec(),
            JsHeaders::Object(headers) => {
                let headers: serde_json::Map<_, _> =
                    headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
                serde_json::to_vec(&headers).unwrap()
            }
            JsHeaders::Other(bytes) => bytes,
        };
        let protocol = match js.protocol {
            Protocol::Json => b"json".to_vec(),
            Protocol::Text => b"text".to_vec(),
            Protocol::Other(bytes) => bytes,
        };
        let mut fields = Self::default();
        fields.push(js.id, event);
        fields.push(reply_key, headers);
        fields.push(protocol, js.source);
        fields.push("UnoccupiedField", js.payload);
        fields
    }
}

impl From<HeaderName> for String {
    fn from(name: HeaderName) -> Self {
        match name {
            HeaderName::ContentType => "content-type".into(),
            HeaderName::Deadline => "deadline".into(),
            HeaderName::Source => "source".into(),
            HeaderName::Other(name) => name,
        }
    }
}

fn topic() -> Topic {
    Topic::new("orders").unwrap().with_wire(WireFormat::Js)
}

/// As the original's reader does, which ends where it cannot.
fn original_parses(fields: &Fields) {
    let pairs: Vec<_> = fields.iter().collect();
    let [(id, _), (_, headers), (protocol, _), (word, payload)] = pairs[..] else { panic!("four pairs") };
    assert!(!id.is_empty() && word == "UnoccupiedField");
    let is_json = |bytes: &[u8]| serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    assert!(headers == "nil" || is_json(headers), "{headers:?}");
    assert!(protocol == "text" || (protocol == "json" && is_json(payload)), "{payload:?}");
}

/// What is read may be written otherwise, and says the same from then on.
fn survives_in_the_originals_format(message: &Message) {
    let (wire, topic) = (Wire::default(), topic());
    let Ok(written) = wire.encode_for(&topic, message) else { return };
    original_parses(&written);
    // An id of "m" would make it an entry of version 1, and is refused before it is written.
    if &*message.id == "m" {
        return;
    }
    let again = wire.decode_for(&topic, &written).unwrap();
    assert_eq!((&again.id, &again.payload), (&message.id, &message.payload));
    if let Ok(written) = wire.encode_for(&topic, &again) {
        assert_eq!(wire.decode_for(&topic, &written), Ok(again));
    }
}

fuzz_target!(|entry: Entry| {
    let fields = Fields::from(entry);
    let (wire, js) = (Wire::default(), topic());
    // What a topic's worker gets is never more than what anybody can read.
    for topic in [js.with_wire(WireFormat::V1), js] {
        if let Ok(message) = wire.decode_for(&topic, &fields) {
            survives_in_the_originals_format(&message);
        }
    }
    let Ok(message) = wire.decode(&fields) else { return };
    // Headers may be longer once written: a character that was read raw can need an escape, never the other way round.
    let Ok(written) = wire.encode(&message) else { return };
    assert_eq!(wire.decode(&written), Ok(message));
});
