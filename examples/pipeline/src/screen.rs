//! A pipe without a group: what comes while nobody looks is not shown.

use std::future::ready;

use futures_util::{StreamExt, TryStreamExt};
use streamerson::{
    BrokerError, Consumer, Message, SharedBroker, Topic,
    core::{Cursor, EventType, subscription::Received},
};

use crate::{Error, weather::Temperature};

/// Shows temperatures as they come, until told to stop.
pub(crate) async fn run(broker: &SharedBroker, shutdown: impl Future<Output = ()> + Clone) -> Result<(), Error> {
    let screen = Topic::new("screen")?;
    let shown = EventType::new("shown")?;
    let lines = broker
        .subscribe(Topic::new("temperatures")?.inbound(), Cursor::End)
        // A gap says that entries went unseen, as after a long outage. A screen can live with that.
        .filter(|received| ready(!matches!(received, Err(BrokerError::Gap { .. }))))
        .map_ok(|received| Message::new(shown.clone(), to_line(&received)))
        .take_until(shutdown.clone())
        .forward(broker.publisher(screen.inbound()));

    async fn show(line: String) {
        println!("{line}");
    }
    let showing = Consumer::new(screen).on("shown", show).run(broker.clone(), shutdown);
    let (lines, showing) = tokio::join!(lines, showing);
    lines?;
    showing?;
    Ok(())
}

fn to_line(received: &Received) -> String {
    // Anybody can append anything to a stream.
    let Ok(message) = received.message() else { return "something that is no message".into() };
    match serde_json::from_slice(&message.payload) {
        Ok(Temperature { sensor, celsius }) => format!("{sensor}: {celsius:.1} °C"),
        Err(error) => format!("something that is no temperature: {error}"),
    }
}
