//! A service that greets: one typed call, and one request as HTTP has it.

use serde::{Deserialize, Serialize};
use streamerson::consumer::{
    Call, Consumer, Json, Problem, State, Topic,
    extract::{Path, Query},
};
use tracing::info;

pub(super) const TOPIC: &str = "demo:greetings";

/// A contract: whoever calls gets a [`Greeting`], or it does not compile.
#[derive(Serialize, Deserialize)]
pub(super) struct Greet {
    name: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Greeting {
    text: String,
}

impl Call for Greet {
    const TOPIC: &'static str = TOPIC;
    const EVENT: &'static str = "greet";
    type Reply = Greeting;
}

/// The number of a worker, for the log.
#[derive(Clone, Copy)]
struct Worker(usize);

#[derive(Deserialize)]
struct Wish {
    language: Option<String>,
}

/// One member of the group that shares the greetings.
pub(super) fn worker(topic: Topic, number: usize) -> Consumer {
    Consumer::new(topic).answer(greet).on("hello", hello).with_state(Worker(number))
}

async fn greet(State(Worker(worker)): State<Worker>, Json(greet): Json<Greet>) -> Json<Greeting> {
    info!(worker, name = greet.name, "greet");
    Json(Greeting { text: format!("Hello, {}!", greet.name) })
}

async fn hello(
    State(Worker(worker)): State<Worker>,
    Path(name): Path<String>,
    Query(wish): Query<Wish>,
) -> Result<Json<Greeting>, Problem> {
    let language = wish.language.unwrap_or_else(|| "en".into());
    info!(worker, name, language, "hello");
    let hello = match &*language {
        "en" => "Hello",
        "fr" => "Bonjour",
        "de" => "Hallo",
        _ => return Err(Problem::new(http::StatusCode::NOT_FOUND).with_detail("nobody here speaks that")),
    };
    Ok(Json(Greeting { text: format!("{hello}, {name}!") }))
}
