//! `streamerson dead list --by-error`: what failed most often, and for what.

use std::{cmp::Reverse, collections::HashMap};

use serde::Serialize;
use streamerson::core::{
    EntryId, UnixMillis,
    dead_letter::{Dead, Reason},
};

use super::list::short;
use crate::{
    human,
    table::{Cell, Table},
};

/// Bytes of an error that tell it from others.
const ERROR_BYTES_MAX: usize = 512;

/// Dead letters that say the same, apart from ids and numbers.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    count: u64,
    reason: Option<Reason>,
    error: Option<String>,
    /// The event type, if all have the same.
    event: Option<String>,
    /// When the first and the last of them died.
    oldest_at: Option<u64>,
    newest_at: Option<u64>,
    /// The newest of them.
    example: EntryId,
}

/// Puts dead letters together. There are as many groups as dead letters at worst, of which a topic keeps 100,000.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<(Option<Reason>, Option<String>), Group>);

impl Groups {
    /// Takes one more; they come the newest first.
    pub(super) fn add(&mut self, dead: &Dead) {
        let letter = dead.letter.as_ref();
        let reason = letter.map(|letter| letter.reason);
        let error = letter.map(|letter| pattern(&letter.error));
        let (event, at) = (dead.message.as_ref().map(|message| &*message.event), letter.map(|letter| letter.at));
        let group = self.0.entry((reason, error.clone())).or_insert_with(|| Group {
            count: 0,
            reason,
            error,
            event: event.map(str::to_owned),
            oldest_at: at,
            newest_at: at,
            example: dead.id,
        });
        group.count += 1;
        group.oldest_at = at.or(group.oldest_at);
        if group.event.as_deref() != event {
            group.event = None;
        }
    }

    /// The most frequent first, and the newest of those that are as frequent.
    pub(super) fn ranked(self) -> Vec<Group> {
        let mut groups: Vec<_> = self.0.into_values().collect();
        groups.sort_by_key(|group| Reverse((group.count, group.example)));
        groups
    }
}

pub(super) fn table(groups: &[Group], now: UnixMillis) -> Table<7> {
    let mut table = Table::new(["COUNT", "REASON", "EVENT", "NEWEST", "OLDEST", "EXAMPLE", "ERROR"]);
    let age =
        |at: Option<u64>| at.map_or_else(Cell::none, |at| Cell::text(human::age(now.since(UnixMillis(at))))).right();
    for group in groups {
        table.row([
            Cell::count(group.count),
            group.reason.map_or_else(Cell::none, |reason| Cell::text(reason.as_str()).red_if(true)),
            group.event.as_ref().map_or_else(Cell::none, |event| Cell::text(event).bold()),
            age(group.newest_at),
            age(group.oldest_at),
            Cell::text(group.example.to_string()),
            group.error.as_ref().map_or_else(Cell::none, |error| Cell::text(short(error))),
        ]);
    }
    table
}

/// An error without what is different each time: `…` stands for numbers and ids. Numbers that are a status stay.
fn pattern(error: &str) -> String {
    let error = &error[..error.floor_char_boundary(ERROR_BYTES_MAX)];
    let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    let (mut pattern, mut rest, mut before) = (String::with_capacity(error.len()), error, "");
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|char| !is_word(char)).unwrap_or(rest.len()));
        match is_status(word, before) {
            true => pattern.push_str(word),
            false => push_word(&mut pattern, word),
        }
        let (between, after) = after.split_at(after.find(is_word).unwrap_or(after.len()));
        pattern.push_str(between);
        (before, rest) = (word, after);
    }
    // The parts of an address or of a date.
    for parts in ["….…", "…:…", "…-…"] {
        while pattern.contains(parts) {
            pattern = pattern.replace(parts, "…");
        }
    }
    pattern
}

/// Whether a word is a status: three digits, after a word that says so.
fn is_status(word: &str, before: &str) -> bool {
    let is_number = word.len() == 3 && word.parse().is_ok_and(|number: u16| (100..600).contains(&number));
    let before = before.to_ascii_lowercase();
    is_number && ["status", "code", "http", "answer", "return", "respon"].iter().any(|word| before.contains(word))
}

fn push_word(pattern: &mut String, word: &str) {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if word.len() >= 16 && digits >= 3 {
        // A ULID, a UUID, a hash: hardly ever the same.
        pattern.push('…');
        return;
    }
    let mut in_number = false;
    for char in word.chars() {
        match (char.is_ascii_digit(), in_number) {
            (true, true) => {}
            (true, false) => pattern.push('…'),
            (false, _) => pattern.push(char),
        }
        in_number = char.is_ascii_digit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_numbers_are_the_same() {
        for (error, expected) in [
            ("order 17 is not there", "order … is not there"),
            ("order-17, item_3x", "order-…, item_…x"),
            ("answered 503 after 5000ms", "answered 503 after …ms"),
            ("order 503 is not there", "order … is not there"),
            ("10.0.0.7:5432 refused, 2026-11-25T10:00:00Z", "… refused, …T…Z"),
            ("no 01JD3N8Q7ZB6M4K2W5XH0V9TGC here", "no … here"),
            ("550e8400-e29b-41d4-a716-446655440000", "…"),
            ("größer als 5 €", "größer als … €"),
            ("", ""),
        ] {
            assert_eq!(pattern(error), expected);
        }
    }
}
