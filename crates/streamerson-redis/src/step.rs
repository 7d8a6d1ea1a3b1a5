//! What a settlement does besides its ack, one step after the other, as the script takes it.

use bytes::Bytes;
use streamerson_core::{
    Fields,
    broker::{Append, Mark, Scheduled, Settlement},
};

use crate::{
    append::{encode_fields, fields_bytes, millis},
    marks::mark_bytes,
    resp::Command,
    schedule::pack,
};

/// The most fields of an entry that a script can append: Lua's stack holds 8,000 values.
pub(crate) const SCRIPT_FIELDS_MAX: usize = 3900;

/// One step of a settlement.
pub(crate) struct Step<'a> {
    pub(crate) key: &'a str,
    /// The word by which the script knows what to do.
    kind: &'static str,
    bound: Option<u64>,
    parts: Parts<'a>,
}

enum Parts<'a> {
    Fields(&'a Fields),
    Later { entries_key: &'a str, id: &'a str, at: u64, packed: Bytes },
    Mark(&'a Mark),
}

/// The steps of a settlement, in order. First what can be refused.
pub(crate) fn steps(settlement: &Settlement) -> Vec<Step<'_>> {
    let Settlement { id: _, reply, emitted, dead, later, mark } = settlement;
    let later = later.as_ref().map(|later| {
        let (schedule, scheduled) = (&later.schedule, &later.scheduled);
        let parts = Parts::Later {
            entries_key: schedule.entries_key(),
            id: &scheduled.id,
            at: scheduled.at.min(Scheduled::AT_MAX).0,
            packed: pack(&scheduled.fields),
        };
        Step { key: schedule.key(), kind: "later", bound: Some(schedule.entries_max()), parts }
    });
    let emitted = emitted.iter().map(|append: &Append| {
        let kind = if append.only_if_exists { "if-exists" } else { "append" };
        Step { key: append.key.as_str(), kind, bound: append.entries_max, parts: Parts::Fields(&append.fields) }
    });
    let reply = reply.as_ref().map(|reply| Step {
        key: reply.key.as_str(),
        kind: "reply",
        bound: None,
        parts: Parts::Fields(&reply.fields),
    });
    let dead = dead.as_ref().map(|dead| {
        let bound = Some(dead.entries_max);
        Step { key: dead.key.as_str(), kind: "dead", bound, parts: Parts::Fields(&dead.fields) }
    });
    let mark = mark.as_ref().map(|mark| Step {
        key: mark.key.as_str(),
        kind: "mark",
        bound: Some(millis(mark.ttl)),
        parts: Parts::Mark(mark),
    });
    later.into_iter().chain(mark).chain(emitted).chain(reply).chain(dead).collect()
}

impl<'a> Step<'a> {
    /// Every key that it touches.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let second = match &self.parts {
            Parts::Later { entries_key, .. } => Some(*entries_key),
            Parts::Fields(_) | Parts::Mark(_) => None,
        };
        [self.key].into_iter().chain(second)
    }

    /// Whether it is too much for a script.
    pub(crate) fn is_wide(&self) -> bool {
        matches!(self.parts, Parts::Fields(fields) if fields.len() > SCRIPT_FIELDS_MAX)
    }

    /// How many arguments of the script it takes.
    pub(crate) fn arguments(&self) -> usize {
        4 + self.parts_len()
    }

    /// About how many bytes it takes on the wire.
    pub(crate) fn bytes(&self) -> usize {
        match &self.parts {
            Parts::Fields(fields) => fields_bytes(fields),
            Parts::Later { packed, .. } => 512 + packed.len(),
            Parts::Mark(mark) => mark_bytes(mark),
        }
    }

    /// Adds its arguments. `index` tells the place of a key among those of the script, from 1 on.
    pub(crate) fn encode(&self, command: &mut Command<'_>, index: impl Fn(&str) -> u64) {
        command.int(index(self.key)).arg(self.kind);
        match self.bound {
            Some(bound) => command.int(bound),
            None => command.arg(""),
        };
        command.int(self.parts_len() as u64);
        match &self.parts {
            Parts::Fields(fields) => encode_fields(command, fields),
            Parts::Later { entries_key, id, at, packed } => {
                command.int(index(entries_key)).arg(id).int(*at).payload(packed);
            }
            Parts::Mark(mark) => {
                command.payload(&mark.value);
            }
        }
    }

    fn parts_len(&self) -> usize {
        match &self.parts {
            Parts::Fields(fields) => 2 * fields.len(),
            Parts::Later { .. } => 4,
            Parts::Mark(_) => 1,
        }
    }
}
