use streamerson_consumer::{Call, Consumer, Json, Topic};

#[derive(serde::Serialize, serde::Deserialize)]
struct Greet {
    name: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Greeting {
    text: String,
}

impl Call for Greet {
    const TOPIC: &'static str = "greetings";
    const EVENT: &'static str = "greet";
    type Reply = Greeting;
}

async fn greet(Json(greet): Json<Greet>) -> Json<String> {
    Json(greet.name)
}

fn main() {
    let _: Consumer = Consumer::new(Topic::new("greetings").unwrap()).answer(greet);
}
