//! Tower layers around handlers.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use streamerson_consumer::{Handler, Incoming, Problem, extract::Extension};
use streamerson_core::dead_letter::Reason;
use tokio::sync::{Notify, Semaphore};
use tower::{
    BoxError, ServiceBuilder,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    timeout::TimeoutLayer,
};

use self::common::{Running, consumer, request, status};

#[tokio::test(start_paused = true)]
async fn a_timeout_is_504_and_a_dead_letter() {
    let slow = async || std::future::pending::<()>().await;
    let running = Running::start(consumer().on("slow", slow).layer(TimeoutLayer::new(Duration::from_secs(5))));
    let since = tokio::time::Instant::now();
    let reply = running.request("slow", "").await;
    assert_eq!((status(&reply), since.elapsed().as_secs()), (504, 5));
    let (letter, _) = running.dead_letter().await;
    assert_eq!((letter.reason, &*letter.error), (Reason::Failed, "request timed out"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shed_load_is_503() {
    let (entered, free) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (entered, free) = (entered.clone(), free.clone());
        async move || {
            entered.notify_one();
            free.notified().await;
        }
    };
    let shed = ServiceBuilder::new().load_shed().concurrency_limit(1);
    let running = Running::start(consumer().on("one", handler.layer(shed)));
    let first = running.request("one", "");
    let second = async {
        entered.notified().await;
        let second = running.request("one", "").await;
        free.notify_one();
        second
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((status(&first), status(&second)), (200, 503));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_error_of_a_layer_is_502() {
    let refuse = tower::util::MapRequestLayer::new(|incoming: Incoming| incoming);
    let fail = tower::layer::layer_fn(|inner: streamerson_consumer::Route| {
        tower::service_fn(move |incoming: Incoming| {
            let _inner = inner.clone();
            async move { Err::<_, BoxError>(format!("no credentials in {}", incoming.message().event).into()) }
        })
    });
    let running = Running::start(consumer().on("closed", (async || ()).layer(fail).layer(refuse)));
    assert_eq!(status(&running.request("closed", "").await), 502);
    let (letter, _) = running.dead_letter().await;
    assert_eq!((letter.reason, &*letter.error), (Reason::Failed, "no credentials in closed"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_refuses_with_a_problem() {
    let authorise = tower::filter::FilterLayer::new(|incoming: Incoming| {
        let known = incoming.message().headers.get("http.header.authorization").is_some();
        known.then_some(incoming).ok_or_else(|| BoxError::from(Problem::new(StatusCode::UNAUTHORIZED)))
    });
    let running = Running::start(consumer().on("secret", async || "secret").layer(authorise));
    let reply = running.request("secret", "").await;
    assert_eq!((status(&reply), reply.is_error), (401, true));
    assert!(running.dead_letters().await.is_empty());
    let allowed = request("secret", "").with_header("http.header.authorization", "me");
    assert_eq!(running.send(allowed).await.payload, "secret");
    running.stop().await;
}

/// A handler that counts how many of it run at the same time, and does so for a second.
fn crowd(most: &Arc<AtomicUsize>) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone + use<> {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::clone(most));
    move || {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        })
    }
}

async fn most_at_once(consumer: streamerson_consumer::Consumer, most: &AtomicUsize) -> usize {
    let running = Running::start(consumer);
    let requests = (0..20).map(|index| running.request(if index % 2 == 0 { "a" } else { "b" }, ""));
    futures_util::future::join_all(requests).await;
    running.stop().await;
    most.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_bounded_for_the_member_for_one_handler_and_across_handlers() {
    let most = Arc::new(AtomicUsize::new(0));
    let both = |consumer: streamerson_consumer::Consumer| {
        let crowd = crowd(&most);
        consumer.on("a", crowd.clone()).on("b", crowd)
    };
    assert_eq!(most_at_once(both(consumer()), &most).await, 20);
    most.store(0, Ordering::SeqCst);
    assert_eq!(most_at_once(both(consumer()).concurrency(3), &most).await, 3);
    most.store(0, Ordering::SeqCst);
    assert_eq!(most_at_once(both(consumer()).layer(GlobalConcurrencyLimitLayer::new(4)), &most).await, 4);
    most.store(0, Ordering::SeqCst);
    assert_eq!(most_at_once(both(consumer()).layer(ConcurrencyLimitLayer::new(4)), &most).await, 8, "4 for each");
    most.store(0, Ordering::SeqCst);
    let one = consumer().on("a", crowd(&most).layer(ConcurrencyLimitLayer::new(2))).on("b", async || ());
    assert_eq!(most_at_once(one, &most).await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_limit_past_its_deadline_is_not_handled() {
    let handled = Arc::new(AtomicUsize::new(0));
    let free = Arc::new(Semaphore::new(0));
    let handler = {
        let (handled, free) = (handled.clone(), free.clone());
        async move || {
            handled.fetch_add(1, Ordering::SeqCst);
            free.acquire().await.unwrap().forget();
        }
    };
    let running = Running::start(consumer().on("one", handler.layer(ConcurrencyLimitLayer::new(1))));
    let patient = running.request("one", "");
    let topic = common::topic();
    let hasty = running.client.request(&topic, request("one", "").with_timeout(Duration::from_secs(1)));
    let later = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        free.add_permits(2);
    };
    let (patient, hasty, ()) = tokio::join!(patient, hasty, later);
    assert_eq!(status(&patient), 200);
    assert!(hasty.is_err());
    running.idle().await;
    assert_eq!(handled.load(Ordering::SeqCst), 1);
    assert!(running.dead_letters().await.is_empty(), "expired is not failed");
    running.stop().await;
}

#[derive(Clone)]
struct User(String);

#[tokio::test(start_paused = true)]
async fn layers_leave_extensions_for_handlers() {
    let authenticate = tower::util::MapRequestLayer::new(|mut incoming: Incoming| {
        if let Some(user) = incoming.message().headers.get("http.header.x-user").map(str::to_owned) {
            incoming.extensions_mut().insert(User(user));
        }
        incoming
    });
    async fn who(Extension(user): Extension<User>) -> String {
        user.0
    }
    let whoever = async |user: Option<Extension<User>>| user.is_some().to_string();
    let running = Running::start(consumer().on("who", who).on("whoever", whoever).layer(authenticate));
    let reply = running.send(request("who", "").with_header("http.header.x-user", "ada")).await;
    assert_eq!(reply.payload, "ada");
    assert_eq!(running.request("whoever", "").await.payload, "false");
    let reply = running.request("who", "").await;
    assert_eq!(reply.status, Some(StatusCode::BAD_GATEWAY), "a layer is missing, which is not the caller's fault");
    let (letter, _) = running.dead_letter().await;
    assert!(letter.error.contains("User"), "{}", letter.error);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_is_around_the_handlers_before_it_only() {
    let timeout = TimeoutLayer::new(Duration::from_secs(1));
    let slow = async || tokio::time::sleep(Duration::from_secs(2)).await;
    let running = Running::start(consumer().on("inside", slow).fallback(slow).layer(timeout).on("outside", slow));
    assert_eq!(status(&running.request("inside", "").await), 504);
    assert_eq!(status(&running.request("anything", "").await), 504);
    assert_eq!(status(&running.request("outside", "").await), 200);
    running.stop().await;
}
