//! What is wrong with a configuration, and where.

use std::{fmt, ops::Range, path::Path};

use streamerson_core::text;
use toml::de::DeValue;

/// Everything that is wrong with a configuration, in the order of its lines.
///
/// `Display` gives each mistake a line of its own: the file, the line, the key, what is wrong and what to do.
#[derive(Debug)]
pub struct InvalidConfig {
    mistakes: Vec<Mistake>,
    names_memory: bool,
}

/// One thing that is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1 on.
    pub line: usize,
    /// Tables and key, joined by dots; empty where there is none to name.
    pub key: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl InvalidConfig {
    /// The mistakes; at least one.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Whether one of them is a broker that lives in one process, where no consumer could meet the gateway.
    #[must_use]
    pub fn names_memory(&self) -> bool {
        self.names_memory
    }
}

impl std::error::Error for InvalidConfig {}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Collects mistakes while a file is read, so that a user sees all of them at once.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    file: &'a str,
    text: &'a str,
    found: InvalidConfig,
}

impl<'a> Mistakes<'a> {
    pub(super) fn of(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: InvalidConfig { mistakes: Vec::new(), names_memory: false } }
    }

    /// Notes a mistake in this part of the text. Where the description quotes a value that looks like an address, its
    /// credentials are left out.
    pub(super) fn add(&mut self, span: &Range<usize>, key: impl Into<String>, what: impl Into<String>) {
        let line = self.line(span);
        let (key, what) = (text::redacted(&key.into()).into_owned(), what.into());
        let what = self.values(span).iter().fold(what, |what, value| text::redacted_in(&what, value).into_owned());
        self.found.mistakes.push(Mistake { file: self.file.to_owned(), line, key, what });
    }

    /// The strings of a part of the text: a value, or the elements of a list.
    fn values(&self, span: &Range<usize>) -> Vec<String> {
        fn collect(value: &DeValue<'_>, values: &mut Vec<String>) {
            match value {
                DeValue::String(text) => values.push(text.to_string()),
                DeValue::Array(items) => items.iter().for_each(|item| collect(item.get_ref(), values)),
                DeValue::Table(table) => table.values().for_each(|item| collect(item.get_ref(), values)),
                _ => {}
            }
        }
        let mut values = Vec::new();
        let part = self.text.get(span.clone()).unwrap_or_default();
        match DeValue::parse(part) {
            Ok(value) => collect(value.get_ref(), &mut values),
            // No value: a key, the head of a table, or text that is not TOML.
            Err(_) => values.push(part.to_owned()),
        }
        values
    }

    /// Notes that a broker is named that nobody else could reach.
    pub(super) fn note_memory(&mut self) {
        self.found.names_memory = true;
    }

    /// Where a key stands, as mistakes begin: file, line and key.
    pub(super) fn place(&self, span: &Range<usize>, key: &str) -> String {
        format!("{}:{}: {key}", self.file, self.line(span))
    }

    /// Where the file is.
    pub(super) fn directory(&self) -> &'a Path {
        Path::new(self.file).parent().unwrap_or(Path::new(""))
    }

    /// The number of the line on which a part of the text begins, from 1 on.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }

    /// The result, unless there are mistakes. Where there is none to have, a mistake says why.
    pub(super) fn unless_any<T>(mut self, result: Option<T>) -> Result<T, InvalidConfig> {
        match result {
            Some(result) if self.found.mistakes.is_empty() => Ok(result),
            _ => {
                self.found.mistakes.sort_by_key(|mistake| mistake.line);
                Err(self.found)
            }
        }
    }
}
