//! Problem documents (RFC 9457): what a failure tells its caller.

use std::{borrow::Cow, fmt};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A problem document, as RFC 9457 defines it, with media type [`Problem::MEDIA_TYPE`].
///
/// It is read by callers, so it never holds internal detail: that goes to the log and the dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// A URI that names the kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: Cow<'static, str>,
    /// A short summary, the same for every problem of a kind.
    #[serde(default)]
    pub title: Cow<'static, str>,
    /// The HTTP status code.
    #[serde(with = "status")]
    pub status: StatusCode,
    /// What happened this time, for a person to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What happened this time, as a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Further members.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

fn about_blank() -> Cow<'static, str> {
    Cow::Borrowed("about:blank")
}

impl Problem {
    /// The media type of problem documents.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// A problem with this status, titled by the status's own phrase.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            kind: about_blank(),
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Unknown")),
            status,
            detail: None,
            instance: None,
            extensions: Map::new(),
        }
    }

    /// The same problem with this detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same problem, of this kind (a URI) and with this title.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        self.kind = kind.into();
        self.title = title.into();
        self
    }

    /// The same problem with a further member.
    #[must_use]
    pub fn with(mut self, member: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.into(), value.into());
        self
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Texts, numbers and JSON values with text keys always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.title)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Status codes as JSON numbers.
mod status {
    use http::StatusCode;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(status.as_u16())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
        StatusCode::from_u16(u16::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_and_writes_as_the_rfc_says() {
        let problem = Problem::new(StatusCode::NOT_FOUND).with_detail("no order 7").with("id", "01J");
        let json = String::from_utf8(problem.to_json()).unwrap();
        assert_eq!(json, r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no order 7","id":"01J"}"#);
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
        assert_eq!(problem.to_string(), "404 Not Found: no order 7");
    }
}
