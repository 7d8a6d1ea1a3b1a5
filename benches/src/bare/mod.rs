//! The `redis` crate as a careful user would drive it: multiplexed connections, pipelines that form by themselves, a
//! connection for each blocking reader, replies and acks in one transaction.

mod entries;
mod writer;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Pipeline, RedisError,
    aio::{ConnectionLike, MultiplexedConnection},
    io::tcp::TcpSettings,
};
use streamerson_test::RedisServer;
use tokio::{sync::oneshot, task::JoinSet};

use self::{
    entries::{Entry, entries},
    writer::Writer,
};
use crate::{
    Failure,
    load::keep_in_flight,
    measure::{Meter, Sample, ServerProcess},
    message::{BLOCK_MS, GROUP, INBOUND, INBOX, Line, PAYLOAD, READ_MAX},
    raw,
    workload::Workload,
};

/// Batches of a worker that are being settled while it reads on, at most.
const SETTLING_MAX: usize = 4;

pub(crate) async fn run(server: &RedisServer, workload: Workload, ops: usize) -> Result<Sample, Failure> {
    let process = ServerProcess::of(server).await?;
    let warm_up = ops / 20;
    match workload {
        Workload::Publish => {
            publish(Writer::new(connect(server).await?), warm_up).await;
            let meter = Meter::start(Some(process))?;
            publish(Writer::new(connect(server).await?), ops).await;
            Ok(meter.stop(ops, Vec::new())?)
        }
        Workload::Emit512 => {
            let writer = Arc::new(Writer::new(connect(server).await?));
            emit(&writer, workload.in_flight(), warm_up).await;
            let meter = Meter::start(Some(process))?;
            let latencies = emit(&writer, workload.in_flight(), ops).await;
            Ok(meter.stop(ops, latencies)?)
        }
        Workload::Consume => {
            raw::make_group(server.address())?;
            raw::append(server.address(), 512, ops)?;
            let (reader, settler) = (connect(server).await?, connect(server).await?);
            let meter = Meter::start(Some(process))?;
            tokio::spawn(work(reader, settler, Work::Ack, ops)).await?;
            Ok(meter.stop(ops, Vec::new())?)
        }
        Workload::Call1 | Workload::Call64 | Workload::Call512 => {
            raw::make_group(server.address())?;
            let worker = work(connect(server).await?, connect(server).await?, Work::Answer, warm_up + ops);
            let worker = tokio::spawn(worker);
            let caller = Caller::new(connect(server).await?, connect(server).await?);
            caller.call(workload.in_flight(), warm_up).await;
            let meter = Meter::start(Some(process))?;
            let latencies = caller.call(workload.in_flight(), ops).await;
            let sample = meter.stop(ops, latencies)?;
            worker.await?;
            Ok(sample)
        }
    }
}

async fn connect(server: &RedisServer) -> Result<MultiplexedConnection, RedisError> {
    let info = server.url().into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    // A response timeout would end blocking reads.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
}

async fn publish(writer: Writer, ops: usize) {
    let task = tokio::spawn(async move {
        let mut line = Line::event();
        for number in 0..ops {
            writer.send(append(line.with_id(number))).await;
        }
        writer.finish().await;
    });
    task.await.expect("a producer that does not panic");
}

async fn emit(writer: &Arc<Writer>, in_flight: usize, ops: usize) -> Vec<Duration> {
    let writer = Arc::clone(writer);
    keep_in_flight(in_flight, ops, move |number| {
        let writer = Arc::clone(&writer);
        async move { writer.confirm(append(Line::event().with_id(number))).await }
    })
    .await
}

fn append(line: &[u8]) -> Cmd {
    let mut command = Cmd::with_capacity(9, 32 + INBOUND.len() + line.len() + PAYLOAD.len());
    command.arg("XADD").arg(INBOUND).arg("*").arg("m").arg(line).arg("h").arg("").arg("p").arg(PAYLOAD);
    command
}

/// What a worker does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Ack,
    Answer,
}

