//! Untrusted text made fit to be shown: without characters that steer a terminal or hide other text, and without
//! credentials.

mod credentials;

use std::{borrow::Cow, fmt::Write};

pub use credentials::{redacted, redacted_in, redacted_words};

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
    }
}
