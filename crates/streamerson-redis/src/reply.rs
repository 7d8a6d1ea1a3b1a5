//! Replies read as what they stand for. Fields are moved out of a reply, never copied.

use bytes::Bytes;
use streamerson_core::{Entry, EntryId, Fields, Name, StreamKey, broker::BrokerError};

use crate::{
    error::{refused, unexpected},
    resp::Reply,
};

/// The server's error to a command on a stream, and on a group if it was one.
pub(crate) fn stream_error(command: &str, message: &[u8], key: &StreamKey, group: Option<&Name>) -> BrokerError {
    let message = in_script(message);
    match (message, group) {
        (message, _) if is_denial(message) => denied(command, message, key),
        (message, _) if message.starts_with(b"WRONGTYPE") => BrokerError::WrongType { key: key.clone() },
        (message, Some(group)) if is_no_group(message) => {
            BrokerError::NoGroup { key: key.clone(), group: group.clone() }
        }
        _ => refused(message),
    }
}

/// The error of a command within a script, which Redis 6.2 wraps: `@user_script: 29: -OOM command not allowed …`.
fn in_script(message: &[u8]) -> &[u8] {
    let wrapped = message.starts_with(b"@user_script") || message.starts_with(b"ERR Error running script");
    match message.windows(3).rposition(|window| window == b": -") {
        Some(at) if wrapped => &message[at + 3..],
        _ => message,
    }
}

/// A user lacks a right. Of a key the server says only that it is one of the command's, and of a script not even which
/// command was denied.
pub(crate) fn denied(command: &str, message: &[u8], key: &StreamKey) -> BrokerError {
    let text = String::from_utf8_lossy(message);
    let cause = text.split_once(' ').map_or(&*text, |(_, cause)| cause).trim_end();
    BrokerError::Refused { code: "NOPERM".into(), message: format!("{cause} ({command} of {key})").into() }
}

/// Whether an error says that a user lacks a right. Within scripts, versions of Redis put it in words of their own.
pub(crate) fn is_denial(message: &[u8]) -> bool {
    let words: [&[u8]; 3] = [b"NOPERM", b"ERR The user executing the script can't", b"ERR ACL failure in script"];
    words.iter().any(|words| message.starts_with(words))
}

/// Whether an error says that the group or its stream is not there. `UNBLOCKED` is how Redis 7.0 ends a group read whose
/// stream was removed; its other use, a change of role, says so in other words.
fn is_no_group(message: &[u8]) -> bool {
    message.starts_with(b"NOGROUP")
        || is_no_key(message)
        || (message.starts_with(b"UNBLOCKED") && message.ends_with(b"no longer exists"))
}

/// Whether an error says that the key is not there, as `XINFO` and `XGROUP` put it.
pub(crate) fn is_no_key(message: &[u8]) -> bool {
    message == b"ERR no such key" || message.starts_with(b"ERR The XGROUP subcommand requires the key to exist")
}

