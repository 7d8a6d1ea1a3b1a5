//! Headers of a message: names in lower case and texts, a JSON object on the wire.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};

/// The headers of a message, in the order in which they were set. Names are in lower case and occur once.
///
/// The reserved ones, with their meaning, are constants of this type; the rest belong to the user.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

impl Headers {
    /// W3C trace context of the sender.
    pub const TRACEPARENT: &'static str = "traceparent";
    /// W3C trace state of the sender.
    pub const TRACESTATE: &'static str = "tracestate";
    /// Media type of the payload; JSON when absent.
    pub const CONTENT_TYPE: &'static str = "content-type";
    /// HTTP status code of a reply; 200 when absent.
    pub const STATUS: &'static str = "status";
    /// Who sent the message, as the edge knows it.
    pub const SOURCE: &'static str = "source";
    /// How often a handler failed before this message came to be, as a number.
    pub const ATTEMPT: &'static str = "attempt";
    /// The one group that is to handle the message; the others ack it.
    pub const ONLY_GROUP: &'static str = "only.group";
    /// Which dead letter this message was, before somebody replayed it.
    pub const REPLAYED: &'static str = "replayed";
    /// Method of the HTTP request that became this message.
    pub const HTTP_METHOD: &'static str = "http.method";
    /// Raw path of that request.
    pub const HTTP_PATH: &'static str = "http.path";
    /// Raw query of that request, without the `?`.
    pub const HTTP_QUERY: &'static str = "http.query";
    /// Before the name of a path parameter; the value is percent-decoded.
    pub const HTTP_PARAM_PREFIX: &'static str = "http.param.";
    /// Before the name of an HTTP header; repeated ones are [joined](crate::http_header::join).
    pub const HTTP_HEADER_PREFIX: &'static str = "http.header.";

    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of a header; `name` in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(header, _)| &**header == name).map(|(_, value)| &**value)
    }

    /// Sets a header, in the place of one with the same name. The name is put in lower case.
    pub fn set(&mut self, name: &str, value: impl Into<Box<str>>) {
        let value = value.into();
        match self.0.iter_mut().find(|(header, _)| header.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_ascii_lowercase().into(), value)),
        }
    }

    /// Takes a header out.
    pub fn remove(&mut self, name: &str) -> Option<Box<str>> {
        let index = self.0.iter().position(|(header, _)| &**header == name)?;
        Some(self.0.remove(index).1)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The headers whose name starts with `prefix`, named by the rest: path parameters, HTTP headers.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsRef<str>, V: Into<Box<str>>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut all = Self::new();
        for (name, value) in headers {
            all.set(name.as_ref(), value);
        }
        all
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
                while let Some((mut name, value)) = map.next_entry::<Box<str>, Box<str>>()? {
                    name.make_ascii_lowercase();
                    headers.push((name, value));
                }
                Ok(Headers(without_repeats(headers)))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Of headers with the same name the last one counts, as in any JSON parser.
///
/// 16 KiB of JSON hold some 2,700 names, so a search for each would be millions of comparisons at the bidding of
/// whoever wrote the entry: they are sorted instead.
fn without_repeats(mut headers: Vec<(Box<str>, Box<str>)>) -> Vec<(Box<str>, Box<str>)> {
    let mut order: Vec<usize> = (0..headers.len()).collect();
    order.sort_by(|&a, &b| headers[a].0.cmp(&headers[b].0));
    let mut keep = vec![true; headers.len()];
    for pair in order.windows(2) {
        // The sort is stable, so the first of a pair is the earlier one.
        keep[pair[0]] = headers[pair[0]].0 != headers[pair[1]].0;
    }
    let mut keep = keep.into_iter();
    headers.retain(|_| keep.next().unwrap_or(true));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_occur_once() {
        let mut headers: Headers = [("Content-Type", "a"), ("x", "1"), ("content-type", "b")].into_iter().collect();
        assert_eq!(headers.get("content-type"), Some("b"));
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.remove("x").as_deref(), Some("1"));
        assert_eq!(serde_json::to_string(&headers).unwrap(), r#"{"content-type":"b"}"#);
    }

    #[test]
    fn json_with_repeated_names_keeps_the_last() {
        let headers: Headers = serde_json::from_str(r#"{"A":"1","b":"2","a":"3","A":"4"}"#).unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("b", "2"), ("a", "4")]);
    }

    #[test]
    fn anything_but_an_object_of_strings_is_refused() {
        for bad in ["[]", "{\"a\":1}", "{\"a\":null}", "null", "\"x\"", "{", "{\"a\":\"b\"} x"] {
            assert!(serde_json::from_str::<Headers>(bad).is_err(), "{bad}");
        }
    }
}
