//! Entries that wait for their time.

use std::{collections::BTreeSet, time::Duration};

use streamerson_core::{
    BrokerError, Fields, Schedule, ScheduleId, SharedBroker, UnixMillis,
    broker::{Due, Fence, Later, Scheduled, ScheduledRange, Settlement},
};
use tokio::task::JoinSet;

use super::scene::{FOREVER, Scene, entries, fields, text, texts};
use crate::eventually;

fn id(text: &str) -> ScheduleId {
    ScheduleId::new(text.to_owned()).expect("a schedule id")
}

fn entry(name: &str, at: UnixMillis) -> Scheduled {
    Scheduled { id: id(name), at, fields: fields(name) }
}

/// A time that is over, `ms` after another one.
fn past(ms: u64) -> UnixMillis {
    UnixMillis(1_000_000 + ms)
}

async fn put(scene: &Scene, entries: Vec<Scheduled>) {
    for answer in scene.broker.schedule(&scene.topic.schedule(), entries).await {
        answer.expect("scheduled");
    }
}

async fn due(scene: &Scene, count: usize) -> Due {
    scene.broker.move_due(&scene.topic.schedule(), count).await.expect("an answer")
}

async fn waiting(scene: &Scene) -> Vec<Scheduled> {
    let range = ScheduledRange { schedule: scene.topic.schedule(), after: None, count: 1000 };
    scene.broker.scheduled(range).await.expect("a page").entries
}

/// What is due goes into the stream by time, then by id, byte for byte; what is not stays.
pub async fn moves_what_is_due(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    assert_eq!(due(&scene, 10).await.moved, 0, "nothing waits");
    let later = broker.now().plus(FOREVER);
    let mut odd = Fields::default();
    odd.push(vec![0xff, 0x00], vec![0xc3, 0x28, b'\r', b'\n']);
    odd.push("1:a,", "");
    odd.push("", "7:,");
    put(&scene, vec![entry("z", past(1)), entry("later", later), entry("b", past(2)), entry("a", past(2))]).await;
    put(&scene, vec![Scheduled { id: id("odd"), at: past(0), fields: odd.clone() }]).await;

    let first = due(&scene, 100).await;
    assert_eq!((first.moved, first.broken, first.next), (4, vec![], Some(later)));
    assert!(first.now.0.abs_diff(broker.now().0) < 5000, "{} is about now", first.now);
    let found = entries(&broker, &scene.key).await;
    assert_eq!(found[0].fields, odd);
    assert_eq!(texts(&found[1..]), ["z", "a", "b"]);
    let again = due(&scene, 100).await;
    assert_eq!((again.moved, again.next), (0, Some(later)));
    assert_eq!(waiting(&scene).await, [entry("later", later)]);
}

/// What is due soon moves when its time has come, and not before.
pub async fn waits_for_its_time(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let at = broker.now().plus(Duration::from_millis(300));
    put(&scene, vec![entry("soon", at)]).await;
    let moved = eventually("the time", async || {
        let due = due(&scene, 10).await;
        assert!(due.moved == 0 || due.now >= at, "{} is before {at}", due.now);
        (due.moved == 1).then_some(due)
    })
    .await;
    assert_eq!(moved.next, None);
    assert_eq!(texts(&entries(&broker, &scene.key).await), ["soon"]);
}

/// The count bounds each move, and the answer says that there is more.
pub async fn moves_so_many_at_once(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    put(&scene, (0..25).map(|number| entry(&format!("{number:02}"), past(number / 10))).collect()).await;
    for (moved, next) in [(10, Some(past(1))), (10, Some(past(2))), (5, None), (0, None)] {
        let due = due(&scene, 10).await;
        assert_eq!((due.moved, due.next), (moved, next));
    }
    assert_eq!(due(&scene, 0).await.moved, 0);
    let expected: Vec<String> = (0..25).map(|number| format!("{number:02}")).collect();
    assert_eq!(texts(&entries(&broker, &scene.key).await), expected);
}

/// An id that is scheduled again takes the place of the first, time and fields, and counts once.
pub async fn replaces_the_same_id(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let schedule = scene.topic.schedule().with_entries_max(1);
    let later = broker.now().plus(FOREVER);
    for at in [past(0), later] {
        let one = Scheduled { fields: fields(&at.to_string()), ..entry("one", at) };
        broker.schedule(&schedule, vec![one]).await.remove(0).expect("scheduled");
    }
    assert_eq!(due(&scene, 10).await.moved, 0, "it is due later now");
    assert_eq!(waiting(&scene).await, [Scheduled { fields: fields(&later.to_string()), ..entry("one", later) }]);
    put(&scene, vec![Scheduled { fields: fields("now"), ..entry("one", past(1)) }]).await;
    assert_eq!(due(&scene, 10).await.moved, 1);
    assert_eq!(texts(&entries(&broker, &scene.key).await), ["now"]);
    assert_eq!(waiting(&scene).await, []);
}

