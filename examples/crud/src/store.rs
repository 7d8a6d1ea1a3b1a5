//! Books in a SQLite file.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, ffi, params};
use serde::{Serialize, de::DeserializeOwned};
use streamerson::core::MessageId;
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::{
    books::{Book, Draft},
    refusal::Refusal,
};

/// How long a statement waits for another process that writes to the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer is remembered. It must be longer than a message can wait to be delivered again.
const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

const SCHEMA: &str = "
    -- Readers do not wait for the one who writes, and what is committed is on the disk before anybody is told.
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS books (
        -- An id is never used again.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        isbn TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        author TEXT NOT NULL,
        version INTEGER NOT NULL DEFAULT 1
    ) STRICT;
    -- The messages that changed something, and what was answered.
    CREATE TABLE IF NOT EXISTS answers (
        message TEXT PRIMARY KEY,
        answer TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS answers_by_age ON answers (at);
";

/// The file. Cheap to clone: all clones share one connection.
///
/// SQLite blocks, so its work is done on tokio's threads for blocking work. SQLite also has one writer at a time, so
/// handlers wait for their turn before they take such a thread, and hold up no other.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

impl Store {
    /// Opens the file, and makes it if it is not there.
    pub(crate) fn open(path: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Looks something up.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Books<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.run(move |connection| look(&Books(connection))).await
    }

    /// Changes something once for each message, however often the message is delivered.
    ///
    /// The change and the id of the message are one transaction: either both are in the file or neither is. A message
    /// that is already there changes nothing, and gets the answer that it got before. That one may have been lost with
    /// the process that gave it, and working it out again could come to another: a second look would find the ISBN taken.
    pub(crate) async fn once<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        message: MessageId,
        change: impl FnOnce(&Books<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.run(move |connection| {
            // Takes the file's lock at once: between the look and the change no other process gets in.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let find = "SELECT answer FROM answers WHERE message = ?";
            let known: Option<String> = transaction.query_row(find, [message.as_str()], |row| row.get(0)).optional()?;
            if let Some(answer) = known {
                return Ok(serde_json::from_str(&answer)?);
            }
            // An error ends the transaction, and nothing of it stays.
            let answer = change(&Books(&transaction))?;
            let now = now_ms();
            transaction.execute("DELETE FROM answers WHERE at < ?", [now - ms(ANSWERS_KEPT)])?;
            let kept = serde_json::to_string(&answer)?;
            transaction.execute("INSERT INTO answers VALUES (?, ?, ?)", params![message.as_str(), kept, now])?;
            transaction.commit()?;
            Ok(answer)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let mut connection = Arc::clone(&self.0).lock_owned().await;
        spawn_blocking(move || work(&mut connection)).await?
    }
}

/// The books, as one who holds the connection sees them.
pub(crate) struct Books<'a>(&'a Connection);

impl Books<'_> {
    pub(crate) fn get(&self, id: i64) -> Result<Book, Refusal> {
        let book = self.0.query_row("SELECT * FROM books WHERE id = ?", [id], Book::from_row).optional()?;
        book.ok_or(Refusal::NoSuchBook(id))
    }

    /// So many books in the order of their ids, from behind this one.
    pub(crate) fn page(&self, after: i64, limit: u32) -> Result<Vec<Book>, Refusal> {
        let mut statement = self.0.prepare("SELECT * FROM books WHERE id > ? ORDER BY id LIMIT ?")?;
        let books = statement.query_map([after, limit.into()], Book::from_row)?;
        Ok(books.collect::<Result<_, _>>()?)
    }

    pub(crate) fn insert(&self, Draft { isbn, title, author }: Draft) -> Result<Book, Refusal> {
        let insert = "INSERT INTO books (isbn, title, author) VALUES (?, ?, ?) RETURNING *";
        let inserted = self.0.query_row(insert, [&isbn, &title, &author], Book::from_row);
        inserted.map_err(|error| Self::refused(error, isbn))
    }

    /// Changes a book that is there.
    pub(crate) fn replace(&self, id: i64, Draft { isbn, title, author }: Draft) -> Result<Book, Refusal> {
        let update = "UPDATE books SET isbn = ?, title = ?, author = ?, version = version + 1 WHERE id = ? RETURNING *";
        let updated = self.0.query_row(update, params![isbn, title, author, id], Book::from_row);
        updated.map_err(|error| Self::refused(error, isbn))
    }

    pub(crate) fn remove(&self, id: i64) -> Result<(), Refusal> {
        self.0.execute("DELETE FROM books WHERE id = ?", [id])?;
        Ok(())
    }

    /// The one constraint that callers can break says so; all else is a failure.
    fn refused(error: rusqlite::Error, isbn: String) -> Refusal {
        match error.sqlite_error() {
            Some(inner) if inner.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE => Refusal::IsbnTaken(isbn),
            _ => Refusal::Database(error),
        }
    }
}

impl Book {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            isbn: row.get("isbn")?,
            title: row.get("title")?,
            author: row.get("author")?,
            version: row.get("version")?,
        })
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
