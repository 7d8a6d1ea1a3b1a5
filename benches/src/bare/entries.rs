//! Entries of a stream, moved out of the crate's values: its own typed replies copy every field.

use redis::Value;

/// An entry: its id, the message line and the payload.
pub(super) struct Entry {
    pub(super) id: Vec<u8>,
    pub(super) line: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// The entries of the one stream that was read; none after a wait in vain.
pub(super) fn entries(reply: Value) -> Vec<Entry> {
    let stream = array(reply).into_iter().next().map(array).unwrap_or_default();
    stream.into_iter().nth(1).map(array).unwrap_or_default().into_iter().map(entry).collect()
}

fn entry(value: Value) -> Entry {
    let mut parts = array(value).into_iter();
    let id = parts.next().map(bytes).unwrap_or_default();
    let mut entry = Entry { id, line: Vec::new(), payload: Vec::new() };
    let mut fields = parts.next().map(array).unwrap_or_default().into_iter().map(bytes);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match &name[..] {
            b"m" => entry.line = value,
            b"p" => entry.payload = value,
            _ => {}
        }
    }
    entry
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        Value::Nil => Vec::new(),
        other => panic!("not an array but {other:?}"),
    }
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        other => panic!("not a string but {other:?}"),
    }
}
