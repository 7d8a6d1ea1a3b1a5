//! Untrusted text made fit to be shown: without characters that steer a terminal or hide other text, and without
//! credentials.

use std::{borrow::Cow, fmt::Write};

/// The characters of the Unicode categories Cf (format), Zl and Zp (separators of lines and paragraphs), as first and last
/// of each run (Unicode 16.0). Those of Cc (control) are known to the standard library.
const INVISIBLE: [(char, char); 23] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
    // Never assigned, and not shown by anything.
    ('\u{fff0}', '\u{fff8}'),
];

/// Returns whether a character steers a terminal, changes the direction of text or is not seen at all.
#[must_use]
pub fn is_unprintable(char: char) -> bool {
    if char.is_ascii() {
        return char.is_ascii_control();
    }
    char.is_control() || INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&char))
}

/// A text with each [unprintable](is_unprintable) character escaped as Rust writes it: `\n`, `\u{1b}`, `\u{202e}`.
///
/// ```
/// use streamerson_core::text::printable;
///
/// assert_eq!(printable("a\u{1b}[2J\u{202e}b"), r"a\u{1b}[2J\u{202e}b");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, is_unprintable, |escaped, char| escaped.extend(char.escape_default()))
}

/// As [`printable`], with line feeds left as they are.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let is_escaped = |char| char != '\n' && is_unprintable(char);
    escape(text, is_escaped, |escaped, char| escaped.extend(char.escape_default()))
}

/// A JSON document with each [unprintable](is_unprintable) character of its strings escaped as JSON has it, `\u202e`; it
/// stands for the same value. The document must be on one line.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    escape(json, is_unprintable, |escaped, char| {
        for unit in char.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool, write: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_escaped(char) { write(&mut escaped, char) } else { escaped.push(char) }
    }
    escaped.into()
}

/// A value without its credentials, if it looks like an address: `redis://***@host`. People put addresses where names
/// belong, and an error that quotes the value would show the password.
///
/// ```
/// use streamerson_core::text::redacted;
///
/// assert_eq!(redacted("redis://ann:secret@host:6379/0"), "redis://***@host:6379/0");
/// assert_eq!(redacted("orders"), "orders");
/// ```
#[must_use]
pub fn redacted(value: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = value.split_once("://") else {
        // Without a scheme, the text before the @ of a host is a login.
        return match value.rsplit_once('@') {
            Some((login, host)) if login.contains(':') || login.starts_with("//") => {
                format!("***@{}", without_query(host)).into()
            }
            // The rest of an address that was split at its first colon.
            None if value.starts_with("//") => format!("//{}", without_query(&without_login(&value[2..]))).into(),
            _ => value.into(),
        };
    };
    // A login may stand before the scheme as well.
    let scheme = match scheme.rsplit_once('@') {
        Some((_, scheme)) => Cow::from(format!("***@{scheme}")),
        None => scheme.into(),
    };
    let shown = match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://***@{}", without_query(place)),
        None => format!("{scheme}://{}", without_query(&without_login(rest))),
    };
    if shown == value { value.into() } else { shown.into() }
}

/// A place whose port is a number. Of a login without a host, the password stands in the place of the port, and all from it
/// on is left out.
fn without_login(place: &str) -> Cow<'_, str> {
    let authority = &place[..place.find(['/', '?', '#']).unwrap_or(place.len())];
    // The colons of an IPv6 address stand in brackets.
    let host = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[host..].find(':').map(|colon| host + colon + 1) {
        Some(port) if !authority[port..].bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{}***", &place[..port]).into()
        }
        _ => place.into(),
    }
}

/// A text in which each word that is an address with a login or with parameters `user` and `pass` is [redacted]: for a text
/// that quotes values which are not known.
///
/// ```
/// use streamerson_core::text::redacted_words;
///
/// assert_eq!(redacted_words("no such file: 'redis://ann:secret@host'"), "no such file: 'redis://***@host'");
/// ```
#[must_use]
pub fn redacted_words(text: &str) -> Cow<'_, str> {
    let is_login = |word: &str| {
        let rest = word.split_once("://").map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.contains('@') || rest.contains("pass=") || rest.contains("user="))
    };
    if !text.split(char::is_whitespace).any(is_login) {
        return text.into();
    }
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let end = word.trim_end().len();
        if is_login(word) { format!("{}{}", redacted(&word[..end]), &word[end..]).into() } else { Cow::from(word) }
    });
    words.collect::<String>().into()
}