/// Works on so many messages, and goes on reading while batches are being settled.
async fn work(mut reader: MultiplexedConnection, settler: MultiplexedConnection, work: Work, ops: usize) {
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg("bare").arg("COUNT").arg(READ_MAX).arg("BLOCK").arg(BLOCK_MS);
    read.arg("STREAMS").arg(INBOUND).arg(">");
    let mut settling = JoinSet::new();
    let mut taken = 0;
    while taken < ops {
        let batch = entries(reader.req_packed_command(&read).await.expect("the server delivers"));
        if batch.is_empty() {
            continue;
        }
        while settling.len() >= SETTLING_MAX {
            settling.join_next().await.transpose().expect("a batch that is settled");
        }
        taken += batch.len();
        settling.spawn(settle(settler.clone(), work, batch));
    }
    settling.join_all().await;
}

async fn settle(mut connection: MultiplexedConnection, work: Work, batch: Vec<Entry>) {
    let mut ack = Cmd::with_capacity(3 + batch.len(), 32 * batch.len());
    ack.arg("XACK").arg(INBOUND).arg(GROUP);
    for entry in &batch {
        ack.arg(&entry.id);
    }
    let outcome = match work {
        Work::Ack => connection.req_packed_command(&ack).await.map(drop),
        Work::Answer => {
            let mut transaction = Pipeline::with_capacity(batch.len() + 1);
            transaction.atomic();
            for entry in &batch {
                transaction.add_command(answer(entry));
            }
            transaction.add_command(ack).exec_async(&mut connection).await
        }
    };
    outcome.expect("the server settles");
}

fn answer(Entry { line, payload, .. }: &Entry) -> Cmd {
    let mut reply = Line::reply();
    let line = reply.with_id(Line::id_of(line).expect("a request of ours"));
    let mut command = Cmd::with_capacity(10, 64 + INBOX.len() + line.len() + payload.len());
    command.arg("XADD").arg(INBOX).arg("NOMKSTREAM").arg("*");
    command.arg("m").arg(line).arg("h").arg("").arg("p").arg(payload);
    command
}

/// Callers, who share a writer and a reader of replies.
struct Caller {
    writer: Arc<Writer>,
    waiting: Arc<Waiting>,
    /// Ends the reader with the caller.
    _reader: JoinSet<()>,
}

/// Who waits for which reply.
#[derive(Default)]
struct Waiting(Mutex<HashMap<usize, oneshot::Sender<Vec<u8>>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, oneshot::Sender<Vec<u8>>>> {
        self.0.lock().expect("nobody panics with the lock")
    }
}

impl Caller {
    fn new(appender: MultiplexedConnection, reader: MultiplexedConnection) -> Self {
        let waiting = Arc::new(Waiting::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(read_replies(reader, Arc::clone(&waiting)));
        Self { writer: Arc::new(Writer::new(appender)), waiting, _reader: tasks }
    }

    async fn call(&self, in_flight: usize, ops: usize) -> Vec<Duration> {
        let (writer, waiting) = (Arc::clone(&self.writer), Arc::clone(&self.waiting));
        keep_in_flight(in_flight, ops, move |number| {
            let (writer, waiting) = (Arc::clone(&writer), Arc::clone(&waiting));
            async move {
                let (sender, reply) = oneshot::channel();
                waiting.lock().insert(number, sender);
                writer.send(append(Line::request().with_id(number))).await;
                let payload = reply.await.expect("the reader runs");
                assert_eq!(payload.len(), PAYLOAD.len(), "a reply has the payload of its request");
            }
        })
        .await
    }
}

async fn read_replies(mut reader: MultiplexedConnection, waiting: Arc<Waiting>) {
    let mut cursor = b"0-0".to_vec();
    loop {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(1000).arg("BLOCK").arg(BLOCK_MS).arg("STREAMS").arg(INBOX).arg(&cursor);
        for Entry { id, line, payload } in entries(reader.req_packed_command(&read).await.expect("the server reads")) {
            let sender = Line::id_of(&line).and_then(|id| waiting.lock().remove(&id));
            // Nobody gives up waiting here.
            sender.map(|sender| sender.send(payload));
            cursor = id;
        }
    }
}
