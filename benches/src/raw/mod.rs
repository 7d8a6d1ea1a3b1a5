//! The floor: blocking sockets, one thread for each side, and no more work for a message than to copy its bytes.
//!
//! There is no task, no lock, no allocation for a message, and nothing is checked: no real client can be this lean.

mod socket;

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use streamerson_test::RedisServer;

use self::socket::{Commands, Socket};
use crate::{
    Failure,
    measure::{Meter, Sample, ServerProcess},
    message::{BLOCK_MS, GROUP, INBOUND, INBOX, Line, PAYLOAD, READ_MAX},
    workload::Workload,
};

/// Appends in one write, at most.
const WRITE_MAX: usize = 128;
/// Writes that wait for their answers, at most, when nothing but the producer sets the pace.
const WRITES_MAX: usize = 4;

pub(crate) async fn run(server: &RedisServer, workload: Workload, ops: usize) -> Result<Sample, Failure> {
    let process = ServerProcess::of(server).await?;
    let address = server.address();
    match workload {
        Workload::Publish | Workload::Emit512 => {
            // A writer that has no tasks to serve knows one way to append, and this is the fastest.
            let in_flight = workload.in_flight().max(WRITE_MAX * WRITES_MAX);
            append(address, in_flight, ops / 20)?;
            let meter = Meter::start(Some(process))?;
            let latencies = append(address, in_flight, ops)?;
            // A publisher's messages have no latency of their own in the report.
            let latencies = if workload == Workload::Publish { Vec::new() } else { latencies };
            Ok(meter.stop(ops, latencies)?)
        }
        Workload::Consume => {
            make_group(address)?;
            append(address, WRITE_MAX * WRITES_MAX, ops)?;
            let meter = Meter::start(Some(process))?;
            consume(address, ops)?;
            Ok(meter.stop(ops, Vec::new())?)
        }
        Workload::Call1 | Workload::Call64 | Workload::Call512 => {
            make_group(address)?;
            let warm_up = ops / 20;
            let worker = thread::spawn(move || answer(address, warm_up + ops));
            let mut caller = Caller::connect(address)?;
            caller.call(workload.in_flight(), warm_up)?;
            let meter = Meter::start(Some(process))?;
            let latencies = caller.call(workload.in_flight(), ops)?;
            let sample = meter.stop(ops, latencies)?;
            worker.join().expect("a worker that does not panic")?;
            Ok(sample)
        }
    }
}

/// Makes the group, its stream, and the inbox.
pub(crate) fn make_group(address: SocketAddr) -> io::Result<()> {
    let mut socket = Socket::connect(address)?;
    for (key, group) in [(INBOUND, GROUP), (INBOX, "keep")] {
        socket.commands.command(6).arg("XGROUP").arg("CREATE").arg(key).arg(group).arg("0").arg("MKSTREAM");
    }
    socket.send()?;
    socket.skip(2)
}

/// Appends events and waits until all are confirmed.
pub(crate) fn append(address: SocketAddr, in_flight: usize, ops: usize) -> io::Result<Vec<Duration>> {
    let mut socket = Socket::connect(address)?;
    let mut line = Line::event();
    let mut since = Vec::with_capacity(ops);
    let mut latencies = Vec::with_capacity(ops);
    while latencies.len() < ops {
        while since.len() < ops && since.len() - latencies.len() < in_flight {
            let batch = WRITE_MAX.min(ops - since.len());
            for _ in 0..batch {
                encode_append(&mut socket.commands, line.with_id(since.len()));
                since.push(Instant::now());
            }
            socket.send()?;
        }
        let batch = WRITE_MAX.min(ops - latencies.len());
        for _ in 0..batch {
            socket.skip(1)?;
            latencies.push(since[latencies.len()].elapsed());
        }
    }
    Ok(latencies)
}

fn encode_append(commands: &mut Commands, line: &[u8]) {
    commands.command(9).arg("XADD").arg(INBOUND).arg("*").arg("m").arg(line).arg("h").arg("").arg("p").arg(PAYLOAD);
}

fn consume(address: SocketAddr, ops: usize) -> io::Result<()> {
    let mut socket = Socket::connect(address)?;
    let mut ids = Commands::default();
    let mut read = 0;
    ask_for_deliveries(&mut socket)?;
    while read < ops {
        let entries = read_entries(&mut socket, |id, _, _| {
            ids.arg(id);
        })?;
        read += entries;
        if entries > 0 {
            socket.commands.command(3 + entries).arg("XACK").arg(INBOUND).arg(GROUP).append(&mut ids);
        }
        // The ack and the next question are one write.
        let acks = usize::from(entries > 0);
        if read < ops {
            ask_for_deliveries(&mut socket)?;
        } else {
            socket.send()?;
        }
        socket.skip(acks)?;
    }
    Ok(())
}

