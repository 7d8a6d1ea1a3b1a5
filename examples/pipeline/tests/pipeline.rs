//! The example as its README runs it, and what it promises.

use std::{collections::BTreeSet, process::Command};

use serde_json::{Value, json};
use streamerson::{
    Client, Message, SharedBroker, Topic,
    core::{
        EntryId, StreamKey, Wire,
        broker::{Broker, Range},
        dead_letter::{DeadLetter, Reason},
    },
};
use streamerson_test::{Process, RedisServer, Signal, eventually};

fn pipeline(arguments: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
    command.args(arguments.split_whitespace());
    Process::spawn(command)
}

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

/// Emits a hot reading of each of these sensors.
async fn emit(broker: &SharedBroker, sensors: std::ops::Range<usize>) {
    let readings = Client::new(broker.clone()).topic(&topic("readings"));
    for sensor in sensors {
        let reading = json!({"sensor": sensor.to_string(), "fahrenheit": 451.0});
        readings.emit("reading", &reading).await.expect("a server that answers");
    }
}

async fn messages(broker: &dyn Broker, key: StreamKey) -> Vec<Message> {
    let all = Range { key, from: EntryId::ZERO, to: EntryId::MAX, count: 10_000, newest_first: false };
    let entries = broker.range(all).await.expect("a server that answers");
    entries.iter().map(|entry| Wire::default().decode(&entry.fields).expect("a message")).collect()
}

/// Waits until there was an alert of each of these sensors, and of no other.
async fn all_alerted(broker: &SharedBroker, sensors: std::ops::Range<usize>) {
    let wanted: BTreeSet<String> = sensors.map(|sensor| sensor.to_string()).collect();
    let sensor = |message: &Message| -> Option<String> {
        let alert: Value = serde_json::from_slice(&message.payload).ok()?;
        alert["sensor"].as_str().map(str::to_owned)
    };
    eventually("an alert of each sensor", async || {
        let alerts = messages(&**broker, topic("alerts").inbound()).await;
        (alerts.iter().filter_map(sensor).collect::<BTreeSet<_>>() == wanted).then_some(())
    })
    .await;
}

async fn pending(broker: &SharedBroker) -> u64 {
    let groups = broker.groups(&topic("readings").inbound()).await.expect("a server that answers");
    groups.iter().map(|group| group.pending).sum()
}

#[tokio::test]
async fn all_in_one_process() {
    let all = pipeline("");
    assert_eq!(all.stdout_line("fridge").await, "fridge: 4.0 °C");
    assert_eq!(all.stdout_line("alert").await, "alert: oven is at 200.0 °C");
    assert!(all.terminate().await.status.success());
}

#[tokio::test]
async fn a_crash_loses_nothing() {
    let server = RedisServer::spawn().await;
    let broker = streamerson::connect(&server.url()).await.expect("a server that answers");
    let stages = format!("stages --broker {}", server.url());

    let first = pipeline(&stages);
    emit(&broker, 0..10).await;
    all_alerted(&broker, 0..10).await;
    // A frozen process still gets what its blocked read asked for, and dies with it.
    first.signal(Signal::Stop);
    emit(&broker, 10..20).await;
    eventually("a delivery to the frozen process", async || (pending(&broker).await > 0).then_some(())).await;
    first.kill().await;
    emit(&broker, 20..30).await;

    let second = pipeline(&stages);
    all_alerted(&broker, 0..30).await;
    assert!(second.terminate().await.status.success());
    assert_eq!(pending(&broker).await, 0);
}

#[tokio::test]
async fn what_is_no_reading_is_kept_as_a_dead_letter() {
    let server = RedisServer::spawn().await;
    let broker = streamerson::connect(&server.url()).await.expect("a server that answers");
    let stages = pipeline(&format!("stages --broker {}", server.url()));
    let readings = Client::new(broker.clone()).topic(&topic("readings"));
    readings.emit("reading", "warm").await.expect("a server that answers");
    let dead = eventually("a dead letter", async || {
        let all = Range {
            key: topic("readings").dead(),
            from: EntryId::ZERO,
            to: EntryId::MAX,
            count: 1,
            newest_first: false,
        };
        broker.range(all).await.expect("a server that answers").pop()
    })
    .await;
    let (letter, _) = DeadLetter::split(&dead.fields).expect("a dead letter");
    assert_eq!((letter.reason, letter.group.as_str()), (Reason::Rejected, "converters"));
    assert!(stages.terminate().await.status.success());
}

#[tokio::test]
async fn a_screen_shows_what_comes() {
    let server = RedisServer::spawn().await;
    let parts = ["screen", "stages", "sensors", "alarm"];
    let processes = parts.map(|part| pipeline(&format!("{part} --broker {}", server.url())));
    let [screen, stages, sensors, alarm] = processes;
    screen.stdout_line("oven: 200.0 °C").await;
    alarm.stdout_line("alert: oven is at 200.0 °C").await;
    for process in [sensors, stages, screen, alarm] {
        assert!(process.terminate().await.status.success());
    }
}
