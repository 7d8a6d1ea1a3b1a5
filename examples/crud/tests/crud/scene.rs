//! The processes and their file.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use streamerson_test::{Process, RedisServer};

use crate::http::{self, Answer};

pub(crate) fn crud(arguments: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crud"));
    command.args(arguments.split_whitespace()).env_remove("RUST_LOG");
    Process::spawn(command)
}

pub(crate) fn dune() -> Value {
    json!({"isbn": "978-0441013593", "title": "Dune", "author": "Frank Herbert"})
}

/// A process that listens, and the file of its workers.
pub(crate) struct Scene {
    process: Process,
    url: String,
    database: PathBuf,
}

impl Scene {
    /// Gateway, worker and broker in one process.
    pub(crate) async fn in_one_process() -> Self {
        let database = scratch_file();
        Self::listening(&format!("--database {}", database.display()), database).await
    }

    /// Only the gateway.
    pub(crate) async fn over(server: &RedisServer) -> Self {
        Self::listening(&format!("gateway --broker {}", server.url()), scratch_file()).await
    }

    async fn listening(arguments: &str, database: PathBuf) -> Self {
        let process = crud(&format!("{arguments} --listen 127.0.0.1:0"));
        let line = process.stderr_line("listening on http://").await;
        let url = line.split_once("listening on ").expect("an address").1.to_owned();
        Self { process, url, database }
    }

    pub(crate) fn worker(&self, server: &RedisServer) -> Process {
        crud(&format!("worker --broker {} --lease 2 --database {}", server.url(), self.database.display()))
    }

    pub(crate) async fn stop(self) {
        let Self { process, database, .. } = self;
        let finished = process.terminate().await;
        assert!(finished.status.success(), "{}", finished.stderr);
        // SQLite's own two files beside it go with the last connection.
        _ = std::fs::remove_file(database);
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &["content-type: application/json"], &body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, headers: &[&str], body: &Value) -> Answer {
        let headers = [&["content-type: application/json"], headers].concat();
        self.send("PUT", path, &headers, &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, headers: &[&str]) -> Answer {
        self.send("DELETE", path, headers, "").await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        http::send(method, &format!("{}{path}", self.url), headers, body).await
    }
}

/// A file of this test's own, in cargo's directory for such.
fn scratch_file() -> PathBuf {
    let name = format!("books-{}.sqlite", streamerson::core::MessageId::unique().as_str());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}
