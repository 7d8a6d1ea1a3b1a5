//! Running the program, and looking at what came of it.

use std::process::Command;

use serde_json::Value;
use streamerson::core::{SharedBroker, Topic};
use streamerson_test::{Finished, Process, RedisServer};

/// The program with these arguments, split at spaces, and nothing of the tester's own environment.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamerson"));
    command.args(arguments.split_whitespace());
    for variable in ["STREAMERSON_BROKER", "RUST_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// A server, and the program pointed at it.
pub(crate) struct Scene {
    pub(crate) server: RedisServer,
    pub(crate) broker: SharedBroker,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::spawn().await;
        let broker = streamerson::connect(&server.url()).await.expect("a server that answers");
        Self { server, broker }
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = command(arguments);
        command.env("STREAMERSON_BROKER", self.server.url());
        command
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &str) -> Process {
        Process::spawn(self.command(arguments))
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &str) -> Finished {
        self.start(arguments).wait().await
    }

    /// Runs the program to its end with this input.
    pub(crate) async fn run_with(&self, arguments: &str, input: &[u8]) -> Finished {
        let mut process = self.start(arguments);
        process.write_stdin(input).await;
        process.close_stdin();
        process.wait().await
    }

    /// Returns the number of entries that were ever appended to the inbound stream of a topic.
    pub(crate) async fn entries_appended(&self, topic: &str) -> u64 {
        let key = Topic::new(topic).expect("a topic").inbound();
        let info = self.broker.stream_info(&key).await.expect("a server that answers").expect("a stream");
        info.appended.expect("a server that counts entries")
    }

    /// How many entries a group has that are delivered and not settled, and that are not delivered.
    pub(crate) async fn pending_and_lag(&self, topic: &str, group: &str) -> Option<(u64, Option<u64>)> {
        let key = Topic::new(topic).expect("a topic").inbound();
        let groups = self.broker.groups(&key).await.expect("a server that answers");
        groups.into_iter().find(|info| info.name.as_str() == group).map(|info| (info.pending, info.lag))
    }
}

/// Runs the program to its end, without a broker.
pub(crate) async fn run(arguments: &str) -> Finished {
    Process::spawn(command(arguments)).wait().await
}

/// What a program that was to succeed printed.
#[track_caller]
pub(crate) fn stdout_of(finished: &Finished) -> &str {
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    &finished.stdout
}

/// The lines of JSON that a program printed that was to succeed.
#[track_caller]
pub(crate) fn json_of(finished: &Finished) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    stdout_of(finished).lines().map(parse).collect()
}

/// Checks how a program failed: its exit status, its silence on the standard output, and parts of what it said.
#[track_caller]
pub(crate) fn assert_fails(finished: &Finished, code: i32, said: &[&str]) {
    let Finished { status, stdout, stderr, .. } = finished;
    assert_eq!((status.code(), stdout.as_str()), (Some(code), ""), "{stderr}");
    for part in said {
        assert!(stderr.contains(part), "{part:?} is not in:\n{stderr}");
    }
}
