//! A server, workers, and a gateway in front of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::StatusCode;
use streamerson::consumer::{Consumer, Incoming};
use streamerson::core::{Headers, Problem, Reply, SharedBroker, Topic};
use streamerson_test::{Process, RedisServer};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

use super::{
    http::{Answer, Connection, Wire},
    http2::Http2,
    tls::Authority,
};
use crate::support::command;

/// A gateway that runs.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: String,
    /// Whose certificate it shows, where it speaks TLS.
    authority: Option<Authority>,
}

impl Gateway {
    /// Starts a gateway on a port of its own, with this configuration; its file lives in the server's directory.
    pub(crate) async fn start(server: &RedisServer, name: &str, config: &str) -> Self {
        let path = write(server, name, &format!("listen = \"127.0.0.1:0\"\n{config}"));
        Self::run(server, &path, None, "").await
    }

    /// As [`Gateway::start`], with TLS.
    pub(crate) async fn start_tls(server: &RedisServer, name: &str, config: &str, authority: &Authority) -> Self {
        authority.sign(server.directory(), name);
        let tls = format!("[tls]\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\n");
        let path = write(server, name, &format!("listen = \"127.0.0.1:0\"\n{tls}{config}"));
        Self::run(server, &path, Some(authority.clone()), "").await
    }

    /// Starts a gateway with this file, and logs what the filter lets through where there is one.
    pub(crate) async fn run(server: &RedisServer, path: &Path, authority: Option<Authority>, log: &str) -> Self {
        let mut command = command(&format!("gateway --config {}", path.display()));
        command.env("STREAMERSON_BROKER", server.url());
        if !log.is_empty() {
            command.env("RUST_LOG", log);
        }
        let process = Process::spawn(command);
        let listening = if authority.is_some() { "listening on https://" } else { "listening on http://" };
        let line = process.stderr_line(listening).await;
        let address = line.strip_prefix(listening).expect("an address").to_owned();
        Self { process, address, authority }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::over(self.wire(&["http/1.1"]).await.expect("a gateway that accepts"))
    }

    /// A connection of HTTP/2.
    pub(crate) async fn connect_http2(&self) -> Http2 {
        Http2::over(self.wire(&["h2"]).await.expect("a gateway that accepts")).await
    }

    /// A connection on which one of these protocols is to be spoken.
    pub(crate) async fn wire(&self, protocols: &[&str]) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(&self.address).await?;
        Ok(match &self.authority {
            Some(authority) => Box::new(authority.handshake(stream, protocols).await?),
            None => Box::new(stream),
        })
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.connect().await.exchange(line, headers, body).await.expect("an answer")
    }

    /// The connection to the admin listener.
    pub(crate) async fn admin(&self) -> Connection {
        let line = self.process.stderr_line("admin on http://").await;
        let address = line.strip_prefix("admin on http://").expect("an address");
        Connection::open(address).await.expect("a gateway that accepts")
    }
}

/// Writes a configuration to a file.
pub(crate) fn write(server: &RedisServer, name: &str, config: &str) -> PathBuf {
    let path = server.directory().join(format!("{name}.toml"));
    fs::write(&path, config).expect("a directory to write to");
    path
}

/// A worker that does as the path says: the first parameter of the route is what to answer.
pub(crate) struct Worker {
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Worker {
    pub(crate) async fn start(broker: &SharedBroker, topic: &str) -> Self {
        let topic = Topic::new(topic).expect("a topic");
        let consumer = Consumer::new(topic).fallback(scripted).block(Duration::from_millis(100)).drain(Duration::ZERO);
        let (stop, stopped) = oneshot::channel();
        let run = consumer.run(broker.clone(), async { _ = stopped.await });
        let running = tokio::spawn(async { run.await.expect("a worker that runs") });
        Self { stop, running }
    }

    pub(crate) async fn stop(self) {
        _ = self.stop.send(());
        self.running.await.expect("no panic");
    }
}

/// How long a reply takes that is slow.
pub(crate) const SLOW: Duration = Duration::from_millis(800);

/// What keeps replies back until there is a permit.
pub(crate) static HELD: Semaphore = Semaphore::const_new(0);

async fn scripted(incoming: Incoming) -> Result<Reply, Problem> {
    let message = incoming.message();
    let reply = match message.headers.get("http.param.case").unwrap_or("echo") {
        "empty" => Reply::new(""),
        "created" => Reply::new("{}").with_status(StatusCode::CREATED).with_header("http.header.location", "/7"),
        "teapot" => Reply::new("short").with_status(StatusCode::IM_A_TEAPOT).with_content_type("text/plain"),
        "refused" => return Err(Problem::new(StatusCode::CONFLICT).with_detail("sold out")),
        "panic" => panic!("as asked"),
        "unusable" => Reply::new("{}").with_header(Headers::STATUS, "999"),
        "never" => std::future::pending().await,
        "slow" => {
            tokio::time::sleep(SLOW).await;
            Reply::new("\"slow\"")
        }
        "held" => {
            _ = HELD.acquire().await;
            Reply::new("\"held\"")
        }
        _ => Reply::new(message.payload.clone()),
    };
    Ok(reply)
}
