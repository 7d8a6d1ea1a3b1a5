use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::{
    reply::Reply,
    wire::{Wire, WireFormat},
};

fn topic() -> Topic {
    Topic::new("orders").unwrap().with_wire(WireFormat::Js)
}

fn fields(pairs: [(&str, &str); 4]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in pairs {
        fields.push(name.to_owned(), value.to_owned());
    }
    fields
}

fn entry(reply_key: &str, headers: &str, protocol: &str, payload: &str) -> Fields {
    fields([("1b4e28ba", "order.get"), (reply_key, headers), (protocol, "web-1"), ("UnoccupiedField", payload)])
}

fn decode(fields: &Fields) -> Result<Message, Malformed> {
    Wire::default().decode_for(&topic(), fields)
}

fn decode_reply(fields: &Fields) -> Message {
    Wire::default().decode_reply_for(&topic(), fields).unwrap()
}

const OWN: &str = "default::orders::PRODUCER_OUTGOING";

#[test]
fn a_request_of_the_original_reads_as_it_means() {
    let message = decode(&entry(OWN, "nil", "json", "{}")).unwrap();
    assert_eq!((message.event.as_str(), message.id.as_str()), ("order.get", "1b4e28ba"));
    assert_eq!(topic().inbox(message.inbox.as_ref().unwrap()).as_str(), OWN);
    assert_eq!((message.deadline, message.payload.as_ref()), (None, &b"{}"[..]));
    assert_eq!(message.headers, [("source", "web-1")].into_iter().collect());
    let event = decode(&entry("", "", "text", "hello")).unwrap();
    assert_eq!((event.inbox, event.headers.get("content-type")), (None, Some("text/plain")));
}

#[test]
fn a_reply_is_what_the_original_writes_and_an_error_is_known_by_its_type() {
    let id = MessageId::new("1b4e28ba").unwrap();
    let written = Wire::default().encode_for(&topic(), &Reply::new("[7]").into_message(id.clone())).unwrap();
    assert_eq!(written, fields([("1b4e28ba", "resp"), ("", "nil"), ("json", ""), ("UnoccupiedField", "[7]")]));
    for reply in [Reply::new("").with_status(StatusCode::CREATED), Problem::new(StatusCode::BAD_GATEWAY).into()] {
        let message = reply.clone().into_message(id.clone());
        let written = Wire::default().encode_for(&topic(), &message).unwrap();
        assert_eq!(decode(&written).unwrap().event.as_str(), "resp");
        assert_eq!(Reply::from_message(decode_reply(&written)), Ok(reply));
    }
    // The original's client asks for the id alone.
    for event in ["xfer", "order.get", "GET /orders", ""] {
        let transferred = fields([("1b4e28ba", event), ("", "nil"), ("json", ""), ("UnoccupiedField", "[7]")]);
        assert_eq!(Reply::from_message(decode_reply(&transferred)), Ok(Reply::new("[7]")), "{event}");
    }
}

/// The original's `Writable` makes its events and requests so, and notes in replies where it reads.
#[test]
fn resp_is_a_type_like_any_other_and_a_reply_wants_none() {
    let resp = |reply_key| fields([("1b4e28ba", "resp"), (reply_key, "nil"), ("json", ""), ("UnoccupiedField", "[7]")]);
    let asked = decode(&resp(OWN)).unwrap();
    assert_eq!((asked.event.as_str(), asked.inbox), ("resp", Some(Name::SHARED_INBOX)));
    for elsewhere in ["default::orders::CONSUMER_INCOMING", "sessions"] {
        let replied = decode(&resp(elsewhere)).unwrap();
        assert_eq!((replied.event.as_str(), replied.inbox), ("resp", None), "{elsewhere}");
        assert_eq!(Reply::from_message(decode_reply(&resp(elsewhere))), Ok(Reply::new("[7]")));
    }
}

#[test]
fn ids_are_uuids_as_they_are_there() {
    let ids: Vec<_> = (0..3).map(|_| topic().new_message_id()).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    for id in &ids {
        let lens: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lens, [8, 4, 4, 4, 12], "{id}");
        assert!(id.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f')), "{id}");
        assert!(id[14..].starts_with('7') && id[19..].starts_with(['8', '9', 'a', 'b']), "{id}");
    }
    assert_eq!(Topic::new("orders").unwrap().new_message_id().len(), 26);
}

