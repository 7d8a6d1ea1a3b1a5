//! Consumers that are put together wrongly say so when they run.

mod common;

use serde::Deserialize;
use streamerson_consumer::{Call, ConfigError, Consumer, Json, RunError, Topic};
use streamerson_core::broker::memory::Memory;

use self::common::{consumer, topic};

#[derive(Deserialize)]
struct Ship;

impl Call for Ship {
    const TOPIC: &'static str = "shipping";
    const EVENT: &'static str = "ship";
    type Reply = ();
}

async fn ship(_: Json<Ship>) {}

async fn refused(consumer: Consumer) -> ConfigError {
    match consumer.run(Memory::new(), async {}).await {
        Err(RunError::Config(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_contract_of_another_topic_is_named() {
    let error = refused(consumer().answer(ship)).await;
    assert_eq!(
        error.to_string(),
        r#"the handler of "ship" answers calls of the topic shipping, and this consumer is one of default:orders"#
    );
}

#[tokio::test]
async fn a_contract_names_all_parts_of_a_sharded_topic() {
    let consumer = Consumer::new(Topic::new("shipping#3").unwrap()).answer(ship);
    consumer.run(Memory::new(), async {}).await.unwrap();
}

#[tokio::test]
async fn mistakes_are_errors_and_the_first_one_counts() {
    let handler = async || ();
    let error = refused(consumer().on("a", handler).on("b", handler).on("a", handler)).await;
    assert_eq!(error.to_string(), r#"two handlers take "a""#);
    assert!(matches!(refused(consumer().on("not an event", handler)).await, ConfigError::Name(_)));
    assert!(matches!(refused(consumer().on("reply", handler)).await, ConfigError::Name(_)), "reserved");
    assert!(matches!(refused(consumer().on("a", handler).group("a b")).await, ConfigError::Name(_)));
    assert_eq!(refused(consumer().fallback(handler).fallback(handler)).await, ConfigError::DuplicateFallback);
    assert_eq!(refused(Consumer::new(topic())).await, ConfigError::NoHandlers);
    assert_eq!(refused(consumer().on("a", handler).concurrency(0)).await, ConfigError::Zero("concurrency"));
    let zero = std::time::Duration::ZERO;
    assert_eq!(refused(consumer().on("a", handler).lease(zero)).await, ConfigError::Zero("lease"));
    assert_eq!(refused(consumer().on("a", handler).block(zero)).await, ConfigError::Zero("block"));
}
