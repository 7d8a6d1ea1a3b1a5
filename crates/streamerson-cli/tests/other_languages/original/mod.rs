//! Programs that use the TypeScript package of the original, as it is in the registry, on both sides of ours.
//!
//! What they do is in `original.cjs`. The topic is theirs, `new Topic({ namespace: "shop", topic: "orders" })`, and ours with
//! the wire `js`.

mod asking;
mod events;
mod payloads;
mod restarts;
mod serving;

use std::process::Command;

use streamerson::{
    Client, SharedBroker, Topic,
    core::{Entry, EntryId, StreamKey, broker::Range, wire::WireFormat},
};
use streamerson_test::{Process, RedisServer};

use crate::{gateway::Gateway, install::Installer};

const PACKAGE: &str = "@streamerson/core@0.0.19";
const CONFIG: &str = include_str!("../../../../../examples/polyglot/gateway.toml");

/// A server, and what uses it.
struct Scene {
    server: RedisServer,
    broker: SharedBroker,
    topic: Topic,
}

impl Scene {
    async fn new() -> Self {
        let server = RedisServer::spawn().await;
        let broker = streamerson::connect(&server.url()).await.unwrap();
        Self { server, broker, topic: Topic::new("shop:orders").unwrap().with_wire(WireFormat::Js) }
    }

    fn client(&self) -> Client {
        Client::new(self.broker.clone()).with_timeout(std::time::Duration::from_secs(60))
    }

    /// A program of the original that is ready, in this role and with this further argument.
    async fn original(&self, role: &str, argument: &str) -> Process {
        let program = self.start_original(role, argument);
        program.stdout_line("ready").await;
        program
    }

    fn start_original(&self, role: &str, argument: &str) -> Process {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/other_languages/original/original.cjs"));
        command.args([role, &self.server.address().port().to_string(), "shop", "orders", argument]);
        Process::spawn({
            command.env("NODE_PATH", Installer::Npm.installed(PACKAGE).join("node_modules"));
            command
        })
    }

    /// A command of ours, split at spaces, with these last arguments.
    fn ours(&self, arguments: &str, last: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamerson"));
        command.args(arguments.split(' ')).args(last).env("STREAMERSON_BROKER", self.server.url());
        Process::spawn(command)
    }

    /// A gateway in front of the topic. Its timeout is one for a busy machine.
    async fn gateway(&self) -> Gateway {
        let config = CONFIG.replace("\"5s\"", "\"60s\"").replace("\"orders\"", "\"shop:orders\"");
        Gateway::start(&self.server, &format!("{config}\n[topic.\"shop:orders\"]\nwire = \"js\"\n")).await
    }

    async fn entries(&self, key: StreamKey) -> Vec<Entry> {
        let range = Range { key, from: EntryId::ZERO, to: EntryId::MAX, count: usize::MAX >> 1, newest_first: false };
        self.broker.range(range).await.unwrap()
    }

    /// How many requests the topic holds.
    async fn asked(&self) -> usize {
        self.entries(self.topic.inbound()).await.len()
    }
}
