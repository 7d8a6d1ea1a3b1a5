//! Against a real server, and against a scripted one for what a real one does not do on demand.

use std::sync::Arc;

use streamerson_test::RedisServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{driver::open, *};

fn config(url: &str) -> RedisConfig {
    RedisConfig::new(url.parse().unwrap())
        .response_timeout(Duration::from_millis(300))
        .reconnect_delay_max(Duration::from_millis(20))
}

async fn echo(shared: &Shared, text: &str) -> Result<Reply, BrokerError> {
    shared
        .call_one(text.len(), |batch| {
            batch.command(2).arg("ECHO").arg(text);
        })
        .await
}

async fn until(shared: &Shared, wanted: fn(&Health) -> bool) {
    let seen = shared.health().wait_for(wanted).await.map(|_| ());
    seen.unwrap();
}

/// Answers the handshake of a connection (name and id and ping, time, memory) with these replies.
async fn shake_hands(listener: &TcpListener, replies: &[&str]) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = [0; 4096];
    for reply in replies {
        assert_ne!(stream.read(&mut bytes).await.unwrap(), 0);
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
    stream
}

const WELCOME: [&str; 3] = ["+OK\r\n:7\r\n+PONG\r\n", "*2\r\n$1\r\n1\r\n$1\r\n0\r\n", "$0\r\n\r\n"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_get_their_own_replies() {
    let server = RedisServer::spawn().await;
    let shared = Arc::new(Shared::connect(config(&server.url())).await.unwrap());
    let callers = (0..200).map(|caller| {
        let shared = shared.clone();
        tokio::spawn(async move {
            for turn in 0..50 {
                // Some of them large enough to go out as a segment of their own.
                let text = format!("{caller}-{turn}-").repeat(if turn == 7 { 5000 } else { 1 });
                assert_eq!(echo(&shared, &text).await.unwrap(), Reply::Bulk(text.into()));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(shared.epoch(), 1);
}

#[tokio::test]
async fn the_servers_clock_is_known_at_once() {
    let server = RedisServer::spawn().await;
    let shared = Shared::connect(config(&server.url())).await.unwrap();
    let machine = UnixMillis::of_this_machine();
    assert!(shared.now().0.abs_diff(machine.0) < 1000);
}

#[tokio::test]
async fn a_lost_server_is_found_again() {
    let mut server = RedisServer::spawn().await;
    let shared = Shared::connect(config(&server.url())).await.unwrap();
    server.kill();
    until(&shared, |health| !health.is_up()).await;
    assert!(matches!(echo(&shared, "down").await, Err(BrokerError::Unavailable { .. })));
    server.start().await;
    until(&shared, |health| health.is_up()).await;
    assert_eq!(echo(&shared, "back").await.unwrap(), Reply::Bulk("back".into()));
    assert_eq!(shared.epoch(), 2);
}

#[tokio::test]
async fn a_silent_server_is_a_lost_one() {
    let server = RedisServer::spawn().await;
    let shared = Shared::connect(config(&server.url())).await.unwrap();
    server.pause();
    let error = echo(&shared, "anybody?").await.unwrap_err();
    assert!(matches!(&error, BrokerError::Interrupted { .. }), "{error}");
    assert!(error.to_string().contains("no answer within 300ms"), "{error}");
    // From now on everybody knows, and nobody waits for the next attempt.
    assert!(!shared.health().borrow().is_up());
    let begun = std::time::Instant::now();
    assert!(matches!(echo(&shared, "anybody?").await, Err(BrokerError::Unavailable { .. })));
    assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
    server.resume();
    until(&shared, |health| health.is_up()).await;
    echo(&shared, "again").await.unwrap();
}

#[tokio::test]
async fn what_is_in_flight_is_bounded() {
    let server = RedisServer::spawn().await;
    let config = config(&server.url())
        .in_flight_bytes_max(1000)
        .room_timeout(Duration::from_millis(50))
        .response_timeout(Duration::from_secs(60));
    let shared = Shared::connect(config).await.unwrap();
    // More than all the room there is: it goes when nothing else does.
    echo(&shared, &"x".repeat(5000)).await.unwrap();
    server.pause();
    shared.send(600, |batch| {
        batch.command(1).arg("PING");
    });
    assert!(matches!(echo(&shared, "full").await, Err(BrokerError::Saturated { .. })));
    server.resume();
    echo(&shared, &"x".repeat(5000)).await.unwrap();
}

#[tokio::test]
async fn a_refused_login_is_a_mistake_and_shows_no_password() {
    let server = RedisServer::builder().password("right").spawn().await;
    assert!(Shared::connect(config(&server.url())).await.is_ok());
    for login in ["", ":hunter2@", "nobody:hunter2@"] {
        let url = format!("redis://{login}{}", server.address());
        let error = Shared::connect(config(&url)).await.unwrap_err();
        assert!(matches!(error, BrokerError::Config { .. }), "{error}");
        assert!(error.to_string().contains("refuses the login"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let url = format!("redis://:right@{}/99", server.address());
    assert!(matches!(Shared::connect(config(&url)).await, Err(BrokerError::Config { .. })));
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(Shared::connect(config(&url)).await, Err(BrokerError::Unavailable { .. })));

    let lazy = Shared::connect_lazily(config(&url));
    assert!(matches!(echo(&lazy, "early").await, Err(BrokerError::Unavailable { .. })));
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_not_up_yet() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = Shared::connect_lazily(config(&format!("redis://{}", listener.local_addr().unwrap())));
    shake_hands(
        &listener,
        &["+OK\r\n-LOADING Redis is loading\r\n-LOADING Redis is loading the dataset in memory\r\n"],
    )
    .await;
    until(&shared, |health| !health.is_up()).await;
    let error = echo(&shared, "early").await.unwrap_err();
    assert!(error.to_string().contains("LOADING"), "{error}");

    let _stream = shake_hands(&listener, &WELCOME).await;
    until(&shared, |health| health.is_up()).await;
    assert_eq!(shared.epoch(), 1);
}

#[tokio::test]
async fn a_call_waits_for_the_first_attempt_after_a_loss() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = Shared::connect_lazily(config(&format!("redis://{}", listener.local_addr().unwrap())));
    let stream = shake_hands(&listener, &WELCOME).await;
    let mut phase = shared.link.phase.subscribe();
    phase.wait_for(|phase| matches!(phase, Phase::Up)).await.unwrap();

    drop(stream);
    phase.wait_for(|phase| matches!(phase, Phase::Connecting(_))).await.unwrap();
    let (reply, _) = tokio::join!(echo(&shared, "patient"), async {
        let mut stream = shake_hands(&listener, &[WELCOME[0], WELCOME[1], WELCOME[2], "$7\r\npatient\r\n"]).await;
        stream.flush().await.unwrap();
        stream
    });
    assert_eq!(reply.unwrap(), Reply::Bulk("patient".into()));
    assert_eq!(shared.epoch(), 2);
}

#[tokio::test]
async fn replies_that_nobody_asked_for_end_the_connection() {
    for nonsense in ["+PONG\r\n", "%1\r\n", "HTTP/1.1 400 Bad Request\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Shared::connect_lazily(config(&format!("redis://{}", listener.local_addr().unwrap())));
        let mut stream = shake_hands(&listener, &WELCOME).await;
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "{nonsense}");
        drop(shared);
    }
}

#[tokio::test]
async fn dropping_the_handle_sends_what_is_queued_and_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = Shared::connect_lazily(config(&format!("redis://{}", listener.local_addr().unwrap())));
    let mut stream = shake_hands(&listener, &WELCOME).await;
    shared.link.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Up)).await.unwrap();
    shared.send(0, |batch| {
        batch.command(1).arg("PING");
    });
    drop(shared);
    let mut bytes = [0; 64];
    let count = stream.read(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..count], b"*1\r\n$4\r\nPING\r\n");
    stream.write_all(b"+PONG\r\n").await.unwrap();
    assert_eq!(stream.read(&mut bytes).await.unwrap(), 0);
}

#[test]
fn a_call_after_the_end_of_the_runtime_fails() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (server, shared) = first.block_on(async {
        let server = RedisServer::spawn().await;
        let shared = Shared::connect(config(&server.url())).await.unwrap();
        (server, shared)
    });
    drop(first);
    let error = runtime().block_on(echo(&shared, "anybody?")).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    drop(server);
}

/// Counts warnings and informations; nothing else is logged above debug level.
#[derive(Default)]
struct Counter(Mutex<Vec<tracing::Level>>);

impl tracing::Subscriber for Counter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("streamerson_redis")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push(*event.metadata().level());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() {
    let logged = Arc::new(Counter::default());
    let _subscriber = tracing::subscriber::set_default(logged.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = Shared::connect_lazily(config(&format!("redis://{}", listener.local_addr().unwrap())));
    drop(shake_hands(&listener, &WELCOME).await);
    for _ in 0..5 {
        drop(listener.accept().await.unwrap());
    }
    until(&shared, |health| !health.is_up()).await;
    let _stream = shake_hands(&listener, &WELCOME).await;
    until(&shared, |health| health.is_up()).await;
    shared.link.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Up)).await.unwrap();
    let mut levels = logged.0.lock().unwrap().clone();
    levels.retain(|level| *level < tracing::Level::DEBUG);
    assert_eq!(levels, [tracing::Level::WARN, tracing::Level::INFO]);
}

#[tokio::test]
async fn a_server_that_drops_streams_is_warned_of_once() {
    let logged = Arc::new(Counter::default());
    let _subscriber = tracing::subscriber::set_default(logged.clone());
    let warnings = || logged.0.lock().unwrap().iter().filter(|level| **level == tracing::Level::WARN).count();
    let server =
        RedisServer::builder().setting("maxmemory", "1gb").setting("maxmemory-policy", "volatile-lru").spawn().await;
    let shared = Shared::connect(config(&server.url())).await.unwrap();
    assert_eq!(warnings(), 1);
    open(&shared.link).await.unwrap();
    assert_eq!(warnings(), 1);

    // Whoever may not ask is not told.
    server.command(["ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@all", "-info"]).await;
    let url = format!("redis://reader@{}", server.address());
    let quiet = Shared::connect(config(&url)).await.unwrap();
    assert_eq!(warnings(), 1);
    drop((shared, quiet));
}
