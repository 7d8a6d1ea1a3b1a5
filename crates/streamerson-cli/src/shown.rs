//! Payloads as they are shown: whole for programs, and harmless to a terminal.

use std::{borrow::Cow, fmt::Write};

use serde::Serialize;
use serde_json::value::RawValue;
pub(crate) use streamerson::core::text::printable;
use streamerson::core::{Headers, is_json_type, text::printable_json};

/// A payload as one member of a JSON object: `payload`, the JSON value, else a string; else `payload_base64`.
#[derive(Debug, Serialize)]
pub(crate) enum Shown<'a> {
    /// The JSON value on one line, digit for digit.
    #[serde(rename = "payload")]
    Json(Box<RawValue>),
    /// Text that is not JSON.
    #[serde(rename = "payload")]
    Text(&'a str),
    /// Neither.
    #[serde(rename = "payload_base64")]
    Base64(String),
}

impl<'a> Shown<'a> {
    pub(crate) fn new(headers: &Headers, payload: &'a [u8]) -> Self {
        let Ok(text) = str::from_utf8(payload) else { return Self::Base64(base64(payload)) };
        let is_json = headers.get(Headers::CONTENT_TYPE).is_none_or(is_json_type);
        // Anything that is JSON with white space is JSON without.
        let json = || serde_json::from_str::<&RawValue>(text).and_then(|raw| RawValue::from_string(compact(raw.get())));
        match json() {
            Ok(json) if is_json => Self::Json(json),
            _ => Self::Text(text),
        }
    }

    /// The value alone, as one line of JSON.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        let json = match self {
            Self::Json(json) => json.get().to_owned(),
            Self::Text(text) => serde_json::to_string(text)?,
            Self::Base64(_) => serde_json::to_string(self)?,
        };
        Ok(printable_json(&json).into_owned())
    }

    /// The payload on one line, for people.
    pub(crate) fn to_line(&self) -> Cow<'_, str> {
        match self {
            Self::Json(json) => printable(json.get()),
            Self::Text(text) => printable(text),
            Self::Base64(base64) => format!("base64:{base64}").into(),
        }
    }
}

/// Valid JSON without the white space between its tokens.
fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for char in json.chars() {
        if in_string || !char.is_ascii_whitespace() {
            compact.push(char);
        }
        // A quote ends a string unless an odd number of backslashes stands before it.
        if char == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = char == '\\' && !escaped;
    }
    compact
}

/// Base64 as RFC 4648, section 4, defines it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            // Six bits index 64 letters; what is past the end is padding.
            let letter = ALPHABET[(bits >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// A value that may be any bytes, as text or escaped, for people.
pub(crate) fn lossy_line(bytes: &[u8]) -> String {
    let mut line = String::new();
    for chunk in bytes.utf8_chunks() {
        line.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            _ = write!(line, "\\x{byte:02x}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(content_type: Option<&str>, payload: &[u8]) -> String {
        let headers = content_type.map(|value| (Headers::CONTENT_TYPE, value)).into_iter().collect();
        serde_json::to_string(&Shown::new(&headers, payload)).unwrap()
    }

    #[test]
    fn a_payload_is_a_value_a_string_or_base64() {
        assert_eq!(json(None, b"{ \"b\": 1e400,\n \"a\": \" \\\\\" }"), r#"{"payload":{"b":1e400,"a":" \\"}}"#);
        assert_eq!(json(None, b"plain \"text\""), r#"{"payload":"plain \"text\""}"#);
        assert_eq!(json(None, b""), r#"{"payload":""}"#);
        assert_eq!(json(Some("text/plain"), b"42"), r#"{"payload":"42"}"#);
        assert_eq!(json(Some("image/png"), b"\x89PNG"), r#"{"payload_base64":"iVBORw=="}"#);
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn white_space_goes_and_strings_stay() {
        let json = "[ \"a \\\" b\" ,\t\"\\\\\" , {\n\"k\" : [ ] } ]";
        assert_eq!(compact(json), r#"["a \" b","\\",{"k":[]}]"#);
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(lossy_line(b"ok \xff\x1b"), r"ok \xff\u{1b}");
    }
}
