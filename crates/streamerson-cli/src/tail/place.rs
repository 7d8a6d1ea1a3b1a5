//! `--from`: where to start in a stream.

use std::{fmt, str::FromStr, time::Duration};

use streamerson::core::{BrokerError, Cursor, EntryId, SharedBroker, StreamKey};

use crate::duration;

/// Where to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// With the oldest entry that is left.
    Start,
    /// With the next entry.
    End,
    /// With this entry, or the first after it.
    Entry(EntryId),
    /// With the first entry that is no older.
    Ago(Duration),
}

impl Place {
    /// The place as the broker has it now: entries that come from here on are not missed.
    pub(super) async fn find(self, broker: &SharedBroker, key: &StreamKey) -> Result<Cursor, BrokerError> {
        let from = match self {
            Self::Start => return Ok(Cursor::Start),
            Self::End => {
                let info = broker.stream_info(key).await?;
                return Ok(Cursor::After(info.map_or(EntryId::ZERO, |info| info.last)));
            }
            Self::Entry(id) => id,
            Self::Ago(ago) => {
                let then = broker.now().0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
                EntryId::new(then, 0)
            }
        };
        let first = broker.stream_info(key).await?.and_then(|info| info.first);
        let is_whole = match self {
            // Nobody who says a time claims that there was an entry.
            Self::Ago(_) => first.is_none_or(|first| from <= first),
            _ => first == Some(from),
        };
        Ok(if is_whole { Cursor::Start } else { Cursor::After(from.previous()) })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => {
                let id = || text.parse().map(Self::Entry);
                let ago = || duration::parse(text).map(Self::Ago);
                id().or_else(|_| ago()).map_err(|_| {
                    "it is start, end, the id of an entry as in 1700000000000-0, or how long ago as in 15m".into()
                })
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the start"),
            Self::End => f.write_str("the end"),
            Self::Entry(id) => write!(f, "{id}"),
            Self::Ago(ago) => write!(f, "{} ago", duration::show(*ago)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_an_id_or_a_time() {
        assert_eq!("start".parse(), Ok(Place::Start));
        assert_eq!("end".parse(), Ok(Place::End));
        assert_eq!("5-1".parse(), Ok(Place::Entry(EntryId::new(5, 1))));
        assert_eq!("1700000000000".parse(), Ok(Place::Entry(EntryId::new(1_700_000_000_000, 0))));
        assert_eq!("15m".parse(), Ok(Place::Ago(Duration::from_secs(900))));
        for bad in ["", "begin", "-1", "15x", "1-2-3", "$"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
