//! A standalone gateway over the embedded broker, a worker behind it, a raw connection, and a witness.

use std::{convert::Infallible, fmt, net::SocketAddr, str::FromStr, time::Duration};

use streamerson_core::{Message, Metrics};
use streamerson_gateway::server::{Config, Overrides, Server};
use streamerson_test::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::support::{Bench, echo};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const ROUTES: &str = r#"
[[route]]
method = "POST"
path = "/ask/{case}"
topic = "orders"
event = "order.update"
timeout = "15s"
forward_headers = ["x-a", "x-hop"]

[[route]]
method = "GET"
path = "/ask/{case}"
topic = "orders"
event = "order.get"
forward_headers = ["x-a", "x-hop"]

[[route]]
method = "POST"
path = "/hurry"
topic = "orders"
event = "order.update"
timeout = "300ms"

[[route]]
method = "POST"
path = "/large"
topic = "orders"
event = "order.update"
body_bytes_max = 33554432

[[route]]
method = "*"
path = "/shop/{*rest}"
topic = "orders"
mode = "http"

[[route]]
method = "POST"
path = "/principal"
topic = "orders"
event = "order.update"
timeout = "15s"
[route.idempotency]
principal = "x-user"

[[route]]
method = "POST"
path = "/sharded"
topic = "parts"
shard_by = "x-customer"
event = "part.update"

[[route]]
method = "POST"
path = "/principal-host"
topic = "orders"
event = "order.update"
[route.idempotency]
principal = "host"

[[route]]
method = "POST"
path = "/sharded-by-host"
topic = "parts"
shard_by = "host"
event = "part.update"
mode = "emit"

[topic.parts]
shards = 2
"#;

/// An address that leads to the embedded broker, whatever it says.
#[derive(Debug, Clone, PartialEq)]
struct Address(String);

impl FromStr for Address {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A gateway that runs until the scene is dropped.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) address: SocketAddr,
    /// What the worker got.
    pub(crate) messages: mpsc::UnboundedReceiver<Message>,
    metrics: Metrics,
    _stop: oneshot::Sender<()>,
}

impl Scene {
    /// With a worker that answers what the request was.
    pub(crate) async fn new() -> Self {
        Self::with("", echo).await
    }

    /// With these `[limits]`, and with this worker.
    pub(crate) async fn with(limits: &str, worker: impl Fn(&Message) -> Option<Message> + Send + 'static) -> Self {
        let bench = Bench::new();
        let messages = bench.consume(worker).await;
        let text = format!("listen = \"127.0.0.1:0\"\nbroker = \"redis://x\"\n[limits]\n{limits}\n{ROUTES}");
        let config = Config::<Address>::parse("g.toml", &text, Overrides::default()).unwrap();
        let server = Server::bind(config, async |_, _| Ok::<_, Infallible>(bench.broker.clone())).await.unwrap();
        let (address, metrics) = (server.address(), server.metrics().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.run(async { _ = stopped.await }));
        Self { bench, address, messages, metrics, _stop: stop }
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// A connection that takes little by itself.
    pub(crate) async fn connect_small(&self) -> Raw {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        Raw(socket.connect(self.address).await.unwrap())
    }

    /// The sum of a metric over its series that have this label.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> u64 {
        let page = self.metrics.scrape().await;
        let series = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Awaits that a metric has this value.
    pub(crate) async fn metric_becomes(&self, name: &str, label: &str, value: u64) {
        // A metric can only be read, so there is no event to await.
        eventually(&format!("{name} of {label} to be {value}"), async || {
            (self.metric(name, label).await == value).then_some(())
        })
        .await;
    }

    /// Sends these bytes on a connection of their own, and answers all that comes until the server closes it.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut raw = self.connect().await;
        raw.send(bytes).await;
        raw.rest().await
    }

    /// Whether the next that the worker gets has this payload: whatever was refused before has not come to it.
    pub(crate) async fn worker_gets(&mut self, payload: &str) {
        let next = timeout(PATIENCE, self.messages.recv()).await.expect("a message in time").unwrap();
        assert_eq!(next.payload, payload);
    }

    /// The next message that the worker gets, which has the payload `held`.
    pub(crate) async fn held(&mut self) -> Message {
        let next = timeout(PATIENCE, self.messages.recv()).await.expect("a message in time").unwrap();
        assert_eq!(next.payload, "held");
        next
    }

    /// Somebody who asks all the time, and is answered.
    pub(crate) async fn witness(&self) -> Witness {
        let mut raw = self.connect().await;
        let (stop, mut stopped) = oneshot::channel();
        let asking = tokio::spawn(async move {
            let mut asked = 0;
            while stopped.try_recv().is_err() {
                raw.send(post("/ask/witness", &[], "\"fine\"")).await;
                let response = raw.response().await;
                assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
                asked += 1;
            }
            asked
        });
        Witness { stop, asking }
    }
}

/// See [`Scene::witness`].
pub(crate) struct Witness {
    stop: oneshot::Sender<()>,
    asking: JoinHandle<u32>,
}

impl Witness {
    /// It was answered all the time.
    pub(crate) async fn was_not_disturbed(self) {
        self.stop.send(()).unwrap();
        assert!(timeout(PATIENCE, self.asking).await.expect("an answer in time").unwrap() > 0);
    }
}

/// A request with these headers and this body.
pub(crate) fn post(path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A connection on which anything can be said.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    /// Sends these bytes, as far as the server takes them.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// All that comes until the server closes, as text.
    pub(crate) async fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_of_bytes().await).into_owned()
    }

    pub(crate) async fn rest_of_bytes(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A server that closes with unread bytes resets the connection, after what it sent.
        let read = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "it is not closed after {:?}", String::from_utf8_lossy(&rest));
        rest
    }

    /// The next response that has a `content-length`.
    pub(crate) async fn response(&mut self) -> String {
        let mut response = Vec::new();
        let whole = async {
            loop {
                response.push(self.0.read_u8().await.unwrap());
                if response.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            let head = String::from_utf8_lossy(&response).to_ascii_lowercase();
            let len = head
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
            let mut body = vec![0; len];
            self.0.read_exact(&mut body).await.unwrap();
            response.extend(body);
        };
        timeout(PATIENCE, whole).await.expect("a response in time");
        String::from_utf8_lossy(&response).into_owned()
    }
}
