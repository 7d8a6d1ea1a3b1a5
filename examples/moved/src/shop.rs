//! An ordinary axum service of a few routes. It knows nothing of topics, and was not changed to be moved behind one.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize)]
struct Item {
    id: u64,
    name: &'static str,
    cents: u64,
}

/// What there is to buy.
type Catalogue = Arc<[Item]>;

pub(crate) fn router() -> Router {
    let items = [(1, "pot", 2400), (2, "kettle", 3900), (3, "strainer", 450)];
    let catalogue: Catalogue = items.into_iter().map(|(id, name, cents)| Item { id, name, cents }).collect();
    let shop = Router::new()
        .route("/", get(async || "A shop. See /shop/items.\n"))
        .route("/items", get(list))
        .route("/items/{id}", get(show))
        .route("/products/{id}", get(async |Path(id): Path<u64>| Redirect::permanent(&format!("/shop/items/{id}"))))
        .route("/quotes", post(quote))
        .route("/login", post(login))
        .route("/me", get(me))
        .route("/stock", get(stock));
    Router::new().nest("/shop", shop).with_state(catalogue)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default = "all")]
    max: usize,
}

fn all() -> usize {
    100
}

async fn list(State(catalogue): State<Catalogue>, Query(page): Query<Page>) -> Json<Vec<Item>> {
    Json(catalogue.iter().take(page.max).cloned().collect())
}

/// Clients that have an item already get no second copy.
async fn show(State(catalogue): State<Catalogue>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    let Some(item) = catalogue.iter().find(|item| item.id == id) else {
        return (StatusCode::NOT_FOUND, format!("there is no item {id}\n")).into_response();
    };
    let etag = format!("\"{}-{}\"", item.id, item.cents);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    ([(header::ETAG, etag), (header::CACHE_CONTROL, "max-age=60".to_owned())], Json(item)).into_response()
}

#[derive(Deserialize)]
struct Wish {
    item: u64,
    count: u64,
}

#[derive(Serialize)]
struct Quote {
    cents: u64,
}

async fn quote(State(catalogue): State<Catalogue>, Json(wish): Json<Wish>) -> Result<impl IntoResponse, StatusCode> {
    let item = catalogue.iter().find(|item| item.id == wish.item).ok_or(StatusCode::CONFLICT)?;
    let cents = item.cents.checked_mul(wish.count).ok_or(StatusCode::UNPROCESSABLE_ENTITY)?;
    let location = [(header::LOCATION, format!("/shop/quotes/{}-{}", wish.item, wish.count))];
    Ok((StatusCode::CREATED, location, Json(Quote { cents })))
}

/// Whoever says a name is believed: this is a kitchen shop.
async fn login(name: String) -> impl IntoResponse {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let cookies = [
        (header::SET_COOKIE, format!("name={name}; Path=/shop; HttpOnly")),
        (header::SET_COOKIE, "seen=1; Path=/shop; Expires=Wed, 01 Jan 2053 00:00:00 GMT".to_owned()),
    ];
    (StatusCode::NO_CONTENT, AppendHeaders(cookies))
}

async fn me(headers: HeaderMap) -> Response {
    let cookies = headers.get(header::COOKIE).and_then(|cookies| cookies.to_str().ok()).unwrap_or_default();
    match cookies.split("; ").find_map(|cookie| cookie.strip_prefix("name=")) {
        Some(name) => format!("you are {name}\n").into_response(),
        None => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Cookie")], "who are you?\n").into_response(),
    }
}

async fn stock() -> impl IntoResponse {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "60")], "we are counting\n")
}
