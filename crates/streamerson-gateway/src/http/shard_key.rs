//! Which shard a request belongs to.

use std::{fmt, str::FromStr};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderName, request::Parts},
};

use super::{idempotency::header_name, refusal::Refusal};
use crate::gateway::valid;

/// Where a request says what it belongs to; for [`Route::sharded`](crate::Route::sharded).
///
/// As a text it is a parameter of the path in braces, `{customer}`, or the name of a header, `x-customer`.
#[derive(Clone, PartialEq, Eq)]
pub struct ShardKey(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Param(Box<str>),
    Header(HeaderName),
}

/// Why a text is no [`ShardKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidShardKey(String);

impl fmt::Display for InvalidShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidShardKey {}

impl ShardKey {
    /// A parameter of the route's path, as it is decoded.
    #[must_use]
    pub fn param(name: &str) -> Self {
        Self(Place::Param(name.into()))
    }

    /// A header, its first value.
    ///
    /// # Panics
    ///
    /// When it is no header name.
    #[must_use]
    #[track_caller]
    pub fn header(name: &str) -> Self {
        Self(Place::Header(valid(header_name(name))))
    }

    /// The name of the parameter, if it is one.
    #[cfg(feature = "server")]
    pub(crate) fn as_param(&self) -> Option<&str> {
        match &self.0 {
            Place::Param(name) => Some(name),
            Place::Header(_) => None,
        }
    }

    /// Whether it is this header.
    pub(super) fn is_header(&self, header: &HeaderName) -> bool {
        matches!(&self.0, Place::Header(name) if name == header)
    }

    /// What the request says.
    pub(super) async fn of(&self, parts: &mut Parts) -> Result<Vec<u8>, Refusal> {
        let said = match &self.0 {
            Place::Header(name) => parts.headers.get(name).map(|value| value.as_bytes().to_vec()),
            Place::Param(name) => {
                let params = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| Refusal::PathNotText)?;
                params.iter().find(|(param, _)| *param == &**name).map(|(_, value)| value.as_bytes().to_vec())
            }
        };
        said.filter(|said| !said.is_empty()).ok_or_else(|| Refusal::NoShardKey(self.clone()))
    }
}

impl FromStr for ShardKey {
    type Err = InvalidShardKey;

    fn from_str(text: &str) -> Result<Self, InvalidShardKey> {
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return Ok(Self::param(name.trim_start_matches('*')));
        }
        match header_name(text) {
            Ok(name) => Ok(Self(Place::Header(name))),
            Err(_) => Err(InvalidShardKey(format!(
                "{text:?} names neither a parameter of the path, as in \"{{customer}}\", nor a header, as in \"x-customer\""
            ))),
        }
    }
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Param(name) => write!(f, "the path's {{{name}}}"),
            Place::Header(name) => write!(f, "the header {name}"),
        }
    }
}

impl fmt::Debug for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_parameter_or_a_header() {
        assert_eq!("{customer}".parse(), Ok(ShardKey::param("customer")));
        assert_eq!("{*rest}".parse(), Ok(ShardKey::param("rest")));
        assert_eq!("X-Customer".parse(), Ok(ShardKey::header("x-customer")));
        for bad in ["", "a b", "{open", "{a}/{b"] {
            assert!(bad.parse::<ShardKey>().is_err(), "{bad}");
        }
    }
}
