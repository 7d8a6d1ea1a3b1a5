//! Names: short validated texts that are parsed once and then only cloned.
//!
//! Each is a [`ByteString`] inside, so a name that was read from a stream is a slice of the read buffer, not a copy.

use std::{fmt, ops::Deref, str::FromStr};

use bytestring::ByteString;

use crate::text;

/// Why a text is not the name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
    value: String,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, rule: &'static str, value: &str) -> Self {
        // The value may be a part of an address, and a text from the network may be long: what is shown of it is bounded.
        let shown = text::redacted(value).chars().take(80).collect();
        Self { what, rule, value: shown }
    }
}

/// Declares a validated text type: its rule, and the conversions that all of them share.
macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $valid:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(ByteString);

        impl $type {
            /// Validates a text.
            ///
            /// # Errors
            ///
            /// [`InvalidName`] when the text breaks the rule of this type.
            pub fn new(text: impl Into<ByteString>) -> Result<Self, InvalidName> {
                let text = text.into();
                if $valid(text.as_bytes()) {
                    Ok(Self(text))
                } else {
                    Err(InvalidName::new($what, $rule, &text))
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, without a copy.
            #[must_use]
            pub fn into_text(self) -> ByteString {
                self.0
            }
        }

        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// The name of a namespace, topic, group, member or inbox: `[A-Za-z0-9._-]{1,64}`, and not just `-`.
    Name,
    "name",
    "a name is 1 to 64 characters of A-Z a-z 0-9 . _ - and not just \"-\"",
    is_name
);

name_type!(
    /// The type of a message, which picks its handler: `[A-Za-z0-9._:-]{1,128}`, and not just `-`.
    ///
    /// `reply`, `error` and `cancel` belong to the protocol. They are valid here, since readers meet them in streams;
    /// [`EventType::is_reserved`] tells them apart, and what sends messages for a user refuses them.
    EventType,
    "event type",
    "an event type is 1 to 128 characters of A-Z a-z 0-9 . _ : - and not just \"-\"",
    is_event_type
);

name_type!(
    /// The id of a message: opaque, unique for ever, 1 to 64 visible ASCII characters, and not just `-`.
    MessageId,
    "message id",
    "a message id is 1 to 64 visible ASCII characters without spaces, and not just \"-\"",
    is_message_id
);

name_type!(
    /// The id of an entry that waits in a [schedule](crate::Schedule): 1 to 255 visible ASCII characters, and not just `-`.
    /// Whoever schedules an id again replaces what it stood for.
    ScheduleId,
    "schedule id",
    "a schedule id is 1 to 255 visible ASCII characters without spaces, and not just \"-\"",
    is_schedule_id
);

impl Name {
    /// The inbox of every request in the original's format: the one stream that all replies of its topic go to.
    pub(crate) const SHARED_INBOX: Self = Self(ByteString::from_static("PRODUCER_OUTGOING"));

    /// A name that nothing else has or will have: a ULID. For members and inboxes, which must never reuse a name.
    #[must_use]
    pub fn unique() -> Self {
        Self(unique_text())
    }
}

impl From<&MessageId> for ScheduleId {
    /// What a message is scheduled as, unless it is told otherwise.
    fn from(id: &MessageId) -> Self {
        Self(id.0.clone())
    }
}

/// The prefix of the schedule ids of retries.
const RETRY: &str = "retry/";

impl ScheduleId {
    /// The schedule id of a group's next attempt at a message.
    pub(crate) fn of_retry(group: &Name, message: &MessageId) -> Self {
        Self(format!("{RETRY}{group}/{message}").into())
    }

    /// The schedule id of an event.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] for a message id that would stand for a retry: an entry takes the place of the one with its
    /// schedule id, so such an event would remove a delivery that a group still has to handle.
    pub(crate) fn of_event(id: &MessageId) -> Result<Self, InvalidName> {
        if id.starts_with(RETRY) {
            let rule = "\"retry/…\" is the schedule id of a group's next attempt at a message";
            return Err(InvalidName::new("message id of a scheduled event", rule, id));
        }
        Ok(Self::from(id))
    }
}

impl EventType {
    /// The type of a reply.
    pub const REPLY: Self = Self(ByteString::from_static("reply"));
    /// The type of a reply whose payload is a problem document.
    pub const ERROR: Self = Self(ByteString::from_static("error"));
    /// The type that takes a request back.
    pub const CANCEL: Self = Self(ByteString::from_static("cancel"));
    /// The type of a whole HTTP request. Any consumer may handle it, so it is not reserved.
    pub const HTTP: Self = Self(ByteString::from_static("http"));

    /// Whether it is the type of a reply, good or bad.
    pub(crate) fn is_reply(&self) -> bool {
        matches!(self.as_str(), "reply" | "error")
    }

    /// Whether the protocol keeps this type for itself.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        matches!(self.as_str(), "reply" | "error" | "cancel")
    }

    /// An event type that a user may send or handle.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when the text breaks the rule of event types or is reserved.
    pub fn for_user(text: impl Into<ByteString>) -> Result<Self, InvalidName> {
        let event = Self::new(text)?;
        if event.is_reserved() {
            let rule = "\"reply\", \"error\" and \"cancel\" are reserved by the protocol";
            return Err(InvalidName::new("event type", rule, &event));
        }
        Ok(event)
    }
}

