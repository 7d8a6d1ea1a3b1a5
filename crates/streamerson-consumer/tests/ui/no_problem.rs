use streamerson_consumer::{Call, Consumer, Json, Topic};

#[derive(serde::Serialize, serde::Deserialize)]
struct Greet;

impl Call for Greet {
    const TOPIC: &'static str = "greetings";
    const EVENT: &'static str = "greet";
    type Reply = String;
}

async fn greet(_: Json<Greet>) -> Result<Json<String>, std::io::Error> {
    Err(std::io::Error::other("no"))
}

fn main() {
    let _: Consumer = Consumer::new(Topic::new("greetings").unwrap()).answer(greet);
}
