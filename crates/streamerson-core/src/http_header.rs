//! HTTP headers as texts within the headers of a message: what the edge and a worker that serves HTTP agree on.

use std::{collections::HashSet, str::Utf8Error};

use http::{HeaderMap, HeaderName, header};

/// Whether a header speaks of one connection or its framing, and so never travels in a message (RFC 9110, section 7.6.1).
///
/// `content-length` is one of them here, since it would speak of another body than the one that it travels with, and
/// so is `expect`, to which the edge has given its answer.
#[must_use]
pub fn is_of_the_connection(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 7] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    NAMES.contains(name) || name == "keep-alive" || name.as_str().starts_with("proxy-")
}

/// A header that `Connection` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedByConnection {
    /// Its name.
    pub name: HeaderName,
    /// Whether it was there to be removed.
    pub was_there: bool,
}

/// Removes the headers that `Connection` names, since they end at this hop, and answers which they are.
///
/// Options of the connection itself are no such headers: `close`, and headers that
/// [never travel](is_of_the_connection). The latter stay, as framing is to be checked by them; `http2-settings`, which
/// clients name that offer HTTP/2, is removed and not answered.
pub fn take_named_by_connection(headers: &mut HeaderMap) -> Vec<NamedByConnection> {
    const CLOSE: HeaderName = HeaderName::from_static("close");
    const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names: Vec<_> = names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| *name != CLOSE && !is_of_the_connection(name))
        .collect();
    // A set, since a client chooses how many names there are: a search among the names before would take a time that grows
    // with their square.
    let mut seen = HashSet::with_capacity(names.len());
    let mut named = Vec::new();
    for name in names {
        let was_there = headers.remove(&name).is_some();
        if name != HTTP2_SETTINGS && seen.insert(name.clone()) {
            named.push(NamedByConnection { name, was_there });
        }
    }
    named
}

/// The values of a header as the one text that carries them; `None` when there are none.
///
/// They are joined as RFC 9110, section 5.3 allows: by `, `. Two headers are not lists with commas: `cookie` is joined
/// by `; ` (RFC 9113, section 8.2.3), and `set-cookie` stands one to a line, since no value can hold a line feed.
///
/// # Errors
///
/// A value that is not UTF-8: message headers are texts.
pub fn join(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Utf8Error> {
    let mut values = headers.get_all(name).iter().map(|value| std::str::from_utf8(value.as_bytes()));
    let Some(first) = values.next() else { return Ok(None) };
    let mut joined = first?.to_owned();
    let separator = match *name {
        header::COOKIE => "; ",
        header::SET_COOKIE => "\n",
        _ => ", ",
    };
    for value in values {
        joined.push_str(separator);
        joined.push_str(value?);
    }
    Ok(Some(joined))
}

/// The values of a header that a text carries: each line of `set-cookie`, and the whole of any other.
pub fn split<'a>(name: &HeaderName, text: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(if *name == header::SET_COOKIE { &['\n'][..] } else { &[] })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn repeated_headers_are_joined_each_in_its_own_way() {
        let all = headers(&[
            (header::ACCEPT, "text/html"),
            (header::ACCEPT, "*/*;q=0.1"),
            (header::COOKIE, "a=1"),
            (header::COOKIE, "b=2"),
            (header::SET_COOKIE, "a=1; expires=Thu, 01 Jan 2032 00:00:00 GMT"),
            (header::SET_COOKIE, "b=2"),
            (header::ETAG, "\"1\""),
        ]);
        for (name, expected) in [
            (header::ACCEPT, Some("text/html, */*;q=0.1")),
            (header::COOKIE, Some("a=1; b=2")),
            (header::SET_COOKIE, Some("a=1; expires=Thu, 01 Jan 2032 00:00:00 GMT\nb=2")),
            (header::ETAG, Some("\"1\"")),
            (header::HOST, None),
        ] {
            let joined = join(&all, &name).unwrap();
            assert_eq!(joined.as_deref(), expected, "{name}");
            let Some(joined) = joined else { continue };
            let values: Vec<_> = split(&name, &joined).collect();
            let sent = all.get_all(&name).iter().map(|value| value.to_str().unwrap());
            match name {
                header::SET_COOKIE => assert_eq!(values, sent.collect::<Vec<_>>()),
                _ => assert_eq!(values, [&*joined]),
            }
        }
        let latin1 = [(header::ACCEPT, HeaderValue::from_bytes(b"caf\xe9").unwrap())].into_iter().collect();
        assert!(join(&latin1, &header::ACCEPT).is_err());
    }

    #[test]
    fn what_connection_names_is_removed() {
        let mut all = headers(&[
            (header::CONNECTION, "close, X-Hop, x-absent,"),
            (header::CONNECTION, "x-other"),
            (HeaderName::from_static("x-hop"), "1"),
            (HeaderName::from_static("x-other"), "1"),
            (HeaderName::from_static("x-end-to-end"), "1"),
        ]);
        let named = take_named_by_connection(&mut all);
        let left: Vec<_> = all.keys().filter(|name| *name != header::CONNECTION).collect();
        assert_eq!(left, ["x-end-to-end"]);
        let named: Vec<_> = named.iter().map(|named| (named.name.as_str(), named.was_there)).collect();
        assert_eq!(named, [("x-hop", true), ("x-absent", false), ("x-other", true)]);
    }

    #[test]
    fn what_connection_says_of_itself_names_no_header() {
        let mut all = headers(&[
            (header::CONNECTION, "Upgrade, HTTP2-Settings, TE, close, keep-alive, transfer-encoding"),
            (header::UPGRADE, "h2c"),
            (header::TE, "trailers"),
            (header::TRANSFER_ENCODING, "gzip"),
            (HeaderName::from_static("http2-settings"), "AAMAAABk"),
        ]);
        assert_eq!(take_named_by_connection(&mut all), []);
        assert!(all.contains_key(header::TRANSFER_ENCODING), "framing is checked behind it");
        assert!(!all.contains_key("http2-settings"));
    }

    #[test]
    fn a_name_that_is_repeated_is_answered_once() {
        let mut all = headers(&[(HeaderName::from_static("x-hop"), "1")]);
        let many: Vec<_> = (0..5_000).map(|index| format!("x-hop,x-{index}")).collect();
        all.insert(header::CONNECTION, HeaderValue::from_str(&many.join(",")).unwrap());
        let named = take_named_by_connection(&mut all);
        assert_eq!(named.len(), 5_001);
        assert_eq!((named[0].name.as_str(), named[0].was_there), ("x-hop", true));
    }

    #[test]
    fn a_name_that_is_none_hides_no_other() {
        let mut all = headers(&[(HeaderName::from_static("x-hop"), "1")]);
        all.insert(header::CONNECTION, HeaderValue::from_bytes(b"\xff, a b, x-hop").unwrap());
        let named = take_named_by_connection(&mut all);
        assert_eq!((named.len(), all.contains_key("x-hop")), (1, false));
    }
}
