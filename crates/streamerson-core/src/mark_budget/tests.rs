use super::*;
use crate::broker::memory::Memory;

const TTL: Duration = Duration::from_secs(3600);

fn budget(broker: &SharedBroker, bytes_max: u64) -> MarkBudget {
    let topic = Topic::new("orders").unwrap();
    let meter = topic.idempotency_meter();
    MarkBudget::new(broker.clone(), &topic, MarkKind::Idempotency, meter, TTL, bytes_max, &Metrics::new())
}

/// Sets a mark of so many bytes, if there is room for it.
async fn set(budget: &MarkBudget, bytes: u64) -> bool {
    let reserved = budget.reserve(bytes).await.unwrap();
    reserved.map(|mut reserved| reserved.commit(bytes)).is_some()
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_one_bound_and_time_makes_room() {
    let broker = Memory::new().into();
    let (one, other) = (budget(&broker, 1000), budget(&broker, 1000));
    assert!(set(&one, 600).await);
    assert!(!set(&one, 600).await);
    sleep(2 * TOLD_EVERY).await;
    assert!(!set(&other, 600).await);
    assert!(set(&other, 400).await);
    sleep(2 * TOLD_EVERY).await;
    // By what it knows there is room.
    assert!(set(&one, 1).await);
    sleep(TOLD_EVERY).await;
    assert!(!set(&one, 1).await);
    // A process that starts now knows it too.
    assert!(!set(&budget(&broker, 1000), 1).await);
    sleep(TTL + TTL / 8).await;
    assert!(set(&one, 1000).await);
}

/// Reservations of calls that last count at other budgets, as long as they last.
#[tokio::test(start_paused = true)]
async fn what_is_reserved_at_one_budget_is_no_room_at_others() {
    let broker: SharedBroker = Memory::new().into();
    let budgets: Vec<_> = (0..6).map(|_| budget(&broker, 1000)).collect();
    let mut reserved = Vec::new();
    for round in 0..8 {
        for budget in &budgets {
            reserved.extend(budget.reserve(100).await.unwrap());
        }
        assert_eq!(reserved.len(), 6 + 4 * usize::from(round > 0), "round {round}");
    }
    // It is renewed while the calls last.
    sleep(4 * RESERVED_FOR).await;
    for budget in &budgets {
        assert!(budget.reserve(100).await.unwrap().is_none());
    }
    reserved.truncate(9);
    sleep(2 * TOLD_EVERY).await;
    reserved.push(budgets[5].reserve(100).await.unwrap().expect("room that was given back"));
    for mut reserved in reserved {
        reserved.commit(100);
    }
    sleep(2 * TOLD_EVERY).await;
    assert_eq!(told(&broker).await, 1000);
    assert!(budgets[0].reserve(1).await.unwrap().is_none());
}

/// A budget whose process was killed holds no room for long.
#[tokio::test(start_paused = true)]
async fn reservations_of_a_process_that_is_gone_end() {
    let broker: SharedBroker = Memory::new().into();
    let key = Topic::new("orders").unwrap().idempotency_meter();
    let gone = Reserved { holder: Name::unique(), bytes: 1000, ttl: RESERVED_FOR };
    broker.charge(Charge { key, bytes: 0, ttl: TTL, reserved: Some(gone) }).await.unwrap();
    let budget = budget(&broker, 1000);
    assert!(!set(&budget, 1).await);
    sleep(RESERVED_FOR).await;
    assert!(set(&budget, 1000).await);
}

/// A request that never fits reserves nothing, so that it keeps out no smaller ones at other budgets.
#[tokio::test(start_paused = true)]
async fn requests_that_do_not_fit_take_no_room_of_others() {
    let broker: SharedBroker = Memory::new().into();
    let small = budget(&broker, 1_000_000);
    assert!(set(&small, 500_000).await);
    sleep(2 * TOLD_EVERY).await;
    let mut large = tokio::task::JoinSet::new();
    for number in 0..4 {
        let budget = budget(&broker, 1_000_000);
        large.spawn(async move {
            sleep(Duration::from_millis(190 * number)).await;
            loop {
                assert!(budget.reserve(600_000).await.unwrap().is_none());
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
    for _ in 0..500 {
        assert!(small.reserve(1000).await.unwrap().is_some());
        sleep(Duration::from_millis(17)).await;
    }
}

/// Room that was given back is there for other budgets at once, near the bound too.
#[tokio::test(start_paused = true)]
async fn bursts_near_the_bound_leave_room_for_each_other() {
    let broker: SharedBroker = Memory::new().into();
    assert!(set(&budget(&broker, 1_000_000), 900_000).await);
    sleep(2 * TOLD_EVERY).await;
    let mut bursts = tokio::task::JoinSet::new();
    for number in 0..4 {
        let budget = budget(&broker, 1_000_000);
        bursts.spawn(async move {
            sleep(Duration::from_millis(170 * number)).await;
            for _ in 0..20 {
                let all = futures_util::future::join_all((0..200).map(|_| budget.reserve(1000))).await;
                assert_eq!(all.into_iter().filter_map(Result::unwrap).count(), 100);
                sleep(Duration::from_millis(800)).await;
            }
        });
    }
    bursts.join_all().await;
}

/// Far from the bound a mark waits for no answer, also after a silence, and the broker hears of it soon.
#[tokio::test(start_paused = true)]
async fn far_from_the_bound_no_caller_waits() {
    let broker: SharedBroker = Memory::new().into();
    let budget = budget(&broker, 1 << 30);
    assert!(set(&budget, 100).await);
    for number in 2..5 {
        sleep(Duration::from_secs(1)).await;
        let answered = budget.lock().answered;
        assert!(set(&budget, 100).await);
        assert_eq!(budget.lock().answered, answered);
        sleep(TOLD_EVERY).await;
        assert_eq!((told(&broker).await, budget.lock().answered - answered), (number * 100, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_tells_everything_at_once() {
    let broker: SharedBroker = Memory::new().into();
    let budget = budget(&broker, 1 << 30);
    assert!(set(&budget, 100).await);
    budget.flush().await.unwrap();
    assert_eq!(told(&broker).await, 100);
}

/// A task that ended with its runtime is not waited for.
#[test]
fn another_runtime_tells_the_broker_as_well() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let broker: SharedBroker = Memory::new().into();
    let budget = budget(&broker, 1 << 30);
    runtime().block_on(async { assert!(set(&budget, 100).await) });
    runtime().block_on(async {
        budget.add(1000);
        sleep(2 * TOLD_EVERY).await;
        assert_eq!(told(&broker).await, 1100);
    });
}

/// Of a burst that finds nothing known, as many as fit get room.
#[tokio::test(start_paused = true)]
async fn callers_that_reserve_at_once_get_what_there_is() {
    let budget = budget(&Memory::new().into(), 1000);
    let all = futures_util::future::join_all((0..10).map(|_| budget.reserve(900))).await;
    assert_eq!(all.into_iter().filter_map(Result::unwrap).count(), 1);
}

/// A caller that is cut off while it waits for the broker may have set its mark.
#[tokio::test(start_paused = true)]
async fn bytes_at_risk_are_counted_unless_told_otherwise() {
    let broker: SharedBroker = Memory::new().into();
    let budget = budget(&broker, 1000);
    for (risks, counted) in [(&[100][..], 100), (&[100, 0], 100), (&[50, 20], 120)] {
        let mut reserved = budget.reserve(200).await.unwrap().unwrap();
        risks.iter().for_each(|bytes| reserved.risk(*bytes));
        drop(reserved);
        sleep(2 * TOLD_EVERY).await;
        assert_eq!(told(&broker).await, counted);
    }
    let mut reserved = budget.reserve(200).await.unwrap().unwrap();
    reserved.risk(100);
    reserved.commit(30);
    drop(reserved);
    sleep(2 * TOLD_EVERY).await;
    assert_eq!(told(&broker).await, 150);
}

/// The sum in the broker, reservations included.
async fn told(broker: &SharedBroker) -> u64 {
    let key = Topic::new("orders").unwrap().idempotency_meter();
    broker.charge(Charge { key, bytes: 0, ttl: TTL, reserved: None }).await.unwrap()
}

/// A reservation may be dropped while its runtime shuts down, where no task begins any more.
#[test]
fn a_reservation_may_end_with_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let budget = budget(&Memory::new().into(), 1000);
    let mut reserved = runtime.block_on(budget.reserve(100)).unwrap().unwrap();
    reserved.risk(10);
    runtime.spawn(async move {
        let _reserved = reserved;
        std::future::pending::<()>().await;
    });
    runtime.block_on(tokio::task::yield_now());
    drop(runtime);
    let known = budget.lock();
    assert_eq!((known.untold, known.is_telling), (10, false));
}

/// A reservation may be dropped where there is no runtime.
#[test]
fn a_reservation_may_outlive_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let budget = budget(&Memory::new().into(), 1000);
    let mut reserved = runtime.block_on(budget.reserve(100)).unwrap().unwrap();
    drop(runtime);
    reserved.risk(10);
    drop(reserved);
    assert_eq!(budget.lock().untold, 10);
}

#[tokio::test(start_paused = true)]
async fn room_that_is_not_used_is_given_back() {
    let broker = Memory::new().into();
    let budget = budget(&broker, 1000);
    for _ in 0..10 {
        let mut reserved = budget.reserve(900).await.unwrap().unwrap();
        assert!(budget.reserve(200).await.unwrap().is_none());
        reserved.commit(5);
    }
    assert!(set(&budget, 950).await && !set(&budget, 1).await);
}