/// The part before a query or a fragment, which may hold a password, with `?***` in their place.
fn without_query(place: &str) -> Cow<'_, str> {
    match place.find(['?', '#']) {
        Some(at) => format!("{}***", &place[..=at]).into(),
        None => place.into(),
    }
}

/// A text that quotes a value, with the value [redacted]: as it is, and as `Debug` writes it.
#[must_use]
pub fn redacted_in<'a>(text: &'a str, value: &str) -> Cow<'a, str> {
    let safe = redacted(value);
    if safe == value || value.is_empty() {
        return text.into();
    }
    let debug = |value: &str| value.escape_debug().to_string();
    text.replace(value, &safe).replace(&debug(value), &debug(&safe)).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_steers_a_terminal_or_hides() {
        for (text, shown) in [
            ("plain \u{e9} 漢", "plain \u{e9} 漢"),
            ("a\u{1b}[2Jb\u{9b}c\n", r"a\u{1b}[2Jb\u{9b}c\n"),
            ("\u{7f}\u{202e}\u{2066}\u{200b}\u{feff}\u{ad}", r"\u{7f}\u{202e}\u{2066}\u{200b}\u{feff}\u{ad}"),
            ("\u{2028}\u{e0041}", r"\u{2028}\u{e0041}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_lines("a\r\nb\u{1b}"), "a\\r\nb\\u{1b}");
        assert_eq!(printable_json("\"\u{7f}\u{9b}\u{e0041}\""), r#""\u007f\u009b\udb40\udc41""#);
    }

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
            ("redis://ann:sec#ret@host", "redis://***@host"),
            ("ann:secret@redis://host", "***@redis://host"),
            ("ann:secret@redis://ann:secret@host", "***@redis://***@host"),
            ("redis://ann:secret", "redis://ann:***"),
            ("redis://ann:secret/0", "redis://ann:***"),
            ("redis://:secret", "redis://:***"),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("http://[::1]:8080/x:y", "http://[::1]:8080/x:y"),
            ("http://[::1]:secret", "http://[::1]:***"),
            ("ann:secret@host:6379", "***@host:6379"),
            ("//secret@host", "***@host"),
            ("//ann:secret", "//ann:***"),
            ("someone@example", "someone@example"),
            ("/orders/{id}", "/orders/{id}"),
            ("https://shop.example", "https://shop.example"),
        ] {
            assert_eq!(redacted(value), shown);
            assert_eq!(
                redacted_in(&format!("{value:?} is no name: {value}"), value),
                format!("{shown:?} is no name: {shown}")
            );
        }
    }

    #[test]
    fn words_lose_their_credentials_and_nothing_else() {
        for (text, shown) in [
            (
                "bad 'redis://ann:secret@host'\n  in  a=redis://secret@host,",
                "bad 'redis://***@host'\n  in  a=redis://***@host,",
            ),
            ("redis+unix:///s?user=a&pass=secret or", "redis+unix:///s?*** or"),
            ("see https://docs.example/page#head: it is ok", "see https://docs.example/page#head: it is ok"),
        ] {
            assert_eq!(redacted_words(text), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_printable_and_json_keeps_its_value(text in any::<String>()) {
            prop_assert!(!printable(&text).contains(is_unprintable));
            prop_assert!(printable_lines(&text).chars().all(|char| char == '\n' || !is_unprintable(char)));
            let json = serde_json::to_string(&text).unwrap();
            let shown = printable_json(&json);
            prop_assert!(!shown.contains(is_unprintable));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn no_password_survives(password in "[a-z0-9:/@ ]{0,8}5ecret[a-z0-9:/@# ?]{0,8}", user in "[a-z]{0,4}") {
            for url in [format!("redis://{user}:{password}@host"), format!("redis://{password}@host")] {
                prop_assert!(!redacted(&url).contains("5ecret"), "{url}");
            }
        }
    }
}