#[test]
fn nothing_is_said_to_be_json_that_the_original_cannot_parse() {
    let nested = |depth: usize| ["[\"[\\\"{\",".repeat(depth - 1), "[]".into(), "]".repeat(depth - 1)].concat();
    let (deep, too_deep) = (nested(JSON_DEPTH_MAX), nested(JSON_DEPTH_MAX + 1));
    for (payload, protocol) in [
        (deep.as_bytes(), "json"),
        (too_deep.as_bytes(), "text"),
        (b"", "text"),
        (b"{", "text"),
        (b"\"\xff\"", "text"),
        (b"{} x", "text"),
        (b" [1e999, \"\\ud800\"]\n", "json"),
        (b"42", "json"),
    ] {
        let message = Message::new(EventType::new("a").unwrap(), payload.to_vec());
        let written = Wire::default().encode_for(&topic(), &message).unwrap();
        assert_eq!(written.iter().nth(2).unwrap().0, protocol, "{payload:?}");
    }
}

#[test]
fn the_format_is_told_by_the_fields() {
    let wire = Wire::default();
    // Whatever the topic speaks.
    assert!(wire.decode(&entry("", "nil", "json", "1")).is_ok());
    let mut with_line = entry("", "nil", "json", "1");
    with_line.push("m", "seen 1 - -");
    assert_eq!(decode(&with_line).unwrap().event.as_str(), "seen");
    let four = fields([("m", "seen 1 - -"), ("h", ""), ("p", "2"), ("UnoccupiedField", "")]);
    assert_eq!(decode(&four).unwrap().payload, "2");
    let mut five = entry("", "nil", "json", "1");
    five.push("d", "{}");
    let other = fields([("1", "a"), ("", "nil"), ("json", ""), ("Unoccupied", "1")]);
    for neither in [five, other, Fields::default()] {
        assert_eq!(decode(&neither), Err(Malformed::NoLine));
    }
}

#[test]
fn a_reply_that_is_wanted_elsewhere_is_refused() {
    for key in
        ["default::other::PRODUCER_OUTGOING", "default::orders::CONSUMER_INCOMING", "sessions", "{default:orders}:in"]
    {
        assert_eq!(decode(&entry(key, "nil", "json", "1")), Err(Malformed::ReplyKey), "{key}");
    }
    // Nor does a topic of version 1 have the stream, or one of the original's an inbox.
    let v1 = Topic::new("orders").unwrap();
    assert_eq!(Wire::default().decode_for(&v1, &entry(OWN, "nil", "json", "1")), Err(Malformed::ReplyKey));
    let mut request = Fields::default();
    request.push("m", "order.get 1 inbox -");
    assert_eq!(decode(&request), Err(Malformed::ReplyKey));
    assert!(Wire::default().decode_for(&v1, &request).is_ok());
}

