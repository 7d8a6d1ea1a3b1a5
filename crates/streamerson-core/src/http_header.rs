//! HTTP headers as texts within the headers of a message: what the edge and a worker that serves HTTP agree on.

use std::str::Utf8Error;

use http::{HeaderMap, HeaderName, HeaderValue, header};

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

/// Removes what `Connection` names: that ends here, whatever else is said of it.
pub fn remove_named_by_connection(headers: &mut HeaderMap) {
    // The values are cheap to clone, and the map can't change while they are borrowed.
    let values: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    for name in values.iter().filter_map(|value| value.to_str().ok()).flat_map(|names| names.split(',')) {
        headers.remove(name.trim());
    }
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
            (header::CONNECTION, "close, X-Hop,"),
            (header::CONNECTION, "x-other"),
            (HeaderName::from_static("x-hop"), "1"),
            (HeaderName::from_static("x-other"), "1"),
            (HeaderName::from_static("x-end-to-end"), "1"),
        ]);
        remove_named_by_connection(&mut all);
        let left: Vec<_> = all.keys().filter(|name| *name != header::CONNECTION).collect();
        assert_eq!(left, ["x-end-to-end"]);
    }
}
