//! What a book is, and the handlers.
//!
//! A worker that dies when it has changed the file and before its reply is sent makes another delivery of the same
//! message. So those handlers that change something do it in [`Store::once`], which takes the message's id.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use streamerson::{
    Call, Consumer, Json, Reply, State, Topic,
    consumer::{
        Failure, IntoReply,
        extract::{Path, Query},
    },
    core::MessageId,
};

use crate::{
    Error,
    precondition::{IfMatch, etag},
    refusal::Refusal,
    store::Store,
};

pub(crate) const LIST: &str = "book.list";
pub(crate) const READ: &str = "book.read";
pub(crate) const UPDATE: &str = "book.update";
pub(crate) const DELETE: &str = "book.delete";

/// Most characters of a text.
const TEXT_CHARS_MAX: usize = 200;
/// Most books on a page.
const PAGE_MAX: u32 = 100;

/// A contract: what a book is before it has an id, where that goes, and what answers it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// No two books have the same.
    pub(crate) isbn: String,
    pub(crate) title: String,
    pub(crate) author: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) id: i64,
    pub(crate) isbn: String,
    pub(crate) title: String,
    pub(crate) author: String,
    /// 1, and one more with each change.
    pub(crate) version: i64,
}

impl Call for Draft {
    const TOPIC: &'static str = "books";
    const EVENT: &'static str = "book.create";
    type Reply = Book;
}

pub(crate) fn topic() -> Result<Topic, Error> {
    Ok(Topic::new(Draft::TOPIC)?)
}

/// All that a worker does.
pub(crate) fn consumer(store: Store) -> Result<Consumer, Error> {
    let consumer = Consumer::new(topic()?).answer(create).on(LIST, list).on(READ, read);
    Ok(consumer.on(UPDATE, update).on(DELETE, delete).with_state(store))
}

/// One that answers with anything but a `Book` does not compile, as [`Draft`] says so.
async fn create(
    State(store): State<Store>,
    message: MessageId,
    Json(draft): Json<Draft>,
) -> Result<(StatusCode, [(&'static str, String); 2], Json<Book>), Refusal> {
    draft.check()?;
    let book = store.once(message, move |books| books.insert(draft)).await?;
    let location = ("http.header.location", format!("/books/{}", book.id));
    Ok((StatusCode::CREATED, [location, ("http.header.etag", etag(book.version))], Json(book)))
}

/// Which page: so many books at most, behind the one with this id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default = "limit")]
    limit: u32,
    #[serde(default)]
    after: i64,
}

/// Books on a page, unless the query says otherwise.
fn limit() -> u32 {
    20
}

#[derive(Serialize)]
struct Listed {
    books: Vec<Book>,
    /// Where the next page is, unless this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

async fn list(State(store): State<Store>, Query(page): Query<Page>) -> Result<Json<Listed>, Refusal> {
    let Page { limit, after } = page;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Refusal::Limit(PAGE_MAX));
    }
    // One more than asked for tells whether there is a next page.
    let mut books = store.read(move |books| books.page(after, limit + 1)).await?;
    let mut next = None;
    if books.len() > limit as usize {
        books.truncate(limit as usize);
        next = books.last().map(|last| format!("/books?limit={limit}&after={}", last.id));
    }
    Ok(Json(Listed { books, next }))
}

async fn read(State(store): State<Store>, Path(id): Path<i64>) -> Result<Tagged, Refusal> {
    store.read(move |books| books.get(id)).await.map(Tagged)
}

async fn update(
    State(store): State<Store>,
    message: MessageId,
    Path(id): Path<i64>,
    if_match: IfMatch,
    Json(draft): Json<Draft>,
) -> Result<Tagged, Refusal> {
    draft.check()?;
    let change = store.once(message, move |books| {
        if_match.check(books.get(id)?.version)?;
        books.replace(id, draft)
    });
    change.await.map(Tagged)
}

async fn delete(
    State(store): State<Store>,
    message: MessageId,
    Path(id): Path<i64>,
    if_match: IfMatch,
) -> Result<(), Refusal> {
    let removal = store.once(message, move |books| {
        if_match.check(books.get(id)?.version)?;
        books.remove(id)
    });
    removal.await
}

/// A book, and the tag of its version.
struct Tagged(Book);

impl IntoReply for Tagged {
    fn into_reply(self) -> Result<Reply, Failure> {
        let etag = etag(self.0.version);
        Ok(Json(self.0).into_reply()?.with_header("http.header.etag", etag))
    }
}

impl Draft {
    /// What the types do not say.
    fn check(&self) -> Result<(), Refusal> {
        for (name, text) in [("isbn", &self.isbn), ("title", &self.title), ("author", &self.author)] {
            if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
                return Err(Refusal::Text(name, TEXT_CHARS_MAX));
            }
        }
        Ok(())
    }
}
