//! One entry as one line, for programs and for people.

use bytes::Bytes;
use serde::Serialize;
use streamerson::core::{Entry, EntryId, Fields, Headers, Message, UnixMillis, Wire, dead_letter::DeadLetter};

use crate::{
    output::Style,
    shown::{Shown, base64, lossy_line, printable},
};

/// What is known of an entry.
pub(crate) struct Line {
    entry: EntryId,
    content: Result<Message, Malformed>,
    /// Why it is a dead letter, if it is one.
    dead: Option<DeadLetter>,
}

struct Malformed {
    why: String,
    fields: Fields,
}

#[derive(Serialize)]
struct MessageLine<'a> {
    entry: EntryId,
    event: &'a str,
    id: &'a str,
    inbox: Option<&'a str>,
    deadline: Option<UnixMillis>,
    headers: &'a Headers,
    #[serde(flatten)]
    payload: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<&'a DeadLetter>,
}

#[derive(Serialize)]
struct MalformedLine<'a> {
    entry: EntryId,
    malformed: &'a str,
    /// In order, since names may repeat.
    fields: Vec<[RawBytes; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<&'a DeadLetter>,
}

/// Bytes as a string, where they are one.
#[derive(Serialize)]
#[serde(untagged)]
enum RawBytes {
    Text(String),
    Base64 { base64: String },
}

impl From<&Bytes> for RawBytes {
    fn from(bytes: &Bytes) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Base64 { base64: base64(bytes) },
        }
    }
}

impl Line {
    /// Reads an entry; `is_dead` where entries are dead letters.
    pub(crate) fn read(entry: Entry, is_dead: bool) -> Self {
        // What lies in the stream is shown, however large: bounds are those of the workers.
        let wire = Wire { payload_bytes_max: usize::MAX };
        let (dead, fields) = match DeadLetter::split(&entry.fields).filter(|_| is_dead) {
            Some((letter, original)) => (Some(letter), original),
            None => (None, entry.fields),
        };
        let content = wire.decode(&fields).map_err(|why| Malformed { why: why.to_string(), fields });
        Self { entry: entry.id, content, dead }
    }

    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        let Self { entry, content, dead } = self;
        let (entry, dead) = (*entry, dead.as_ref());
        match content {
            Ok(Message { event, id, inbox, deadline, headers, payload }) => serde_json::to_string(&MessageLine {
                entry,
                event,
                id,
                inbox: inbox.as_deref(),
                deadline: *deadline,
                headers,
                payload: Shown::new(headers, payload),
                dead,
            }),
            Err(Malformed { why, fields }) => {
                let fields = fields.iter().map(|(name, value)| [name.into(), value.into()]).collect();
                serde_json::to_string(&MalformedLine { entry, malformed: why, fields, dead })
            }
        }
    }

    /// The entry, what it is, then the payload and what else there is to say.
    pub(crate) fn for_people(&self, style: Style) -> String {
        let Style { bold, dim, red, reset, .. } = style;
        let mut line = format!("{dim}{}{reset}  ", self.entry);
        match &self.content {
            Ok(Message { event, id, inbox, headers, payload, .. }) => {
                let kind = if inbox.is_some() { "request" } else { "event" };
                line.push_str(&format!("{kind:<7}  {bold}{event}{reset}  {dim}{id}{reset}"));
                if !payload.is_empty() {
                    line.push_str(&format!("  {}", Shown::new(headers, payload).to_line()));
                }
                for (name, value) in headers.iter() {
                    line.push_str(&format!("  {dim}{}: {}{reset}", printable(name), printable(value)));
                }
            }
            Err(Malformed { why, fields }) => {
                line.push_str(&format!("{red}malformed{reset}  {}", printable(why)));
                for (name, value) in fields {
                    line.push_str(&format!("  {dim}{}={reset}{}", lossy_line(name), lossy_line(value)));
                }
            }
        }
        if let Some(DeadLetter { reason, error, group, attempts, .. }) = &self.dead {
            let error = printable(error);
            line.push_str(&format!("  {red}{reason}{reset} in {group}, attempts {attempts}: {error}"));
        }
        line
    }
}