/// Past its bound a schedule takes no new ids, each refused by itself; there is room again when one has gone.
pub async fn is_bounded(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let schedule = scene.topic.schedule().with_entries_max(2);
    let batch = ["a", "b", "c", "a"].map(|name| entry(name, past(0))).to_vec();
    let answers = broker.schedule(&schedule, batch).await;
    let full = |answer: &Result<(), BrokerError>| matches!(answer, Err(BrokerError::Full { key, max: 2 }) if **key == *schedule.key());
    assert!(answers.len() == 4 && full(&answers[2]), "{answers:?}");
    assert!(answers.iter().enumerate().all(|(number, answer)| number == 2 || answer.is_ok()), "{answers:?}");
    assert!(!answers[2].as_ref().expect_err("refused").is_transient());
    assert_eq!(due(&scene, 1).await.moved, 1);
    broker.schedule(&schedule, vec![entry("c", past(0))]).await.remove(0).expect("there is room");
    assert_eq!(waiting(&scene).await.into_iter().map(|entry| entry.id).collect::<Vec<_>>(), [id("b"), id("c")]);
}

/// An entry without fields, or with too many, is refused, and no other with it. The most fields pass through.
pub async fn refuses_what_it_cannot_hold(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let wide = |count: usize| {
        let mut fields = Fields::default();
        (0..count).for_each(|number| fields.push("f", number.to_string()));
        fields
    };
    let most = Scheduled::FIELDS_MAX;
    let batch =
        [0, 1, most, most + 1].map(|count| Scheduled { fields: wide(count), ..entry(&format!("{count}"), past(0)) });
    let answers = broker.schedule(&scene.topic.schedule(), batch.to_vec()).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true, false], "{answers:?}");
    assert_eq!(due(&scene, 10).await.moved, 2);
    let found: Vec<_> = entries(&broker, &scene.key).await.into_iter().map(|entry| entry.fields).collect();
    assert_eq!(found, [wide(1), wide(most)]);
}

/// Pages in order, through equal times and beyond what goes meanwhile.
pub async fn is_listed_in_pages(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let schedule = scene.topic.schedule();
    let all: Vec<_> = (0..50).map(|number| entry(&format!("{number:02}"), past(number / 20))).collect();
    put(&scene, all.iter().rev().cloned().collect()).await;
    let page = async |after, count| {
        let range = ScheduledRange { schedule: schedule.clone(), after, count };
        broker.scheduled(range).await.expect("a page")
    };
    for size in [1, 7, 50, 1000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let found = page(after, size).await;
            assert!(found.entries.len() <= size);
            seen.extend(found.entries);
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all, "{size} at a time");
    }
    let first = page(None, 10).await;
    let gone: Vec<_> = all[5..15].iter().map(|entry| entry.id.clone()).collect();
    broker.cancel_scheduled(&schedule, gone).await.expect("cancelled");
    assert_eq!(page(first.next, 10).await.entries, all[15..25], "the cursor's own entry is gone");
    assert_eq!(page(None, 0).await.entries, []);
    assert_eq!(waiting(&Scene::new(broker.clone())).await, [], "no schedule");
}

/// What is cancelled does not come; the answer says what was there.
pub async fn can_be_cancelled(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    put(&scene, vec![entry("a", past(0)), entry("b", past(0)), entry("c", past(0))]).await;
    let cancel = async |names: &[&str]| {
        let ids = names.iter().map(|name| id(name)).collect();
        broker.cancel_scheduled(&scene.topic.schedule(), ids).await.expect("an answer")
    };
    assert_eq!(cancel(&["c", "x", "a", "c"]).await, [id("c"), id("a")]);
    assert_eq!(cancel(&[]).await, []);
    assert_eq!(due(&scene, 10).await.moved, 1);
    assert_eq!(texts(&entries(&broker, &scene.key).await), ["b"]);
    assert_eq!(cancel(&["b"]).await, [], "it went");
}

