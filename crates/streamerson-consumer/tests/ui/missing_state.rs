use streamerson_consumer::{Consumer, State, Topic};

#[derive(Clone)]
struct Db;

#[derive(Clone)]
struct App;

async fn purge(State(app): State<App>, State(db): State<Db>) {
    let _ = (app, db);
}

fn main() {
    let _: Consumer<App> = Consumer::new(Topic::new("orders").unwrap()).on("order.purge", purge);
}