/// The worker: each message's payload goes back to its inbox.
fn answer(address: SocketAddr, ops: usize) -> io::Result<()> {
    let mut reader = Socket::connect(address)?;
    let mut settler = Socket::connect(address)?;
    let (mut replies, mut ids) = (Commands::default(), Commands::default());
    let mut line = Line::reply();
    let (mut answered, mut owed) = (0, 0);
    while answered < ops {
        ask_for_deliveries(&mut reader)?;
        let entries = read_entries(&mut reader, |id, request, payload| {
            let line = line.with_id(Line::id_of(request).unwrap_or_default());
            replies.command(10).arg("XADD").arg(INBOX).arg("NOMKSTREAM").arg("*");
            replies.arg("m").arg(line).arg("h").arg("").arg("p").arg(payload);
            ids.arg(id);
        })?;
        if entries == 0 {
            continue;
        }
        // Those to the batch before: they are there already.
        settler.skip(owed)?;
        settler.commands.command(1).arg("MULTI").append(&mut replies);
        settler.commands.command(3 + entries).arg("XACK").arg(INBOUND).arg(GROUP).append(&mut ids);
        settler.commands.command(1).arg("EXEC");
        settler.send()?;
        owed = entries + 3;
        answered += entries;
    }
    settler.skip(owed)
}

fn ask_for_deliveries(socket: &mut Socket) -> io::Result<()> {
    let commands = socket.commands.command(11).arg("XREADGROUP").arg("GROUP").arg(GROUP).arg("raw");
    commands.arg("COUNT").arg(READ_MAX.to_string()).arg("BLOCK").arg(BLOCK_MS.to_string());
    commands.arg("STREAMS").arg(INBOUND).arg(">");
    socket.send()
}

/// Reads the entries of one stream, of three fields each, and answers how many there were.
fn read_entries(socket: &mut Socket, mut each: impl FnMut(&[u8], &[u8], &[u8])) -> io::Result<usize> {
    if socket.array()? == 0 {
        return Ok(0);
    }
    socket.array()?;
    socket.bulk()?;
    let entries = socket.array()?;
    let (mut id, mut line) = (Vec::new(), Vec::new());
    for _ in 0..entries {
        socket.array()?;
        id.clear();
        id.extend_from_slice(socket.bulk()?);
        socket.array()?;
        socket.bulk()?;
        line.clear();
        line.extend_from_slice(socket.bulk()?);
        socket.skip(3)?;
        each(&id, &line, socket.bulk()?);
    }
    Ok(entries)
}

/// The callers: one thread that has all requests in flight.
struct Caller {
    appender: Socket,
    reader: Socket,
    cursor: Vec<u8>,
}

impl Caller {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let (appender, reader) = (Socket::connect(address)?, Socket::connect(address)?);
        Ok(Self { appender, reader, cursor: b"0-0".to_vec() })
    }

    fn call(&mut self, in_flight: usize, ops: usize) -> io::Result<Vec<Duration>> {
        let mut line = Line::request();
        let mut since: Vec<Instant> = Vec::with_capacity(ops);
        let mut latencies = Vec::with_capacity(ops);
        while latencies.len() < ops {
            while since.len() < ops && since.len() - latencies.len() < in_flight {
                encode_append(&mut self.appender.commands, line.with_id(since.len()));
                since.push(Instant::now());
            }
            self.appender.send()?;

            let commands = self.reader.commands.command(8).arg("XREAD").arg("COUNT").arg("1000").arg("BLOCK");
            commands.arg(BLOCK_MS.to_string()).arg("STREAMS").arg(INBOX).arg(&self.cursor);
            self.reader.send()?;
            let cursor = &mut self.cursor;
            let replies = read_entries(&mut self.reader, |id, reply, payload| {
                assert_eq!(payload.len(), PAYLOAD.len(), "a reply has the payload of its request");
                cursor.clear();
                cursor.extend_from_slice(id);
                latencies.extend(Line::id_of(reply).and_then(|id| since.get(id)).map(Instant::elapsed));
            })?;
            // Each request was confirmed before it was answered.
            self.appender.skip(replies)?;
        }
        Ok(latencies)
    }
}
