//! A journal: a file for each process, to which a line is appended when a handler begins and when it ends. A line that is
//! written outlives its process, however that dies.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::Job;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A handler began.
    Begun,
    /// It ended.
    Ended,
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub what: What,
    /// When, in Unix microseconds of this machine.
    pub at_micros: u64,
    /// To which message.
    pub id: String,
    /// How often it was delivered, this time included.
    pub count: u32,
    /// The job.
    pub key: u64,
    /// Its number.
    pub number: u64,
}

/// The time of this machine.
#[must_use]
pub fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Journal {
    /// Opens a journal, to append to what it holds.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// Appends a line, in one step.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn note(&self, what: What, id: &str, count: u32, job: &Job) -> io::Result<()> {
        let what = if what == What::Begun { 'B' } else { 'E' };
        let line = format!("{what} {} {id} {count} {} {}\n", now_micros(), job.key, job.number);
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(line.as_bytes())
    }

    /// The lines of a journal. The last one may be torn, and is left out then.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or holds something else.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<Line>> {
        let text = std::fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| parse(line).ok_or_else(|| io::Error::other(format!("no line of a journal: {line:?}"))))
            .collect()
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let what = match word()? {
        "B" => What::Begun,
        "E" => What::Ended,
        _ => return None,
    };
    Some(Line {
        what,
        at_micros: word()?.parse().ok()?,
        id: word()?.to_owned(),
        count: word()?.parse().ok()?,
        key: word()?.parse().ok()?,
        number: word()?.parse().ok()?,
    })
}