#[test]
fn what_breaks_the_rules_is_malformed() {
    for bad in [
        entry(OWN, "[]", "json", "1"),
        entry(OWN, r#"{"a":1}"#, "json", "1"),
        entry(OWN, "null", "json", "1"),
        entry(OWN, r#"{"deadline":"soon"}"#, "json", "1"),
        entry(OWN, "nil", "xml", "1"),
        fields([("", "a"), ("", "nil"), ("json", ""), ("UnoccupiedField", "")]),
        fields([("1", ""), ("", "nil"), ("json", ""), ("UnoccupiedField", "")]),
        fields([("1", "a b"), ("", "nil"), ("json", ""), ("UnoccupiedField", "")]),
    ] {
        assert!(decode(&bad).is_err(), "{bad:?}");
    }
    let small = Wire { payload_bytes_max: 1 };
    assert!(matches!(small.decode(&entry("", "nil", "json", "10")), Err(Malformed::TooLarge(_))));
    let mut message = Message::new(EventType::new("a").unwrap(), "10");
    assert!(small.encode_for(&topic(), &message).is_err());
    message.headers.set("source", "x".repeat(HEADERS_BYTES_MAX + 1));
    assert!(Wire::default().encode_for(&topic(), &message).is_err());
}

prop_compose! {
    /// Every message that the format can carry: a payload that is no JSON has a type that says so, a source comes last
    /// and is not empty, the id is not the name of version 1's first field.
    fn messages()(
        event in "user[A-Za-z0-9._:-]{0,124}",
        id in "[!-,.-~][!-~]{1,63}",
        is_request in any::<bool>(),
        deadline in proptest::option::of(0..=UnixMillis::MAX.0),
        headers in proptest::collection::vec(("x-[^A-Z]{0,20}", ".{0,40}"), 0..6),
        content in prop_oneof![
            "(\\[[1-9][0-9]{0,8}\\]|\"[a-z]{0,9}\")?".prop_map(|json| (None, json.into_bytes())),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (Some("image/png"), bytes)),
        ],
        source in proptest::option::of(".{1,40}"),
    ) -> Message {
        let mut headers: Headers = headers.into_iter().collect();
        if let Some(kind) = content.0 {
            headers.set("content-type", kind);
        }
        if let Some(source) = source {
            headers.set("source", source);
        }
        Message {
            event: EventType::new(event).unwrap(),
            id: MessageId::new(id).unwrap(),
            inbox: is_request.then_some(Name::SHARED_INBOX),
            deadline: deadline.map(UnixMillis),
            headers,
            payload: content.1.into(),
        }
    }
}

proptest! {
    #[test]
    fn every_message_that_the_format_can_carry_round_trips(message in messages()) {
        let written = Wire::default().encode_for(&topic(), &message).unwrap();
        prop_assert_eq!(decode(&written), Ok(message.clone()));
        prop_assert_eq!(Wire::default().decode(&written), Ok(message));
    }

    #[test]
    fn whatever_is_written_the_original_can_parse(
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[\\[\\]{}\",:0-9a\\\\ ]{0,12}".prop_map(String::into_bytes),
            (0_usize..300).prop_map(|depth| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes()),
        ],
        content_type in proptest::option::of(proptest::sample::select(vec![
            "application/json", "application/problem+json;a=b", "text/plain", "nil", "json", "",
        ])),
        is_reply in any::<bool>(),
    ) {
        let headers: Headers = content_type.map(|value| ("content-type", value)).into_iter().collect();
        let event = if is_reply { EventType::REPLY } else { EventType::new("a").unwrap() };
        let message = Message { headers, ..Message::new(event, payload.clone()) };
        let written = Wire::default().encode_for(&topic(), &message).unwrap();
        let [_, (_, headers), (protocol, _), (word, value)] = written.iter().collect::<Vec<_>>()[..] else {
            panic!("four pairs");
        };
        prop_assert_eq!((&word[..], &value[..]), (&b"UnoccupiedField"[..], &payload[..]));
        prop_assert!(headers == "nil" || serde_json::from_slice::<IgnoredAny>(headers).is_ok());
        prop_assert!(protocol == "text" || (protocol == "json" && serde_json::from_slice::<IgnoredAny>(value).is_ok()));
    }

    #[test]
    fn any_values_decode_to_a_message_or_an_error(
        values in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                proptest::sample::select(vec![
                    "", "nil", "json", "text", "resp", "a", "{}", r#"{"deadline":"1"}"#, OWN,
                    r#"{"content-type":"application/problem+json","status":"502"}"#,
                ])
                .prop_map(|text| text.as_bytes().to_vec()),
            ],
            7,
        ),
    ) {
        let [id, event, key, headers, protocol, source, payload] = <[Vec<u8>; 7]>::try_from(values).unwrap();
        let mut fields = Fields::default();
        fields.push(id, event);
        fields.push(key, headers);
        fields.push(protocol, source);
        fields.push("UnoccupiedField", payload);
        if let Ok(message) = decode(&fields) {
            // It may be said otherwise, but it says the same from then on.
            let again = decode(&Wire::default().encode_for(&topic(), &message).unwrap());
            prop_assert_eq!(again.as_ref().map(|again| (&again.id, &again.payload)), Ok((&message.id, &message.payload)));
            let again = again.unwrap();
            prop_assert_eq!(decode(&Wire::default().encode_for(&topic(), &again).unwrap()), Ok(again));
        }
    }
}
