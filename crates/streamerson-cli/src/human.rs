//! Numbers and ages as people read them.

use std::time::Duration;

use streamerson::core::{EntryId, UnixMillis};

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 entry`, `1,000 entries`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// How much of something in each second: `0`, `0.4`, `9.9`, `1,200`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 0.05 => "0".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        // Below the largest number by far.
        rate => count(rate.round() as u64),
    }
}

/// An amount of memory in the unit that fits: `850 B`, `1.2 KiB`, `64 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut number = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if number < 1023.5 {
            break;
        }
        (number, unit) = (number / 1024.0, next);
    }
    if unit == "B" || number >= 9.95 { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

/// A duration in its two largest units: `850ms`, `12s`, `3m 12s`, `2h 5m`, `12d`. What is cut off is cut off, not rounded.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (large, small) = match seconds {
        0 => return format!("{}ms", age.as_millis()),
        1..60 => return format!("{seconds}s"),
        60..3600 => ((seconds / 60, "m"), (seconds % 60, "s")),
        3600..86_400 => ((seconds / 3600, "h"), (seconds / 60 % 60, "m")),
        _ => ((seconds / 86_400, "d"), (seconds / 3600 % 24, "h")),
    };
    match (large, small) {
        // Of what is long ago nobody wants the hours.
        ((number, unit), (rest, _)) if rest == 0 || (unit == "d" && number >= 10) => format!("{number}{unit}"),
        ((number, unit), (rest, small)) => format!("{number}{unit} {rest}{small}"),
    }
}

/// At most so many characters of a text, and `…` where there are more.
pub(crate) fn beginning(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// How long ago an entry was appended; nothing if its clock is ahead of ours.
pub(crate) fn since(entry: EntryId, now: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(entry.ms))
}

/// A duration for programs, in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn small_rates_have_a_fraction() {
        for (number, text) in [(0.0, "0"), (0.36, "0.4"), (9.96, "10"), (1234.5, "1,235")] {
            assert_eq!(rate(number), text);
        }
    }

    #[test]
    fn memory_has_the_unit_that_fits() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (64 << 20, "64 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(beginning("no luck", 7), "no luck");
        assert_eq!(beginning("äöü", 3), "äöü");
        assert_eq!(beginning("äöüß", 3), "äöü…");
    }

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, text) in [
            (0.85, "850ms"),
            (0.0, "0ms"),
            (12.9, "12s"),
            (60.0, "1m"),
            (192.0, "3m 12s"),
            (7500.0, "2h 5m"),
            (100_800.0, "1d 4h"),
            (1_040_400.0, "12d"),
        ] {
            assert_eq!(age(Duration::from_secs_f64(seconds)), text);
        }
    }
}
