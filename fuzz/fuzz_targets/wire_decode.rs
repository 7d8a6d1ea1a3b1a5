//! Any fields of an entry are a message or a typed error, and a message survives being written and read again.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use streamerson_core::{Fields, Wire};

/// A field's name. Random bytes would hardly ever be one that has a meaning.
#[derive(Arbitrary, Debug)]
enum FieldName {
    Line,
    Headers,
    Payload,
    Other(Vec<u8>),
}

impl From<FieldName> for Bytes {
    fn from(name: FieldName) -> Self {
        match name {
            FieldName::Line => Self::from_static(b"m"),
            FieldName::Headers => Self::from_static(b"h"),
            FieldName::Payload => Self::from_static(b"p"),
            FieldName::Other(bytes) => bytes.into(),
        }
    }
}

fuzz_target!(|entry: Vec<(FieldName, Vec<u8>)>| {
    let mut fields = Fields::default();
    for (name, value) in entry {
        fields.push(name, value);
    }
    let wire = Wire::default();
    let Ok(message) = wire.decode(&fields) else { return };
    // Headers may be longer once written: a character that was read raw can need an escape, never the other way round.
    let Ok(written) = wire.encode(&message) else { return };
    assert_eq!(wire.decode(&written), Ok(message));
});
