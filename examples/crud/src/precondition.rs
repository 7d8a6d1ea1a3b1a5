//! `If-Match`: change it only if it is still what I saw.

use std::convert::Infallible;

use streamerson::consumer::{Incoming, extract::FromMessage};

use crate::refusal::Refusal;

/// What the caller wants to be true of a book before it is changed; nothing, without the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IfMatch(Option<Box<str>>);

impl IfMatch {
    pub(crate) fn check(&self, version: i64) -> Result<(), Refusal> {
        if self.allows(version) { Ok(()) } else { Err(Refusal::OtherVersion(version)) }
    }

    /// Whether a book of this version may be changed.
    fn allows(&self, version: i64) -> bool {
        let Some(tags) = &self.0 else { return true };
        let ours = etag(version);
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == ours)
    }
}

/// An extractor of one's own: a part of the message, whatever the handler.
impl<S: Sync> FromMessage<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Infallible> {
        Ok(Self(incoming.message().headers.get("http.header.if-match").map(Into::into)))
    }
}

/// The entity tag of a version.
pub(crate) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_whole_and_strongly() {
        let allows = |header: &str| IfMatch(Some(header.into())).allows(7);
        assert!(IfMatch(None).allows(7));
        assert!(allows("\"7\"") && allows("*") && allows("\"6\", \"7\""));
        assert!(!allows("") && !allows("7") && !allows("\"77\"") && !allows("W/\"7\""));
    }
}
