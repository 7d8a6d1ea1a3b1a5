//! Whatever bytes an entry holds, it comes back as it was, by every way there is.

use bytes::Bytes;
use streamerson_core::{EntryId, Fields, SharedBroker, broker::Append};

use super::scene::{AT_ONCE, Scene, entries};

/// Appends entries with these fields and reads them back by range, by cursor, in a group and by taking over.
async fn come_back(broker: SharedBroker, all: &[Fields]) {
    let scene = Scene::with_group(broker.clone()).await;
    let batch = all.iter().map(|fields| Append::new(scene.key.clone(), fields.clone())).collect();
    for answer in broker.append(batch).await {
        answer.expect("appended");
    }
    // Compared by `==`, not `assert_eq`: a failure would print mebibytes.
    let same = |found: Vec<Fields>, way: &str| assert!(found == all, "changed on the way: {way}");
    same(entries(&broker, &scene.key).await.into_iter().map(|entry| entry.fields).collect(), "range");
    let read = broker.reader().read(&[(scene.key.clone(), EntryId::ZERO)], 100, AT_ONCE).await.expect("a read");
    same(read.into_iter().flat_map(|read| read.entries).map(|entry| entry.fields).collect(), "cursor");
    let delivered = scene.member().read(100).await;
    same(delivered.into_iter().map(|delivery| delivery.entry.fields).collect(), "group");
    let taken = scene.member().steal().await;
    same(taken.into_iter().map(|delivery| delivery.entry.fields).collect(), "taking over");
}

fn one(name: impl Into<Bytes>, value: impl Into<Bytes>) -> Fields {
    let mut fields = Fields::default();
    fields.push(name, value);
    fields
}

/// Empty values, and even an empty name.
pub async fn may_be_empty(broker: SharedBroker) {
    come_back(broker, &[one("p", ""), one("", ""), one("", "p")]).await;
}

/// Bytes that are no text, in names and values, with all that a protocol might trip over.
pub async fn may_be_any_bytes(broker: SharedBroker) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let tricky = b"\r\n$-1\r\n*0\r\n\0".as_slice();
    come_back(broker, &[one(every_byte.clone(), every_byte), one(tricky, tricky), one(vec![0xff], vec![0xc3, 0x28])])
        .await;
}

/// A mebibyte in one value, and more than that in one entry.
pub async fn may_be_large(broker: SharedBroker) {
    let megabyte: Vec<u8> = (0..1024 * 1024_u32).map(|number| (number % 251) as u8).collect();
    let mut two = one("p", megabyte.clone());
    two.push("q", megabyte.clone());
    come_back(broker, &[one("p", megabyte), two]).await;
}

/// Many fields, with names that repeat, in their order; entries of all shapes side by side.
pub async fn may_have_many_fields(broker: SharedBroker) {
    let mut many = Fields::default();
    for number in 0..500 {
        many.push((number % 7).to_string(), number.to_string());
    }
    come_back(broker, &[many.clone(), one("p", "alone"), many]).await;
}
