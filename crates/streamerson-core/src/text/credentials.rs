//! Values and texts without their credentials.
//!
//! People put addresses where names belong, and an error that quotes the value would show the password. The values are
//! mistaken ones, so no grammar tells what a part of them is: all is left out that could be a secret.

use std::{borrow::Cow, net::Ipv6Addr};

/// The ends of the names of parameters whose values are secrets, in lower case. A user alone may be a password in the
/// wrong place.
const SECRET_PARAMETERS: [&str; 11] =
    ["user", "username", "login", "pass", "password", "passphrase", "passwd", "pwd", "auth", "token", "secret"];

/// A value without its credentials, if it may be an address: `redis://***@host`.
///
/// An address may have a scheme (`:/`, or `//` at the start), a login (`@`) or parameters (`?name=value`, or a `=` behind
/// a name such as `pass`). What is shown of it is the scheme, and behind the last `@` the host, a port number and a
/// database number, or the absolute path of a socket. `***` stands in the place of all else.
///
/// ```
/// use streamerson_core::text::redacted;
///
/// assert_eq!(redacted("redis://ann:secret@host:6379/0"), "redis://***@host:6379/0");
/// assert_eq!(redacted("ann@host:secret"), "***@host:***");
/// assert_eq!(redacted("/run/redis.sock?pass=secret"), "/run/redis.sock?***");
/// assert_eq!(redacted("orders"), "orders");
/// ```
#[must_use]
pub fn redacted(value: &str) -> Cow<'_, str> {
    if !may_be_address(value) {
        return value.into();
    }
    let (scheme, rest) = value.split_at(scheme_len(value));
    let shown = match rest.rsplit_once('@') {
        // A directory may hold an `@`, as those of systemd's credentials do; of an address, only a database follows a host.
        Some((_, place)) if is_path(value) && is_directory(place) => {
            redacted_place(value, path_len(value)).into_owned()
        }
        // A password that holds a `?` and a parameter that holds an `@` look the same.
        Some((login, _)) if has_parameters(login) => format!("{scheme}***"),
        Some((_, place)) => format!("{scheme}***@{}", redacted_place(place, host_len(place))),
        None if rest.starts_with('/') => format!("{scheme}{}", redacted_place(rest, path_len(rest))),
        None => format!("{scheme}{}", redacted_place(rest, host_len(rest))),
    };
    if shown == value { value.into() } else { shown.into() }
}

/// A text in which each word that may be an address with a login or with parameters is [redacted]: for a text that quotes
/// values which are not known.
///
/// ```
/// use streamerson_core::text::redacted_words;
///
/// assert_eq!(redacted_words("no such file: 'redis://ann:secret@host'"), "no such file: 'redis://***@host'");
/// ```
#[must_use]
pub fn redacted_words(text: &str) -> Cow<'_, str> {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(rest.find(is_gap).unwrap_or(rest.len()));
        shown.push_str(&redacted_word(word));
        let gap = gap_len(behind);
        shown.push_str(&behind[..gap]);
        rest = &behind[gap..];
    }
    if shown == text { text.into() } else { shown.into() }
}

/// A text that quotes a value, with the value [redacted]: as it is, and as `Debug` writes it.
#[must_use]
pub fn redacted_in<'a>(text: &'a str, value: &str) -> Cow<'a, str> {
    let safe = redacted(value);
    if safe == value {
        return text.into();
    }
    text.replace(value, &safe).replace(&debug(value), &debug(&safe)).into()
}

/// A value as `{:?}` writes it, without the quotes around it. `str::escape_debug` escapes other characters: `'`, too.
fn debug(value: &str) -> String {
    let quoted = format!("{value:?}");
    quoted[1..quoted.len() - 1].to_owned()
}

fn may_be_address(value: &str) -> bool {
    let has_scheme = match value.find(":/") {
        // One letter before the colon is a drive of Windows.
        Some(at) => at != 1,
        None => false,
    };
    let has_login = value.rfind('@').is_some_and(|at| at > 0);
    let has_query = value.split_once(['?', '#']).is_some_and(|(_, query)| query.contains('='));
    has_scheme || has_login || has_query || value.starts_with("//") || secret_parameter(value).is_some()
}

fn is_path(value: &str) -> bool {
    value.starts_with('/') && !value.starts_with("//") && !value.contains(":/")
}

fn is_directory(place: &str) -> bool {
    place.split_once('/').is_some_and(|(_, behind)| !behind.is_empty() && !is_number(behind))
}

