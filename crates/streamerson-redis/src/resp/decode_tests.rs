use proptest::prelude::*;

use super::*;

fn decode_all(bytes: &[u8]) -> Result<(Vec<Reply>, usize), ProtocolError> {
    let mut buffer = BytesMut::from(bytes);
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    while let Some(reply) = decoder.decode(&mut buffer)? {
        replies.push(reply);
    }
    Ok((replies, buffer.len()))
}

fn decode_one(bytes: &[u8]) -> Result<Option<Reply>, ProtocolError> {
    decode_all(bytes).map(|(replies, _)| replies.into_iter().next())
}

fn encode(reply: &Reply, out: &mut Vec<u8>) {
    let line = |out: &mut Vec<u8>, kind: u8, text: &[u8]| {
        out.push(kind);
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    };
    match reply {
        Reply::Status(text) => line(out, b'+', text),
        Reply::Error(text) => line(out, b'-', text),
        Reply::Integer(number) => line(out, b':', number.to_string().as_bytes()),
        Reply::Bulk(bytes) => {
            line(out, b'$', bytes.len().to_string().as_bytes());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Nil => line(out, b'$', b"-1"),
        Reply::Array(elements) => {
            line(out, b'*', elements.len().to_string().as_bytes());
            elements.iter().for_each(|element| encode(element, out));
        }
    }
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let text = "[ -~]{0,12}".prop_map(Bytes::from);
    let leaf = prop_oneof![
        text.clone().prop_map(Reply::Status),
        text.prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Reply::Bulk(bytes.into())),
        Just(Reply::Nil),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| proptest::collection::vec(inner, 0..6).prop_map(Reply::Array))
}

/// Bytes that look enough like RESP to get past the first character.
fn nearly_resp() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b":".to_vec()),
        Just(b"+".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"9223372036854775808".to_vec()),
        (0u32..5).prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn replies_survive_the_wire_cut_anywhere(
        replies in proptest::collection::vec(any_reply(), 1..5),
        cuts in proptest::collection::vec(1usize..64, 1..20),
    ) {
        let mut wire = Vec::new();
        replies.iter().for_each(|reply| encode(reply, &mut wire));

        let (mut decoder, mut buffer, mut seen) = (Decoder::default(), BytesMut::new(), Vec::new());
        let (mut rest, mut cuts) = (wire.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            buffer.extend_from_slice(piece);
            rest = after;
            while let Some(reply) = decoder.decode(&mut buffer).unwrap() {
                seen.push(reply);
            }
        }
        prop_assert_eq!(seen, replies);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn any_bytes_are_a_reply_or_incomplete_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_all(&bytes);
    }

    #[test]
    fn nearly_right_bytes_never_panic_and_cutting_changes_nothing(bytes in nearly_resp(), cut in 0usize..80) {
        let whole = decode_all(&bytes);
        let (mut decoder, mut buffer, mut seen) = (Decoder::default(), BytesMut::new(), Vec::new());
        let mut pieces = || {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            for piece in [first, second] {
                buffer.extend_from_slice(piece);
                while let Some(reply) = decoder.decode(&mut buffer)? {
                    seen.push(reply);
                }
            }
            Ok::<_, ProtocolError>(())
        };
        let outcome = pieces();
        match whole {
            Ok((replies, left)) => {
                prop_assert_eq!(outcome, Ok(()));
                prop_assert_eq!(seen, replies);
                prop_assert_eq!(buffer.len(), left);
            }
            Err(error) => prop_assert_eq!(outcome, Err(error)),
        }
    }
}

#[test]
fn both_nils_are_nil() {
    assert_eq!(decode_one(b"$-1\r\n"), Ok(Some(Reply::Nil)));
    assert_eq!(decode_one(b"*-1\r\n"), Ok(Some(Reply::Nil)));
    assert_eq!(decode_one(b"*0\r\n"), Ok(Some(Reply::Array(vec![]))));
}

#[test]
fn version_3_types_are_refused() {
    for start in b"_%~#,(!=>|" {
        assert_eq!(decode_one(&[*start]), Err(ProtocolError::UnknownType(*start)));
    }
}

#[test]
fn limits_hold() {
    assert_eq!(decode_one(b"$536870913\r\n"), Err(ProtocolError::BulkTooLong(536_870_913)));
    assert_eq!(decode_one(b"*1048577\r\n"), Err(ProtocolError::TooManyElements));
    assert_eq!(decode_one(b"*1048576\r\n"), Ok(None));
    assert_eq!(decode_one(b"$-2\r\n"), Err(ProtocolError::BadNumber));
    assert_eq!(decode_one(b":9223372036854775808\r\n"), Err(ProtocolError::BadNumber));
    assert_eq!(decode_one(b":-9223372036854775808\r\n"), Ok(Some(Reply::Integer(i64::MIN))));
    assert_eq!(decode_one(b"$2\r\nabc\r\n"), Err(ProtocolError::BadEnd));
    assert_eq!(decode_one(b"+OK\n"), Err(ProtocolError::BadEnd));
    let long = [b"+".as_slice(), &vec![b'x'; LINE_BYTES_MAX + 1]].concat();
    assert_eq!(decode_one(&long), Err(ProtocolError::LineTooLong));
    let nested = [b"*1\r\n".repeat(DEPTH_MAX + 1), b":1\r\n".to_vec()].concat();
    assert_eq!(decode_one(&nested), Err(ProtocolError::TooDeep));
    let nested = [b"*1\r\n".repeat(DEPTH_MAX), b":1\r\n".to_vec()].concat();
    assert!(matches!(decode_one(&nested), Ok(Some(Reply::Array(_)))));
}

#[test]
fn strings_are_slices_of_the_buffer() {
    let mut buffer = BytesMut::from(&b"$5\r\nhello\r\n"[..]);
    let start = buffer.as_ptr();
    let Some(Reply::Bulk(bytes)) = Decoder::default().decode(&mut buffer).unwrap() else { panic!("no bulk") };
    assert_eq!(bytes.as_ptr(), start.wrapping_add(4));
}
