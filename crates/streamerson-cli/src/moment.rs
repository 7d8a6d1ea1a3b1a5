//! Points in time as people write them: `2026-12-24T18:00:00Z`, `2026-12-24 18:00`, `18:00`, or Unix milliseconds.

use jiff::{
    Timestamp, Zoned,
    civil::{DateTime, Time},
    tz::TimeZone,
};
use streamerson::core::UnixMillis;

const RULE: &str =
    "a time is 2026-12-24T18:00:00Z, 2026-12-24T18:00 or 18:00 by the clock of this machine, or Unix milliseconds";

/// The point in time that a text stands for; the error is the rule. An hour of the day alone is the next such hour.
pub(crate) fn parse(text: &str) -> Result<UnixMillis, String> {
    parse_at(text, &Zoned::now())
}

fn parse_at(text: &str, now: &Zoned) -> Result<UnixMillis, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let millis = text.parse().ok().map(UnixMillis).filter(|millis| *millis <= UnixMillis::MAX);
        return millis.ok_or_else(|| RULE.into());
    }
    let at = text.parse::<Timestamp>().ok().or_else(|| local(text, now)).ok_or(RULE)?;
    u64::try_from(at.as_millisecond()).map(UnixMillis).map_err(|_| "that is before 1970".into())
}

/// A time without a place is one of this machine's.
fn local(text: &str, now: &Zoned) -> Option<Timestamp> {
    let at = |time: DateTime| Some(time.to_zoned(now.time_zone().clone()).ok()?.timestamp());
    // A date alone would be midnight, which hardly anybody means.
    if text.contains('-') {
        return text.contains(':').then(|| text.parse().ok()).flatten().and_then(at);
    }
    let time: Time = text.parse().ok()?;
    let today = now.date();
    match at(today.to_datetime(time))? {
        passed if passed <= now.timestamp() => at(today.tomorrow().ok()?.to_datetime(time)),
        ahead => Some(ahead),
    }
}

/// A point in time by the clock of this machine: `2026-12-24 18:00:00`.
pub(crate) fn show(at: UnixMillis) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    match moment {
        Some(moment) => moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        // Later than calendars go.
        None => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_an_hour_of_the_day() {
        let now: Zoned = "2026-12-24T12:00:00+01:00[+01:00]".parse().unwrap();
        let noon = 1_798_110_000_000;
        for (text, millis) in [
            ("2026-12-24T11:00:00Z", noon),
            ("2026-12-24T12:00:00+01:00", noon),
            ("2026-12-24T12:00:00.250+01:00", noon + 250),
            ("2026-12-24T12:00", noon),
            ("2026-12-24 12:00:30", noon + 30_000),
            ("12:01", noon + 60_000),
            ("11:59", noon + 86_400_000 - 60_000),
            ("1798110000000", noon),
            ("0", 0),
        ] {
            assert_eq!(parse_at(text, &now), Ok(UnixMillis(millis)), "{text}");
        }
        for bad in ["", "tomorrow", "2026-12-24", "25:00", "2026-13-01T00:00Z", "-5", "99999999999999999", "10m"] {
            assert!(parse_at(bad, &now).is_err(), "{bad}");
        }
        assert!(parse_at("1960-01-01T00:00:00Z", &now).is_err());
    }
}
