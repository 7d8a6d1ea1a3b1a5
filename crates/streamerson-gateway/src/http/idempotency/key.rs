//! The header `Idempotency-Key`, parsed.

use axum::http::{HeaderMap, HeaderName};

/// Longest key. Those in use are UUIDs and the like.
const KEY_CHARS_MAX: usize = 255;

/// Which rule a key breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub(super) &'static str);

/// The key that a request has: a string of RFC 9651 (section 3.3.3), or its characters without the quotes, as many clients
/// send it. Parameters are ignored.
pub(super) fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Invalid> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Invalid("it is there more than once"));
    }
    let text = value.to_str().map_err(|_| Invalid("it is not ASCII"))?.trim_matches(' ');
    let (key, rest) = match text.strip_prefix('"') {
        Some(quoted) => string(quoted).ok_or(Invalid("a closing quote is missing, or an escape is wrong"))?,
        None => bare(text)?,
    };
    if !(rest.is_empty() || rest.starts_with(';')) {
        return Err(Invalid("something follows it"));
    }
    match key.len() {
        1..=KEY_CHARS_MAX => Ok(Some(key)),
        0 => Err(Invalid("it is empty")),
        _ => Err(Invalid("it is longer than 255 characters")),
    }
}

/// The string that begins behind an opening quote, and what follows its closing one.
fn string(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((key, text[at + 1..].trim_start_matches(' '))),
            (_, '\\') => match chars.next()? {
                (_, escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return None,
            },
            (_, plain @ ' '..='~') => key.push(plain),
            _ => return None,
        }
    }
}

/// The key up to its parameters, and those.
fn bare(text: &str) -> Result<(String, &str), Invalid> {
    let (key, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    let key = key.trim_end_matches(' ');
    if key.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b',')) {
        return Err(Invalid("without quotes around it, it may not hold spaces, quotes or commas"));
    }
    Ok((key.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("idempotency-key");

    fn key(values: &[&str]) -> Result<Option<String>, Invalid> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        read(&headers, &NAME)
    }

    #[test]
    fn a_key_is_a_string_in_quotes_or_bare() {
        for (value, expected) in [
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            ("8e03978e-40d5", "8e03978e-40d5"),
            (" \"a b, c\" ; x=1", "a b, c"),
            ("a/b+c=:1;x", "a/b+c=:1"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
        ] {
            assert_eq!(key(&[value]), Ok(Some(expected.to_owned())), "{value}");
        }
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[&"k".repeat(255)]), Ok(Some("k".repeat(255))));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = format!("\"{}\"", "k".repeat(256));
        for bad in ["", "\"\"", "\"a", "\"a\\b\"", "\"a\" b", "a b", "a\"b", "a,b", "é", "\"é\"", ";x", &long] {
            assert!(key(&[bad]).is_err(), "{bad}");
        }
        assert!(key(&["a", "a"]).is_err(), "two of them");
    }
}