/// An entry id.
pub(crate) fn id(text: &[u8]) -> Option<EntryId> {
    let dash = text.iter().position(|&byte| byte == b'-')?;
    Some(EntryId::new(number(&text[..dash])?, number(&text[dash + 1..])?))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The id that a reply consists of.
pub(crate) fn as_id(reply: &Reply) -> Option<EntryId> {
    match reply {
        Reply::Bulk(text) => id(text),
        _ => None,
    }
}

/// A number that cannot be negative.
pub(crate) fn as_count(reply: &Reply) -> Option<u64> {
    match reply {
        Reply::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// A text.
pub(crate) fn as_text(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Bulk(text) | Reply::Status(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// The elements of an array.
pub(crate) fn array(command: &str, reply: Reply) -> Result<Vec<Reply>, BrokerError> {
    match reply {
        Reply::Array(elements) => Ok(elements),
        other => Err(unexpected(command, &other)),
    }
}

/// A list of entries. Nil ones, as Redis 6.2 has them for entries that were deleted, are left out.
pub(crate) fn entries(command: &str, reply: Reply) -> Result<Vec<Entry>, BrokerError> {
    let mut entries = Vec::new();
    if let Reply::Nil = reply {
        return Ok(entries);
    }
    let elements = array(command, reply)?;
    entries.reserve_exact(elements.len());
    for element in elements {
        match element {
            Reply::Nil => {}
            Reply::Array(parts) => entries.push(entry(command, parts)?),
            other => return Err(unexpected(command, &other)),
        }
    }
    Ok(entries)
}

/// One entry: an id, then its fields, which are nil for one that was deleted. Newer servers may add elements.
fn entry(command: &str, parts: Vec<Reply>) -> Result<Entry, BrokerError> {
    let mut parts = parts.into_iter();
    let (id, fields) = match (parts.next().as_ref().and_then(as_id), parts.next()) {
        (Some(id), Some(Reply::Array(fields))) => (id, fields),
        (Some(id), Some(Reply::Nil)) => (id, Vec::new()),
        (_, other) => return Err(unexpected(command, &other.unwrap_or(Reply::Nil))),
    };
    let mut pairs = Vec::with_capacity(fields.len() / 2);
    let mut fields = fields.into_iter();
    while let Some(name) = fields.next() {
        match (name, fields.next()) {
            (Reply::Bulk(name), Some(Reply::Bulk(value))) => pairs.push((name, value)),
            (name, _) => return Err(unexpected(command, &name)),
        }
    }
    Ok(Entry { id, fields: Fields::from(pairs) })
}

/// What a read found in each stream: key and entries, in the order of the question. No array at all means nothing.
pub(crate) fn streams(command: &str, reply: Reply) -> Result<Vec<(Bytes, Vec<Entry>)>, BrokerError> {
    if let Reply::Nil = reply {
        return Ok(Vec::new());
    }
    let stream = |element| {
        let mut parts = array(command, element)?.into_iter();
        match (parts.next(), parts.next()) {
            (Some(Reply::Bulk(key)), Some(found)) => Ok((key, entries(command, found)?)),
            (_, other) => Err(unexpected(command, &other.unwrap_or(Reply::Nil))),
        }
    };
    array(command, reply)?.into_iter().map(stream).collect()
}

/// The value of a name in a flat list of names and values, as `XINFO` answers.
pub(crate) fn value<'a>(pairs: &'a [Reply], name: &str) -> Option<&'a Reply> {
    pairs.chunks_exact(2).find(|pair| as_text(&pair[0]) == Some(name)).map(|pair| &pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &'static str) -> Reply {
        Reply::Bulk(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn ids_are_two_numbers() {
        assert_eq!(id(b"17-3"), Some(EntryId::new(17, 3)));
        assert_eq!(id(b"18446744073709551615-18446744073709551615"), Some(EntryId::MAX));
        for bad in ["", "-", "1", "1-", "-1", "1-2-3", "18446744073709551616-0", "+1-0"] {
            assert_eq!(id(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn errors_of_scripts_are_those_of_their_commands() {
        let key = StreamKey::raw("{shop:orders}:in");
        for message in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "@user_script: 29: -OOM command not allowed when used memory > 'maxmemory'.",
            "ERR Error running script (call to f_00): @user_script:1: @user_script: 1: -OOM command not allowed",
        ] {
            let error = stream_error("the settle script", message.as_bytes(), &key, None);
            assert!(matches!(&error, BrokerError::Refused { code, .. } if &**code == "OOM"), "{error}");
        }
    }

    #[test]
    fn a_denial_names_the_command_and_the_key() {
        let key = StreamKey::raw("{shop:orders}:in");
        for message in [
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "ERR The user executing the script can't run this command or subcommand script: f00, on @user_script:1.",
        ] {
            let error = stream_error("the settle script", message.as_bytes(), &key, None);
            assert!(matches!(&error, BrokerError::Refused { code, .. } if &**code == "NOPERM"), "{error}");
            assert!(!error.is_transient());
            assert!(error.to_string().ends_with("(the settle script of {shop:orders}:in)"), "{error}");
        }
    }

    #[test]
    fn entries_may_be_nil_or_without_fields_or_have_more_parts() {
        let reply = Reply::Array(vec![
            Reply::Nil,
            Reply::Array(vec![bulk("1-0"), Reply::Nil]),
            Reply::Array(vec![
                bulk("2-0"),
                Reply::Array(vec![bulk("a"), bulk("b")]),
                Reply::Integer(5),
                Reply::Integer(1),
            ]),
        ]);
        let entries = entries("XREADGROUP", reply).unwrap();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].fields.is_empty());
        assert_eq!(entries[1].fields.get(b"a").map(|value| value.as_ref()), Some(b"b".as_slice()));
    }

    #[test]
    fn other_shapes_are_errors() {
        for odd in [
            Reply::Integer(1),
            Reply::Array(vec![bulk("1-0")]),
            Reply::Array(vec![Reply::Array(vec![])]),
            Reply::Array(vec![Reply::Array(vec![bulk("x"), Reply::Array(vec![])])]),
            Reply::Array(vec![Reply::Array(vec![bulk("1-0"), Reply::Array(vec![bulk("odd")])])]),
        ] {
            assert!(matches!(entries("XRANGE", odd), Err(BrokerError::Protocol(_))));
        }
    }
}
