//! A URL taken apart, and what of a mistaken one can be shown.

use std::{borrow::Cow, path::PathBuf};

use percent_encoding::percent_decode_str;
use streamerson_core::text::redacted;

use super::{Endpoint, PORT_DEFAULT, RedisUrl, TlsSettings, UrlErrorKind};

pub(super) fn parse(text: &str) -> Result<RedisUrl, UrlErrorKind> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlErrorKind::NoScheme)?;
    match scheme {
        "redis" => parse_tcp(rest, false),
        "rediss" if cfg!(feature = "tls") => parse_tcp(rest, true),
        "rediss" => Err(UrlErrorKind::NoTls),
        "redis+unix" if cfg!(unix) => parse_unix(rest),
        "redis+unix" | "redis-sentinel" | "redis-cluster" => Err(UrlErrorKind::UnsupportedScheme(scheme.to_owned())),
        // A login before the scheme is not quoted as one.
        _ if !is_scheme(scheme) => Err(UrlErrorKind::NoScheme),
        _ => Err(UrlErrorKind::UnknownScheme(scheme.to_owned())),
    }
}

/// Returns whether a text has the characters of a scheme (RFC 3986, section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn parse_tcp(rest: &str, tls: bool) -> Result<RedisUrl, UrlErrorKind> {
    if tls && rest.ends_with("#insecure") {
        return Err(UrlErrorKind::Insecure);
    }
    // The last `@` ends the credentials, and only then is `/` looked for: people do leave both unescaped in passwords.
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    if place.contains('#') || credentials.is_some_and(|credentials| credentials.contains(['?', '#'])) {
        return Err(UrlErrorKind::Fragment);
    }
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = host_and_port(authority)?;
    let (user, password) = match credentials {
        None => (None, None),
        Some(credentials) => match credentials.split_once(':') {
            None => (non_empty(decode(credentials)?), None),
            // An empty password after the colon is a password, so that `user:@host` sends what it says.
            Some((user, password)) => (non_empty(decode(user)?), Some(decode(password)?)),
        },
    };
    let mut url = RedisUrl {
        endpoint: Endpoint::Tcp { host, port, tls },
        database: database(path)?,
        user,
        password,
        role: None,
        tls: TlsSettings::default(),
    };
    let known = if tls { &["ca", "cert", "key", "server_name", "role"][..] } else { &["role"] };
    for (name, value) in parameters(query, known)? {
        match name {
            "ca" => url.tls.ca = non_empty(value).map(PathBuf::from),
            "cert" => url.tls.certificate = non_empty(value).map(PathBuf::from),
            "key" => url.tls.key = non_empty(value).map(PathBuf::from),
            "server_name" => url.tls.server_name = non_empty(value),
            _ => url.role = non_empty(value),
        }
    }
    if url.tls.key.is_some() && url.tls.certificate.is_none() {
        return Err(UrlErrorKind::KeyWithoutCertificate);
    }
    Ok(url)
}

fn parse_unix(rest: &str) -> Result<RedisUrl, UrlErrorKind> {
    if rest.contains('#') {
        return Err(UrlErrorKind::Fragment);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(UrlErrorKind::NoPath);
    }
    let mut url = RedisUrl {
        endpoint: Endpoint::Unix { path: decode(path)?.into() },
        database: 0,
        user: None,
        password: None,
        role: None,
        tls: TlsSettings::default(),
    };
    for (name, value) in parameters(query, &["db", "user", "pass", "role"])? {
        match name {
            "db" => url.database = database(&value)?,
            "user" => url.user = non_empty(value),
            "pass" => url.password = Some(value),
            _ => url.role = non_empty(value),
        }
    }
    Ok(url)
}

fn host_and_port(authority: &str) -> Result<(String, u16), UrlErrorKind> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or(UrlErrorKind::BadHost)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(UrlErrorKind::BadHost),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(UrlErrorKind::NoHost);
    }
    let port = match port {
        None => PORT_DEFAULT,
        Some(port) => match port.parse() {
            Ok(number) if number > 0 => number,
            _ => return Err(UrlErrorKind::BadPort),
        },
    };
    Ok((host.to_owned(), port))
}

fn database(text: &str) -> Result<u32, UrlErrorKind> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| UrlErrorKind::BadDatabase),
    }
}

/// The parameters of a query, each one of the known and there once.
fn parameters<'a>(query: &'a str, known: &[&str]) -> Result<Vec<(&'a str, String)>, UrlErrorKind> {
    let mut parameters: Vec<(&str, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&name) {
            return Err(UrlErrorKind::UnknownParameter { known: known.join(", ") });
        }
        if parameters.iter().any(|(other, _)| *other == name) {
            return Err(UrlErrorKind::RepeatedParameter(name.to_owned()));
        }
        parameters.push((name, decode(value)?));
    }
    Ok(parameters)
}

fn decode(text: &str) -> Result<String, UrlErrorKind> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UrlErrorKind::BadEncoding)?;
    Ok(decoded.into_owned())
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The text of a URL that may be malformed, [redacted]. Of a text without a scheme, each part may be the password.
pub(super) fn redact(text: &str) -> Cow<'_, str> {
    match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => redacted(text),
        _ => "***".into(),
    }
}