/// The length of the scheme of an address and the two slashes behind it; a third slash begins a path.
fn scheme_len(value: &str) -> usize {
    // `:/` with one slash may also be the end of a login.
    let colon = value.find(if value.contains('@') { "://" } else { ":/" });
    let scheme = match colon {
        _ if value.starts_with("//") => 0,
        // A login or an address may stand before a scheme as well.
        Some(at) if !value[..at].contains([':', '/', '@']) && !has_parameters(&value[..at]) => at + 1,
        _ => return 0,
    };
    scheme + if value[scheme..].starts_with("//") { 2 } else { 0 }
}

fn has_parameters(text: &str) -> bool {
    text.contains(['?', '#']) || secret_parameter(text).is_some()
}

/// Where the value of the first parameter that holds a secret begins.
fn secret_parameter(text: &str) -> Option<usize> {
    text.match_indices('=').map(|(at, _)| at).find_map(|at| {
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let name_len = text[..at].bytes().rev().take_while(is_of_name).count();
        let name = text[at - name_len..at].to_ascii_lowercase();
        SECRET_PARAMETERS.iter().any(|secret| name.ends_with(secret)).then_some(at + 1)
    })
}

/// The first bytes of a place, and `***` instead of the others. The mark of a query or a fragment stays.
fn redacted_place(place: &str, shown: usize) -> Cow<'_, str> {
    match place[shown..].chars().next() {
        None => place.into(),
        Some(mark @ ('?' | '#')) => format!("{}{mark}***", &place[..shown]).into(),
        Some(_) => format!("{}***", &place[..shown]).into(),
    }
}

/// The length of the part of a place before its query, its fragment and the value of a parameter that holds a secret.
fn before_parameters(place: &str) -> usize {
    let query = place.find(['?', '#']).unwrap_or(place.len());
    secret_parameter(place).map_or(query, |value| value.min(query))
}

/// The length of an absolute path, up to a colon: a password may follow it.
fn path_len(place: &str) -> usize {
    let path = &place[..before_parameters(place)];
    path.find(':').map_or(path.len(), |colon| colon + 1)
}

/// The length of a host with a port number and a database number. Of a login whose host is missing, a password stands in
/// their place.
fn host_len(place: &str) -> usize {
    let place = &place[..before_parameters(place)];
    let host = ipv6_len(place).unwrap_or_else(|| place.find([':', '/']).unwrap_or(place.len()));
    let port = match place[host..].strip_prefix(':') {
        None => host,
        Some(behind) => {
            let port = behind.find('/').unwrap_or(behind.len());
            if !is_number(&behind[..port]) {
                return host + 1;
            }
            host + 1 + port
        }
    };
    match place[port..].strip_prefix('/') {
        Some("") => place.len(),
        Some(database) if is_number(database) => place.len(),
        Some(_) => port + 1,
        None => port,
    }
}

/// The length of an IPv6 address in brackets at the start of a text: its colons are followed by no secret.
fn ipv6_len(text: &str) -> Option<usize> {
    let (address, _) = text.strip_prefix('[')?.split_once(']')?;
    address.parse::<Ipv6Addr>().ok().map(|_| address.len() + 2)
}

/// Returns whether a text is the number of a port or a database; a password of digits is longer, as a rule.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn redacted_word(word: &str) -> Cow<'_, str> {
    let quoted = word.trim_start_matches(['\'', '"', '`', '(', '<']);
    let bare = quoted.trim_end_matches(['\'', '"', '`', ')', '>', ',', ';', '.', ':']);
    // A link to a page, which may have a path and a fragment.
    let is_link = bare.split_once("://").is_some_and(|(scheme, page)| {
        scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) && !page.contains(['@', '=', ':'])
    });
    if is_link {
        return word.into();
    }
    let (before, behind) = (word.len() - quoted.len(), quoted.len() - bare.len());
    match redacted(bare) {
        Cow::Borrowed(_) => word.into(),
        Cow::Owned(shown) => format!("{}{shown}{}", &word[..before], &word[word.len() - behind..]).into(),
    }
}

/// Returns whether a character ends a word: white space, or the start of a colour.
fn is_gap(char: char) -> bool {
    char.is_whitespace() || char == '\u{1b}'
}

