//! Values that are written as texts.

use std::{fmt, str::FromStr, time::Duration};

use axum::{
    http::{HeaderValue, Method, Uri},
    routing::MethodFilter,
};

use streamerson_core::text::redacted;

use super::table::Parsed;

/// Units of durations, in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Longest duration. Nothing here takes so long, and what clocks and brokers can count to is far beyond.
const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A duration, as in `250ms`, `5s`, `15m`, `2h` or `1d`.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    const RULE: &str = "a duration is a whole number and a unit in quotes, as in \"250ms\", \"5s\", \"15m\" or \"2h\"";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(RULE)?;
    let number: u64 = number.parse().map_err(|_| RULE)?;
    let duration = number.checked_mul(unit_ms).map(Duration::from_millis);
    duration.filter(|duration| *duration <= DURATION_MAX).ok_or_else(|| "that is too long; the most is \"30d\"".into())
}

/// As [`duration`], for what cannot be nothing.
pub(super) fn some_duration(text: &str) -> Parsed<Duration> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than nothing".into()),
        duration => Ok(duration),
    }
}

/// Where to listen: `HOST:PORT`, where port 0 picks a free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr(String);

impl ListenAddr {
    /// The text, which names a host and a port.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An address of IPv6 without brackets may end in anything.
        let is_host =
            |host: &str| !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
        match text.rsplit_once(':') {
            Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "{:?} is not an address to listen on; write HOST:PORT, as in \"127.0.0.1:8080\", \"[::1]:8080\" or \
                 \"0.0.0.0:8080\"",
                redacted(text)
            )),
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The methods that a route takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Methods {
    One(Method, MethodFilter),
    Any,
}

impl Methods {
    /// The method, or `*`.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::One(method, _) => method.as_str(),
            Self::Any => "*",
        }
    }
}

/// A method that a route can have, or `*`.
pub(super) fn methods(text: &str) -> Parsed<Methods> {
    if text == "*" {
        return Ok(Methods::Any);
    }
    let method = Method::from_bytes(text.as_bytes()).ok();
    let routed = method.and_then(|method| Some(Methods::One(method.clone(), MethodFilter::try_from(method).ok()?)));
    routed.ok_or_else(|| {
        let hint = "write one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS, TRACE and CONNECT, in capitals";
        format!("{text:?} is not a method that can be routed; {hint}")
    })
}

/// A media type as `type/subtype`.
pub(super) fn media_type(text: &str) -> Parsed<String> {
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    match text.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) && !text.contains(['*', ';', ',']) => {
            Ok(text.to_owned())
        }
        _ => Err(format!("{text:?} is not a media type; write type/subtype, as in \"application/json\"")),
    }
}

/// An origin, exactly as browsers send it.
pub(super) fn origin(text: &str) -> Parsed<HeaderValue> {
    let rule = || {
        format!(
            "{text:?} is not an origin; write scheme://host[:port] in lower case and without a path, as in \
             \"https://shop.example\"; there are no wildcards"
        )
    };
    let uri: Uri = text.parse().map_err(|_| rule())?;
    let (scheme, authority) = (uri.scheme_str().ok_or_else(rule)?, uri.authority().ok_or_else(rule)?);
    // Browsers leave out the default port, and compare letter by letter; what they never send would match nothing.
    let is_canonical = text == format!("{scheme}://{authority}")
        && !text.contains(['*', '@'])
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        && !matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    if !is_canonical {
        return Err(rule());
    }
    HeaderValue::from_str(text).map_err(|_| rule())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("0ms", 0), ("250ms", 250), ("5s", 5000), ("15m", 900_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in
            ["", "5", "s", "-5s", "1.5s", "5 s", "5sec", "99999999999999999999s", "18446744073709551615d", "5µs", "31d"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(some_duration("0s").is_err());
    }

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:0", "[::1]:8080", "localhost:80", "0.0.0.0:8080"] {
            assert_eq!(good.parse::<ListenAddr>().unwrap().as_str(), good);
        }
        for bad in
            ["", "8080", ":8080", "localhost", "localhost:", "localhost:x", "localhost:65536", "::1:80", "[::1:80"]
        {
            assert!(bad.parse::<ListenAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn methods_and_media_types() {
        assert_eq!(methods("PATCH").unwrap(), Methods::One(Method::PATCH, MethodFilter::PATCH));
        assert_eq!(methods("*").unwrap(), Methods::Any);
        for bad in ["", "get", "PURGE", "**", "A B"] {
            assert!(methods(bad).is_err(), "{bad}");
        }
        assert!(media_type("application/vnd.api+json").is_ok());
        for bad in ["", "json", "text/*", "text/plain; charset=utf-8", "a/b/c", "/", "a/"] {
            assert!(media_type(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        for good in ["https://shop.example", "http://localhost:3000", "http://127.0.0.1:8080"] {
            assert_eq!(origin(good).unwrap(), good);
        }
        for bad in [
            "*",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/a",
            "https://*.shop.example",
            "HTTPS://shop.example",
            "https://Shop.example",
            "https://shop.example:443",
            "https://a@shop.example",
            "null",
            "",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
