//! A real Redis server for one test.

use std::{
    env,
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tokio::net::UnixStream;

use crate::{
    resp::{RespClient, Value},
    scratch_dir::ScratchDir,
    signal::Signal,
};

/// How long a server may take to answer, or to stop, before the test fails.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause between two looks at a server that starts or stops.
const INTERVAL: Duration = Duration::from_millis(5);

/// Ports for servers, below those that Linux and macOS pick for outgoing connections.
const PORTS: Range<u16> = 10_000..32_000;

/// How often another port is tried when the chosen one was taken before the server bound it.
const PORTS_MAX: usize = 10;

/// A running `redis-server` with a port and a directory of its own, killed on drop.
///
/// The program is `$REDIS_SERVER`, else the `redis-server` found on `$PATH`; so the same tests run against Valkey by
/// `REDIS_SERVER=valkey-server`.
///
/// ```no_run
/// # async fn example() {
/// let server = streamerson_test::RedisServer::spawn().await;
/// assert_eq!(server.command(["PING"]).await.text(), "PONG");
/// # }
/// ```
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    arguments: Vec<OsString>,
    password: Option<String>,
    port: u16,
    // Declared before the directory, so that the process is gone when the directory is removed.
    process: Option<ServerProcess>,
    directory: ScratchDir,
}

/// The process itself, apart so that a panic in a half-built [`RedisServer`] ends it as well.
#[derive(Debug)]
struct ServerProcess(Child);

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // SIGKILL ends a frozen process too; an error means that it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server is started with; made by [`RedisServer::builder`].
#[derive(Debug, Default)]
#[must_use]
pub struct RedisServerBuilder {
    arguments: Vec<OsString>,
    password: Option<String>,
}

impl RedisServerBuilder {
    /// Adds a setting, as in `redis.conf`: `setting("appendonly", "yes")`. Later ones win.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.arguments.push(format!("--{name}").into());
        self.arguments.push(value.into());
        self
    }

    /// Asks clients for a password.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.setting("requirepass", password)
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// If there is no `redis-server`, or it does not come up.
    pub async fn spawn(self) -> RedisServer {
        let mut server = RedisServer {
            program: find_program(),
            arguments: self.arguments,
            password: self.password,
            port: 0,
            process: None,
            directory: ScratchDir::new(),
        };
        for _ in 0..PORTS_MAX {
            server.port = free_port();
            match server.try_start().await {
                Ok(()) => return server,
                Err(reason) if reason.contains("ddress already in use") => {}
                Err(reason) => panic!("{reason}"),
            }
        }
        panic!("{PORTS_MAX} free ports in a row were taken before redis-server bound them");
    }
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    ///
    /// # Panics
    ///
    /// If there is no `redis-server`, or it does not come up.
    pub async fn spawn() -> Self {
        Self::builder().spawn().await
    }

    /// A server with other settings.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::default()
    }

    /// The server's address as a broker URL, password included: `redis://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.address())
    }

    /// The broker URL of this server behind another address, such as a [`Proxy`](crate::Proxy)'s.
    #[must_use]
    pub fn url_through(&self, address: SocketAddr) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@{address}"),
            None => format!("redis://{address}"),
        }
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The server's Unix socket.
    #[must_use]
    pub fn unix_socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// The server's directory, with its log and whatever it persists.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sends one command on a connection of its own and awaits the reply: `server.command(["XLEN", key])`.
    /// A server's error is a [`Value::Error`].
    ///
    /// # Panics
    ///
    /// If the server cannot be reached.
    pub async fn command<A: AsRef<[u8]>>(&self, command: impl IntoIterator<Item = A>) -> Value {
        self.client().await.command(command).await.expect("the server answers a command")
    }

    /// A connection to the server, for several commands in a row.
    ///
    /// # Panics
    ///
    /// If the server cannot be reached.
    pub async fn client(&self) -> RespClient {
        self.try_client().await.unwrap_or_else(|error| panic!("cannot reach {}: {error}", self.address()))
    }

    /// Stops the server in an orderly way and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If it does not run, or does not stop.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("a running server");
        Signal::Terminate.send(process.0.id());
        let started = Instant::now();
        while process.0.try_wait().expect("the server's status").is_none() {
            assert!(started.elapsed() < PATIENCE, "redis-server did not stop within {PATIENCE:?}");
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Kills the server at once, as a crash would.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("a running server");
    }

    /// Starts a stopped or killed server again, on the same port and with the same directory and settings.
    ///
    /// # Panics
    ///
    /// If it runs already, or does not come up.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        if let Err(reason) = self.try_start().await {
            panic!("{reason}");
        }
    }

    /// Freezes the server: connections stay open and nothing answers.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn pause(&self) {
        Signal::Stop.send(self.pid());
    }

    /// Thaws a frozen server.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn resume(&self) {
        Signal::Continue.send(self.pid());
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").0.id()
    }

    async fn try_client(&self) -> io::Result<RespClient> {
        let mut client = RespClient::connect(self.address()).await?;
        if let Some(password) = &self.password {
            client.command(["AUTH", password]).await?;
        }
        Ok(client)
    }

    /// Starts the process and awaits its first `PONG`; the error is the reason and the server's log.
    async fn try_start(&mut self) -> Result<(), String> {
        let log = self.directory.path().join("redis.log");
        let child = Command::new(&self.program)
            .current_dir(self.directory.path())
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(self.unix_socket())
            .arg("--logfile")
            .arg(&log)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", self.program.display()))?;
        let mut process = ServerProcess(child);
        let started = Instant::now();
        loop {
            if let Some(status) = process.0.try_wait().expect("the server's status") {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("redis-server ended by itself ({status}):\n{log}"));
            }
            if self.answers().await {
                self.process = Some(process);
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("redis-server did not answer within {PATIENCE:?}:\n{log}"));
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Whether this very server, done with loading, answers a ping.
    async fn answers(&self) -> bool {
        // Another test's server may have taken the port and answer in the place of ours, which is about to give up. The
        // Unix socket lies in our own directory, and Redis binds the port before it.
        if UnixStream::connect(self.unix_socket()).await.is_err() {
            return false;
        }
        let Ok(mut client) = self.try_client().await else { return false };
        matches!(client.command(["PING"]).await, Ok(Value::Status(pong)) if pong == "PONG")
    }
}

/// The server's program. There is no way to skip: a test that did not run must not look like one that passed.
fn find_program() -> PathBuf {
    if let Some(program) = env::var_os("REDIS_SERVER") {
        return program.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join("redis-server"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no redis-server found: run the tests by `cargo xtask test`, which installs it, \
             or install the package `redis-server` (or `redis`), or set $REDIS_SERVER to its path"
            )
        })
}

/// A port that was free a moment ago. Another process may take it first, so the caller tries again.
///
/// Not one that the system picks: those are also the local ports of outgoing connections, one of which could sit on
/// the port of a server that is stopped and to be started again.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test programs that run at the same time begin in different places.
        let number = (process::id().wrapping_mul(97)).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(number % u32::from(PORTS.end - PORTS.start)).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
