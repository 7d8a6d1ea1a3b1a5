//! Any bytes are replies, an error or not enough, without a panic; and it makes no difference in how many pieces they
//! arrive.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use streamerson_redis::resp::{Decoder, ProtocolError, Reply};

/// The replies in the bytes, given to the decoder piece by piece, and the error that ended them.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<ProtocolError>) {
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::new();
    let mut replies = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (sizes, bytes) = input;
    let whole = decode([&bytes[..]]);

    let mut rest = &bytes[..];
    let mut pieces = Vec::new();
    for size in sizes {
        let (piece, others) = rest.split_at(usize::from(size).min(rest.len()));
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    assert_eq!(decode(pieces), whole);
    assert_eq!(decode(bytes.chunks(1)), whole);
});
