//! A table of the file, read key by key: what is asked for is known, and what nobody asked for is a mistake.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{mistake::Mistakes, nearest::nearest};

/// A value, or a sentence about why it is none.
pub(super) type Parsed<T> = Result<T, String>;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

pub(super) struct Table<'a> {
    /// The names that lead here, joined by dots; empty at the top.
    name: String,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
    known: Vec<&'static str>,
    /// Known too, but nothing to recommend.
    refused: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn new(name: impl Into<String>, span: Range<usize>, entries: &'a DeTable<'a>) -> Self {
        Self { name: name.into(), span, entries, known: Vec::new(), refused: Vec::new() }
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// The full name of a key of this table.
    pub(super) fn name_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Whether a key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value of a key, if it is there and makes sense; where it doesn't, that is a mistake.
    pub(super) fn get<T>(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Parsed<T>,
    ) -> Option<Placed<T>> {
        let value = self.value(key)?;
        match parse(value.get_ref()) {
            Ok(parsed) => Some(Placed { value: parsed, span: value.span() }),
            Err(what) => {
                mistakes.add(&value.span(), self.name_of(key), what);
                None
            }
        }
    }

    /// As [`Table::get`], for what has a default: that stays where the key is not there.
    pub(super) fn set<T>(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        setting: &mut T,
        parse: impl FnOnce(&'a DeValue<'a>) -> Parsed<T>,
    ) {
        if let Some(placed) = self.get(mistakes, key, parse) {
            *setting = placed.value;
        }
    }

    /// As [`Table::get`], for what cannot be left out; `how` is an example of it.
    pub(super) fn required<T>(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        how: &str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Parsed<T>,
    ) -> Option<Placed<T>> {
        if self.value(key).is_none() {
            mistakes.add(&self.span, self.name_of(key), format!("it is missing; write {key} = {how}"));
        }
        self.get(mistakes, key, parse)
    }

    /// A list of texts, each parsed and each with a mistake of its own.
    pub(super) fn list<T>(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<Vec<T>> {
        let items = self.get(mistakes, key, |value| {
            value.as_array().ok_or_else(|| "it must be a list of strings, as in [\"a\", \"b\"]".to_owned())
        })?;
        let mut parsed = Vec::new();
        for item in items.value.iter() {
            match text(item.get_ref()).and_then(&parse) {
                Ok(value) => parsed.push(value),
                Err(what) => mistakes.add(&item.span(), self.name_of(key), what),
            }
        }
        Some(parsed)
    }

    /// A table within this one.
    pub(super) fn table(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str) -> Option<Table<'a>> {
        let how = || format!("it must be a table: [{}]", self.name_of(key));
        let missing = how();
        let inner = self.get(mistakes, key, |value| value.as_table().ok_or(missing))?;
        Some(Table::new(self.name_of(key), inner.span, inner.value))
    }

    /// The tables within this one that stand under names of the user's.
    pub(super) fn tables(self, mistakes: &mut Mistakes<'_>) -> Vec<(String, Table<'a>)> {
        let mut tables = Vec::new();
        for (key, value) in self.entries.iter() {
            let name = self.name_of(key.get_ref());
            match value.get_ref().as_table() {
                Some(entries) => tables.push((key.get_ref().to_string(), Table::new(name, key.span(), entries))),
                None => mistakes.add(&key.span(), &name, format!("it must be a table: [{name}]")),
            }
        }
        tables
    }

    /// The tables of an array of tables.
    pub(super) fn array_of_tables(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str) -> Vec<Table<'a>> {
        let rule = || format!("it must be an array of tables: [[{key}]]");
        let Some(array) = self.get(mistakes, key, |value| value.as_array().ok_or_else(rule)) else { return Vec::new() };
        let mut tables = Vec::new();
        for item in array.value.iter() {
            match item.get_ref().as_table() {
                Some(entries) => tables.push(Table::new(self.name_of(key), item.span(), entries)),
                None => mistakes.add(&item.span(), self.name_of(key), rule()),
            }
        }
        tables
    }

    /// A mistake about a key that is there and has no business to be.
    pub(super) fn refuse(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str, what: &str) {
        self.refused.push(key);
        if let Some(value) = self.entries.get(key) {
            mistakes.add(&value.span(), self.name_of(key), what);
        }
    }

    /// Every key that nobody asked for is a mistake.
    pub(super) fn finish(self, mistakes: &mut Mistakes<'_>) {
        let is_known = |key: &str| self.known.contains(&key) || self.refused.contains(&key);
        for key in self.entries.keys().filter(|key| !is_known(key.get_ref())) {
            let what = match nearest(key.get_ref(), &self.known) {
                Some(meant) => format!("there is no such key; did you mean {meant}?"),
                None => format!("there is no such key; known here are {}", self.known.join(", ")),
            };
            mistakes.add(&key.span(), self.name_of(key.get_ref()), what);
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.get(key)
    }
}

/// A string.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Parsed<&'v str> {
    value.as_str().ok_or_else(|| format!("it must be a string in quotes, not {}", a(value)))
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| format!("it must be true or false, not {}", a(value)))
}

/// A number that counts something.
pub(super) fn count(value: &DeValue<'_>) -> Parsed<u64> {
    let number = value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
    number.ok_or_else(|| "it must be a whole number, zero or more, without a unit".to_owned())
}

/// As [`count`], for what cannot be nothing.
pub(super) fn some(value: &DeValue<'_>) -> Parsed<u64> {
    match count(value)? {
        0 => Err("it must be more than nothing".to_owned()),
        number => Ok(number),
    }
}

/// What a value is, with its article.
fn a(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}
