//! Entries as they lie in a stream: an id and named fields, before anything is known of their meaning.

use std::{fmt, str::FromStr};

use bytes::Bytes;

/// The id of an entry: milliseconds and a sequence number, `ms-seq`. Ids of one stream only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EntryId {
    /// Unix milliseconds in the broker's clock, when the broker made the id.
    pub ms: u64,
    /// Tells apart the entries of one millisecond.
    pub seq: u64,
}

impl EntryId {
    /// `0-0`, before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// After every entry.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id `ms-seq`.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The largest id below this one; [`EntryId::ZERO`] stays.
    #[must_use]
    pub const fn previous(self) -> Self {
        match self.seq.checked_sub(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None if self.ms > 0 => Self { ms: self.ms - 1, seq: u64::MAX },
            None => Self::ZERO,
        }
    }

    /// The smallest id above this one; [`EntryId::MAX`] stays.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None if self.ms < u64::MAX => Self { ms: self.ms + 1, seq: 0 },
            None => Self::MAX,
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// A text that is not an entry id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry id is two numbers, milliseconds-sequence, as in 1700000000000-0")]
pub struct InvalidEntryId;

impl FromStr for EntryId {
    type Err = InvalidEntryId;

    /// Parses `ms-seq`, or `ms` alone for `ms-0`.
    fn from_str(text: &str) -> Result<Self, InvalidEntryId> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        let number = |text: &str| match text.as_bytes() {
            [b'0'..=b'9', ..] => text.parse().map_err(|_| InvalidEntryId),
            _ => Err(InvalidEntryId),
        };
        Ok(Self { ms: number(ms)?, seq: number(seq)? })
    }
}

impl serde::Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for EntryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The fields of an entry, in order: names and values, both any bytes. Names may repeat.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<(Bytes, Bytes)>);

impl Fields {
    /// The value of the first field with this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Bytes> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// Names and values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Bytes, Bytes)> {
        self.0.iter()
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The size of all names and values, in bytes.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl From<Vec<(Bytes, Bytes)>> for Fields {
    fn from(fields: Vec<(Bytes, Bytes)>) -> Self {
        Self(fields)
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a (Bytes, Bytes);
    type IntoIter = std::slice::Iter<'a, (Bytes, Bytes)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, value))).finish()
    }
}

/// One record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies in its stream.
    pub id: EntryId,
    /// What it holds.
    pub fields: Fields,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_order_parse_and_print() {
        let id: EntryId = "1700000000000-7".parse().unwrap();
        assert_eq!(id, EntryId::new(1_700_000_000_000, 7));
        assert_eq!(id.to_string(), "1700000000000-7");
        assert!(id < id.next() && id.next() < EntryId::new(1_700_000_000_001, 0));
        assert_eq!(EntryId::new(1, u64::MAX).next(), EntryId::new(2, 0));
        assert_eq!(EntryId::MAX.next(), EntryId::MAX);
        assert_eq!("5".parse(), Ok(EntryId::new(5, 0)));
        for bad in ["", "-", "1-", "-1", "a-b", "1-2-3", "+1-0", "1-+2", "18446744073709551616-0"] {
            assert!(bad.parse::<EntryId>().is_err(), "{bad}");
        }
    }
}
