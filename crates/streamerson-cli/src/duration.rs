//! Durations as people write them: `250ms`, `5s`, `15m`, `2h`, `1d`.

use std::time::Duration;

const RULE: &str = "a duration is a whole number and a unit, as in 250ms, 5s, 15m, 2h or 1d";

/// Units in milliseconds, the largest first.
const UNITS: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

/// The duration that a text stands for; the error is the rule.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(RULE)?;
    let number: u64 = number.parse().map_err(|_| RULE)?;
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| "that is too long".into())
}

/// As [`parse`], for what cannot be nothing.
pub(crate) fn parse_some(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("it must be more than nothing".into()),
        duration => Ok(duration),
    }
}

/// A duration of whole milliseconds as [`parse`] reads it.
pub(crate) fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    let whole = UNITS.into_iter().find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(u128::from(*unit_ms)));
    let (unit, unit_ms) = whole.unwrap_or(("ms", 1));
    format!("{}{unit}", ms / u128::from(unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [("0ms", 0.0), ("250ms", 0.25), ("5s", 5.0), ("15m", 900.0), ("2h", 7200.0)] {
            assert_eq!(parse(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert_eq!(parse("1d"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "5", "s", "-5s", "+5s", "1.5s", "5 s", "5sec", "1m30s", "99999999999999999999s", "5µs"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("18446744073709551615d").is_err());
        assert!(parse_some("0s").is_err());
    }

    #[test]
    fn durations_print_as_they_are_written() {
        for text in ["0ms", "250ms", "1500ms", "90s", "15m", "36h", "1d"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(show(Duration::from_secs(900)), "15m");
    }
}