impl MessageId {
    /// A new id, unique for ever: a ULID.
    #[must_use]
    pub fn unique() -> Self {
        Self(unique_text())
    }

    /// An id that nothing else has or will have: a ULID as the UUID of version 7 with the same time.
    pub(crate) fn unique_uuid() -> Self {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0x3 << 62;
        let bits = ulid::Ulid::generate().0 & !VERSION & !VARIANT | 7 << 76 | 2 << 62;
        let hex = format!("{bits:032x}");
        Self(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into())
    }

    /// The id of the `index`th message that came of the message with this id.
    ///
    /// The same parent and index give the same id, so a message that is emitted again by a redelivery can be told
    /// from a new one. A parent that leaves no room for the index is hashed (FNV-1a, 64 bits, over the whole id).
    #[must_use]
    pub fn derive(&self, index: usize) -> Self {
        let derived = format!("{self}.{index}");
        if derived.len() <= 64 {
            return Self(derived.into());
        }
        let hash = derived
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        // The head keeps a ULID's time and the hash keeps siblings apart.
        Self(format!("{}~{hash:016x}", &self.as_str()[..26]).into())
    }
}

fn unique_text() -> ByteString {
    #[cfg(feature = "test")]
    let ulid = numbered::next().unwrap_or_else(ulid::Ulid::generate);
    #[cfg(not(feature = "test"))]
    let ulid = ulid::Ulid::generate();
    let mut buffer = [0; ulid::ULID_LEN];
    let text: &str = ulid.array_to_str(&mut buffer);
    ByteString::from(text)
}

/// Names for simulations, which have to come to the same each time.
#[cfg(feature = "test")]
pub mod numbered {
    use std::cell::Cell;

    use ulid::Ulid;

    thread_local! {
        static LAST: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Names that are made on this thread are numbered while this lives: the same ones in each simulation, and unique in
    /// none but this.
    #[derive(Debug)]
    #[must_use = "names are numbered while it lives"]
    pub struct Numbered(());

    impl Numbered {
        /// Begins at 1.
        pub fn begin() -> Self {
            LAST.set(Some(0));
            Self(())
        }
    }

    impl Drop for Numbered {
        fn drop(&mut self) {
            LAST.set(None);
        }
    }

    pub(super) fn next() -> Option<Ulid> {
        let number = LAST.get()? + 1;
        LAST.set(Some(number));
        // A year that no clock shows, so that nobody takes them for real ones.
        Some(Ulid::from_parts(number, u128::from(number)))
    }
}

fn is_name(text: &[u8]) -> bool {
    (1..=64).contains(&text.len())
        && text != b"-"
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_event_type(text: &[u8]) -> bool {
    (1..=128).contains(&text.len())
        && text != b"-"
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

fn is_message_id(text: &[u8]) -> bool {
    (1..=64).contains(&text.len()) && text != b"-" && text.iter().all(u8::is_ascii_graphic)
}

fn is_schedule_id(text: &[u8]) -> bool {
    (1..=255).contains(&text.len()) && text != b"-" && text.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rules() {
        for good in ["a", "orders", "A.b_c-9", "--", &"x".repeat(64)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-", "a b", "a:b", "{a}", "ä", &"x".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
        assert!(EventType::new("order:created.v1").is_ok());
        assert!(EventType::new("x".repeat(129)).is_err());
        assert!(MessageId::new("!~{}:").is_ok());
        assert!(MessageId::new("a b").is_err());
        assert!(MessageId::new("-").is_err());
        assert!(ScheduleId::new("billing/".to_owned() + &"x".repeat(247)).is_ok());
        assert!(ScheduleId::new("x".repeat(256)).is_err());
    }

    #[test]
    fn reserved_types_are_not_for_users() {
        for reserved in ["reply", "error", "cancel"] {
            assert!(EventType::new(reserved).is_ok_and(|event| event.is_reserved()));
            assert!(EventType::for_user(reserved).is_err());
        }
    }

    #[test]
    fn derived_ids_are_stable_distinct_and_valid() {
        let parent = MessageId::unique();
        assert_eq!(parent.derive(0), parent.derive(0));
        assert_ne!(parent.derive(0), parent.derive(1));
        let long = MessageId::new("y".repeat(64)).unwrap();
        assert_ne!(long.derive(0), long.derive(1));
        assert!(MessageId::new(long.derive(7).as_str()).is_ok());
    }

    #[test]
    fn an_error_shows_the_rule_and_a_bounded_value() {
        let error = Name::new("no spaces ".repeat(100)).unwrap_err().to_string();
        assert!(error.contains("1 to 64 characters") && error.len() < 300, "{error}");
    }

    /// An address in the place of a name, and the part of one behind its first colon.
    #[test]
    fn an_error_shows_no_password() {
        for (value, shown) in [
            ("5ecret@host", "***@host"),
            ("ann@host:5ecret", "***@host:***"),
            ("/x?pass=5ecret", "/x?***"),
            ("//a:5ecret@h1,redis://b:5ecret", "//***@h1,redis:***"),
        ] {
            let error = Name::new(value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{shown:?} is not a valid name")), "{error}");
        }
    }
}
