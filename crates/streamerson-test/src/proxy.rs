//! A network that misbehaves on demand.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What is forwarded at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// One way through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a wire has two ends")]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// The weather, shared by all connections.
#[derive(Clone, Debug, Default)]
struct Weather {
    refuse: bool,
    delay: Duration,
    hold_to_server: bool,
    hold_to_client: bool,
    /// Counts the cuts: a connection that is older than the last one closes.
    cuts: u64,
    /// Counts the half-closes of either direction, in the same way.
    closes_to_server: u64,
    closes_to_client: u64,
}

impl Weather {
    fn holds(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.hold_to_server,
            Direction::ToClient => self.hold_to_client,
        }
    }

    fn closes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::ToServer => self.closes_to_server,
            Direction::ToClient => self.closes_to_client,
        }
    }
}

/// A TCP proxy in front of a server, with faults to switch on and off. Its connections end when it is dropped.
///
/// A request whose reply is lost, for instance: [`blackhole`](Self::blackhole) the way to the client, await the
/// request's effect at the server, [`cut`](Self::cut), [`restore`](Self::restore).
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    server: watch::Sender<SocketAddr>,
    weather: watch::Sender<Weather>,
    accepted: watch::Sender<u64>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of `server`, on a free port.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let weather = watch::Sender::new(Weather::default());
        let accepted = watch::Sender::new(0);
        let server = watch::Sender::new(server);
        let acceptor = tokio::spawn(accept(listener, server.clone(), weather.clone(), accepted.clone()));
        Self { address, server, weather, accepted, acceptor }
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections to another server, as an address does after a failover. Open ones go on where they are.
    pub fn redirect(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// Closes every open connection now, towards both ends. New ones are served.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Closes every new connection as soon as it is made. Open ones go on.
    pub fn refuse(&self) {
        self.weather.send_modify(|weather| weather.refuse = true);
    }

    /// Holds every chunk of bytes for `delay`, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Stops forwarding one way, on open connections and new ones, without closing anything. After
    /// [`restore`](Self::restore), what was held arrives, as after an outage of a real network.
    pub fn blackhole(&self, direction: Direction) {
        self.weather.send_modify(|weather| match direction {
            Direction::ToServer => weather.hold_to_server = true,
            Direction::ToClient => weather.hold_to_client = true,
        });
    }

    /// Ends one way of every open connection, as a peer that writes no more: the receiver reads an end of stream, and
    /// the other way goes on.
    pub fn half_close(&self, direction: Direction) {
        self.weather.send_modify(|weather| match direction {
            Direction::ToServer => weather.closes_to_server += 1,
            Direction::ToClient => weather.closes_to_client += 1,
        });
    }

    /// Ends every fault: connections are accepted, nothing is held or delayed.
    pub fn restore(&self) {
        self.weather.send_modify(|weather| {
            weather.refuse = false;
            weather.delay = Duration::ZERO;
            weather.hold_to_server = false;
            weather.hold_to_client = false;
        });
    }

    /// How many connections were made so far, refused ones included.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Waits until at least `count` connections were made, refused ones included.
    pub async fn wait_accepted(&self, count: u64) {
        // The sender lives in `self`, so the channel cannot be closed.
        let _ = self.accepted.subscribe().wait_for(|accepted| *accepted >= count).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    server: watch::Sender<SocketAddr>,
    weather: watch::Sender<Weather>,
    accepted: watch::Sender<u64>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        // Before the count says so: a fault that follows `wait_accepted` reaches this connection.
        let seen = weather.subscribe();
        let born = seen.borrow().clone();
        if !born.refuse {
            let server = *server.borrow();
            tokio::spawn(serve(client, server, born, seen));
        }
        accepted.send_modify(|count| *count += 1);
    }
}

async fn serve(client: TcpStream, server: SocketAddr, born: Weather, weather: watch::Receiver<Weather>) {
    let mut cuts = weather.clone();
    let forward = async {
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pump(from_client, to_server, Direction::ToServer, &born, weather.clone()),
            pump(from_server, to_client, Direction::ToClient, &born, weather.clone()),
        );
    };
    tokio::select! {
        () = forward => {}
        _ = cuts.wait_for(|now| now.cuts > born.cuts) => {}
    }
}

/// Forwards one way until either end is done, then passes the end on.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    born: &Weather,
    mut weather: watch::Receiver<Weather>,
) {
    let closed = {
        let (mut weather, born) = (weather.clone(), born.closes(direction));
        async move { weather.wait_for(|now| now.closes(direction) > born).await.is_ok() }
    };
    let copied = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            let delay = weather.borrow().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let clear = weather.wait_for(|now| !now.holds(direction)).await.is_ok();
            if !clear || to.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = copied => {}
        _ = closed => {}
    }
    let _ = to.shutdown().await;
}