/// However many move at the same time, each entry comes once, and in order.
pub async fn moves_each_once(broker: SharedBroker) {
    const COUNT: u64 = 2000;
    let scene = Scene::new(broker.clone());
    put(&scene, (0..COUNT).map(|number| entry(&format!("{number:04}"), past(number / 3))).collect()).await;
    let mut movers = JoinSet::new();
    for mover in 0..4 {
        let scene = scene.clone();
        movers.spawn(async move {
            let mut moved = 0;
            loop {
                let due = due(&scene, 7 + mover).await;
                moved += due.moved;
                if due.next.is_none() {
                    return moved;
                }
            }
        });
    }
    let moved: usize = movers.join_all().await.into_iter().sum();
    let found = texts(&entries(&broker, &scene.key).await);
    assert_eq!(found, (0..COUNT).map(|number| format!("{number:04}")).collect::<Vec<_>>());
    assert_eq!(moved, found.len());
}

fn later(schedule: &Schedule, name: &str, at: UnixMillis) -> Option<Later> {
    Some(Later { schedule: schedule.clone(), scheduled: entry(name, at) })
}

/// A delivery may end by being scheduled, and comes back once; a member that lost it schedules nothing.
pub async fn ends_deliveries(broker: SharedBroker) {
    for fence in [Fence::Renewed, Fence::Check] {
        let scene = Scene::with_group(broker.clone()).await;
        let schedule = scene.topic.schedule();
        let (member, held) = scene.holder(3).await;
        let thief = scene.member();
        thief.reclaim_step(Duration::ZERO, 1, held[2]).await;
        let batch: Vec<_> = held
            .iter()
            .map(|held| Settlement { later: later(&schedule, &held.to_string(), past(0)), ..Settlement::done(*held) })
            .collect();
        let settled = broker.settle(&member.membership, &batch, fence).await.expect("settled");
        assert_eq!(settled.lost, held[2..], "{fence:?}");
        assert_eq!(scene.pending_ids().await, held[2..]);
        assert_eq!(member.settle(&batch[..2]).await, held[..2], "once only");
        assert_eq!(due(&scene, 10).await.moved, 2);
        let mut reader = scene.member();
        let back: Vec<_> = reader.read(10).await.iter().map(|delivered| text(&delivered.entry)).collect();
        assert_eq!(back, held[..2].iter().map(ToString::to_string).collect::<Vec<_>>(), "{fence:?}");
    }
}

/// A delivery that can't be scheduled stays pending, and the others of its batch end.
pub async fn keeps_deliveries_when_full(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let schedule = scene.topic.schedule().with_entries_max(1);
    let (member, held) = scene.holder(4).await;
    let batch = [
        Settlement { later: later(&schedule, "a", past(0)), ..Settlement::done(held[0]) },
        Settlement { later: later(&schedule, "b", past(0)), ..Settlement::done(held[1]) },
        Settlement {
            later: Some(Later {
                schedule: schedule.clone(),
                scheduled: Scheduled { fields: Fields::default(), ..entry("a", past(0)) },
            }),
            ..Settlement::done(held[2])
        },
        Settlement::done(held[3]),
    ];
    let error = broker.settle(&member.membership, &batch[..2], Fence::Check).await.expect_err("it is full");
    assert!(matches!(error, BrokerError::Full { max: 1, .. }), "{error}");
    let error = broker.settle(&member.membership, &batch[2..], Fence::Check).await.expect_err("it has no fields");
    assert!(matches!(error, BrokerError::Refused { .. }), "{error}");
    assert_eq!(scene.pending_ids().await, held[1..3]);
    assert_eq!(waiting(&scene).await, [entry("a", past(0))]);
}

/// Large entries pass through, whoever bounds what moves at once.
pub async fn carries_large_payloads(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let large = |number: u8| {
        let mut fields = Fields::default();
        fields.push("p", vec![number; 1024 * 1024]);
        Scheduled { fields, ..entry(&format!("{number:02}"), past(0)) }
    };
    let all: Vec<_> = (0..12).map(large).collect();
    put(&scene, all.clone()).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let range = ScheduledRange { schedule: scene.topic.schedule(), after, count: 100 };
        let page = broker.scheduled(range).await.expect("a page");
        seen.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(seen == all);
    let mut moved = 0;
    loop {
        let due = due(&scene, 100).await;
        moved += due.moved;
        if due.next.is_none() {
            break;
        }
    }
    assert_eq!(moved, 12);
    let found: BTreeSet<_> = entries(&broker, &scene.key).await.iter().map(|entry| entry.fields.bytes_len()).collect();
    assert_eq!(found, BTreeSet::from([1024 * 1024 + 1]));
}