/// The length of what parts two words: one character, or a whole colour of a terminal, as in `ESC [1;33m`.
fn gap_len(text: &str) -> usize {
    let Some(first) = text.chars().next() else { return 0 };
    let parameters =
        text[first.len_utf8()..].bytes().take_while(|byte| matches!(byte, b'[' | b';' | b'0'..=b'9')).count();
    let end = first.len_utf8() + parameters;
    if first == '\u{1b}' && text[end..].starts_with('m') { end + 1 } else { first.len_utf8() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_do_not_show() {
        for (value, shown) in [
            ("redis://secret@host", "redis://***@host"),
            ("redis://ann:secret@host:6379/0", "redis://***@host:6379/0"),
            ("redis://:se cret@host", "redis://***@host"),
            ("redis://ann:se@cret/x@host", "redis://***@host"),
            ("redis+unix:///s?user=ann&pass=secret", "redis+unix:///s?***"),
            ("rediss://host/?pass=secret", "rediss://host/?***"),
            ("redis://ann:secret@host?x=secret", "redis://***@host?***"),
            ("redis://ann:sec#ret@host", "redis://***"),
            ("redis://host?pass=x@secret", "redis://***"),
            ("ann:secret@redis://host", "***@redis:***"),
            ("ann:secret@redis://ann:secret@host", "***@host"),
            ("redis://ann:secret", "redis://ann:***"),
            ("redis://ann:secret/0", "redis://ann:***"),
            ("redis://ann:12/secret", "redis://ann:12/***"),
            ("redis://ann:123456", "redis://ann:***"),
            ("redis://:secret", "redis://:***"),
            ("http://[::1]:secret", "http://[::1]:***"),
            ("http://[::1]secret", "http://[::1]***"),
            ("http://[ann:secret]", "http://[ann:***"),
            ("ann:secret@host:6379", "***@host:6379"),
            ("//secret@host", "//***@host"),
            ("//ann:secret", "//ann:***"),
            // One slash behind the scheme.
            ("redis+unix:/x?pass=secret", "redis+unix:/x?***"),
            ("redis:/ann:secret", "redis:/ann:***"),
            // No scheme, and no colon in the login.
            ("secret@host", "***@host"),
            ("ann@host:secret", "***@host:***"),
            ("/run/r.sock?user=a&pass=secret", "/run/r.sock?***"),
            // The second of two addresses, also cut off.
            ("redis://a:secret@h1,redis://b:secret@h2", "redis://***@h2"),
            ("redis://a:secret@h1,redis://b:secret", "redis://***@h1,redis:***"),
            ("redis://h1:6379/0,redis://b:secret", "redis://h1:6379/***"),
            ("/run/r.sock,redis://b:secret", "/run/r.sock,redis:***"),
            // A parameter, wherever it stands.
            ("/run/r.sock&pass=secret", "/run/r.sock&pass=***"),
            ("host:6379/0;Access_Token=secret&x", "host:6379/***"),
            ("redis://host;db_password=secret", "redis://host;db_password=***"),
            ("password=secret", "password=***"),
        ] {
            assert_eq!(redacted(value), shown);
            assert_eq!(
                redacted_in(&format!("{value:?} is no name: {value}"), value),
                format!("{shown:?} is no name: {shown}")
            );
        }
    }

    #[test]
    fn values_without_credentials_stay_as_they_are() {
        for value in [
            "",
            "@",
            "orders",
            "orders.eu",
            "shop:orders#3",
            "order:created.v1",
            "127.0.0.1:6379",
            "localhost:x",
            "[::1]:8080",
            "redis://host:6379/2",
            "redis://127.0.0.1",
            "rediss://[::1]:6380/",
            "redis+unix:///run/redis.sock",
            "memory://",
            "https://shop.example",
            "/orders/{id}",
            "/etc/tls/ca.pem",
            "/run/credentials/gateway@blue.service/key.pem",
            "C:/tls/ca.pem",
            "a=b",
            "what?",
        ] {
            assert_eq!(redacted(value), value);
            assert_eq!(redacted_words(value), value);
        }
    }

    /// `{:?}` escapes `"` and `\`, and leaves `'` as it is.
    #[test]
    fn a_value_with_quotes_and_backslashes_is_found_as_debug_writes_it() {
        let value = r#"redis://o'neil:"a\secret"@host"#;
        assert_eq!(redacted_in(&format!("{value:?} is no name"), value), r#""redis://***@host" is no name"#);
    }

    #[test]
    fn words_lose_their_credentials_and_nothing_else() {
        for (text, shown) in [
            (
                "bad 'redis://ann:secret@host'\n  in  a=redis://secret@host,",
                "bad 'redis://***@host'\n  in  a=redis://***@host,",
            ),
            ("redis+unix:///s?user=a&pass=secret or", "redis+unix:///s?*** or"),
            ("of 'redis://ann:secret': no", "of 'redis://ann:***': no"),
            ("value '\u{1b}[1;33mann@host:secret\u{1b}[0m' for", "value '\u{1b}[1;33m***@host:***\u{1b}[0m' for"),
            (
                "see https://docs.example/page#head: it is ok, 'a=b' too",
                "see https://docs.example/page#head: it is ok, 'a=b' too",
            ),
        ] {
            assert_eq!(redacted_words(text), shown);
        }
    }

    /// Values in which a secret stands in each place where people put one.
    fn with_secret(secret: &str) -> Vec<String> {
        [
            "redis://ann:SECRET@host",
            "redis://SECRET@host",
            "redis://:SECRET@host:6379/2",
            "redis://SECRET:@host",
            "redis://ann:SECRET",
            "redis:/ann:SECRET",
            "//ann:SECRET",
            "ann:SECRET@host:6379",
            "ann:SECRET@redis://host",
            "SECRET@host",
            "SECRET@host:6379/0",
            "ann@host:SECRET",
            "redis://ann@host:SECRET",
            "redis+unix:/x?pass=SECRET",
            "redis+unix:///x?user=SECRET&pass=",
            "/run/r.sock?user=a&pass=SECRET",
            "redis://a:SECRET@h1,redis://b:SECRET@h2",
            "redis://SECRET@h1,redis://SECRET@h2",
            "redis://a:x@h1,redis://b:SECRET",
            "redis://h1:6379/0,redis://b:SECRET",
            "redis://h1,redis://b:SECRET@h2",
            "host?password=SECRET",
            "host:6379&token=SECRET",
            "redis://host/0?a=b&PASSWORD=SECRET",
            "db_pass=SECRET",
        ]
        .map(|form| form.replace("SECRET", secret))
        .to_vec()
    }

    proptest! {
        /// Behind an `@` of a password a host is looked for, and before `://` a scheme: these passwords hold neither.
        #[test]
        fn no_secret_survives(before in r#"[a-z0-9:/#?&=%'"\\ ]{0,8}"#, behind in r#"[a-z0-9:/#?&=%'"\\ ]{0,8}"#) {
            let secret = format!("{before}5ecret{behind}");
            prop_assume!(!secret.contains("://"));
            for value in with_secret(&secret) {
                let shown = redacted(&value);
                prop_assert!(!shown.contains("5ecret"), "{value}: {shown}");
                let text = redacted_in(&format!("{value:?}: {value}"), &value).into_owned();
                prop_assert!(!text.contains("5ecret"), "{value}: {text}");
            }
        }

        #[test]
        fn no_password_before_a_host_survives(password in "[a-z0-9:/@ ]{0,8}5ecret[a-z0-9:/@# ?]{0,8}") {
            for value in [format!("redis://ann:{password}@host"), format!("redis://{password}@host")] {
                prop_assert!(!redacted(&value).contains("5ecret"), "{value}");
            }
        }

        #[test]
        fn no_secret_of_a_word_survives(secret in r#"[a-zA-Z0-9:/#?&=%\\]{0,8}5ecret[a-zA-Z0-9:/#?&=%\\]{0,8}"#) {
            prop_assume!(!secret.contains("://"));
            for value in with_secret(&secret) {
                let shown = redacted_words(&format!("bad value '{value}' here")).into_owned();
                prop_assert!(!shown.contains("5ecret") && shown.ends_with("' here"), "{value}: {shown}");
            }
        }

        #[test]
        fn names_and_hosts_stay_as_they_are(
            name in "[A-Za-z0-9._-]{1,20}",
            host in "[a-z][a-z0-9.-]{0,12}",
            port in 1_u16..,
            database in 0_u16..16,
        ) {
            for value in [
                name.clone(),
                format!("shop:{name}"),
                format!("{host}:{port}"),
                format!("redis://{host}:{port}/{database}"),
                format!("redis+unix:///run/{name}.sock"),
            ] {
                prop_assert_eq!(redacted(&value), &*value);
                prop_assert_eq!(redacted_words(&value), &*value);
            }
        }
    }
}
