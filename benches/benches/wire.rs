//! Encoding and decoding: messages in fields, and replies of the server in bytes.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use streamerson_core::{EventType, Message, MessageId, Name, UnixMillis, Wire};
use streamerson_redis::resp::Decoder;

/// Entries in one reply.
const ENTRIES: usize = 512;

fn message() -> Message {
    Message {
        inbox: Some(Name::new("01JD3N8Q7ZB6M4K2W5XH0V9TGC").expect("a name")),
        deadline: Some(UnixMillis(1_900_000_000_000)),
        ..Message::new(EventType::new("order.get").expect("an event type"), vec![b'x'; 128])
    }
}

fn messages(c: &mut Criterion) {
    let wire = Wire::default();
    let plain = message();
    let with_headers = message()
        .with_header("http.method", "POST")
        .with_header("http.path", "/orders/7")
        .with_header("http.header.x-request-id", "01JD3N8Q7ZB6M4K2W5XH0V9TGC");
    let mut group = c.benchmark_group("message");
    for (name, message) in [("plain", plain), ("headers", with_headers)] {
        group.bench_function(format!("encode {name}"), |b| b.iter(|| wire.encode(black_box(&message))));
        let fields = wire.encode(&message).expect("a message within bounds");
        group.bench_function(format!("decode {name}"), |b| b.iter(|| wire.decode(black_box(&fields))));
    }
    group.bench_function("new id", |b| b.iter(MessageId::unique));
    group.finish();
}

/// What the server answers to a read of so many requests.
fn read_reply() -> Vec<u8> {
    let fields = Wire::default().encode(&message()).expect("a message within bounds");
    let mut reply = format!("*1\r\n*2\r\n$19\r\n{{default:orders}}:in\r\n*{ENTRIES}\r\n").into_bytes();
    for seq in 0..ENTRIES {
        let id = format!("1700000000000-{seq}");
        reply.extend_from_slice(format!("*2\r\n${}\r\n{id}\r\n*{}\r\n", id.len(), 2 * fields.len()).as_bytes());
        for text in fields.iter().flat_map(|(name, value)| [name, value]) {
            reply.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            reply.extend_from_slice(text);
            reply.extend_from_slice(b"\r\n");
        }
    }
    reply
}

fn resp(c: &mut Criterion) {
    let mut group = c.benchmark_group("resp");
    let reply = read_reply();
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function(format!("decode {ENTRIES} entries"), |b| {
        b.iter_batched_ref(
            || BytesMut::from(&reply[..]),
            |buffer| Decoder::default().decode(buffer).expect("a reply").expect("all of it"),
            BatchSize::SmallInput,
        );
    });
    // As a socket brings it: a reply of this size never arrives in one piece.
    group.bench_function(format!("decode {ENTRIES} entries in pieces of 32 KiB"), |b| {
        b.iter_batched(
            || BytesMut::with_capacity(reply.len()),
            |mut buffer| {
                let mut decoder = Decoder::default();
                let mut decoded = None;
                for piece in reply.chunks(32 * 1024) {
                    buffer.extend_from_slice(piece);
                    decoded = decoder.decode(&mut buffer).expect("a reply");
                }
                decoded.expect("all of it")
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, messages, resp);
criterion_main!(benches);
