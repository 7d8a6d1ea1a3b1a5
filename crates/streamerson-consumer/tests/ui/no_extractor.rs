use streamerson_consumer::{Consumer, Json, Topic};

struct Order;

async fn place(Json(id): Json<u64>, order: Order) {
    let _ = (id, order);
}

fn main() {
    let _: Consumer = Consumer::new(Topic::new("orders").unwrap()).on("order.place", place);
}
