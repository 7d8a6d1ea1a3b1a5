//! The workers and the client in other languages that `PROTOCOL.md` prints, run as printed: against a real server, behind
//! the standalone gateway of `examples/polyglot`, and beside a worker of ours.
//!
//! And programs that use the TypeScript package of the original, against ours: see [`original`].
//!
//! Their libraries are installed once, under `target/`. `$STREAMERSON_REQUESTS` is how many requests each worker gets where
//! that matters.

// The lint knows test functions, and not the helpers of a test.
#![allow(clippy::unwrap_used)]

mod gateway;
mod http;
mod install;
mod language;
mod original;
mod scene;

use streamerson_test::Process;

use crate::{language::Language, scene::Scene};

/// Makes the tests that every worker must pass.
macro_rules! worker {
    ($module:ident, $language:expr) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn every_request_is_answered_and_sigterm_ends_it() {
                Scene::new().await.every_request_is_answered($language).await;
            }

            #[tokio::test]
            async fn a_gateway_that_dies_loses_what_it_was_asked_and_no_more() {
                let scene = Scene::new().await;
                let cut = scene.a_gateway_that_dies_loses_what_it_was_asked_and_no_more($language).await;
                println!("{cut} requests were cut off with the gateway");
            }

            #[tokio::test]
            async fn what_is_malformed_is_a_dead_letter() {
                Scene::new().await.what_is_malformed_is_a_dead_letter($language).await;
            }

            #[tokio::test]
            async fn what_fails_is_told_and_kept() {
                Scene::new().await.what_fails_is_told_and_kept($language).await;
            }

            #[tokio::test]
            async fn what_is_too_late_or_for_another_group_is_not_run() {
                Scene::new().await.what_is_too_late_or_for_another_group_is_not_run($language).await;
            }

            #[tokio::test]
            async fn it_shares_a_group_with_a_rust_worker() {
                Scene::new().await.it_shares_a_group_with_a_rust_worker($language).await;
            }

            #[tokio::test]
            async fn what_a_killed_one_held_another_handles() {
                Scene::new().await.what_a_killed_one_held_another_handles($language).await;
            }

            #[tokio::test]
            async fn it_survives_an_outage_and_stops_in_one() {
                Scene::new().await.it_survives_an_outage_and_stops_in_one($language).await;
            }

            #[tokio::test]
            async fn a_group_that_is_gone_is_made_again() {
                Scene::new().await.a_group_that_is_gone_is_made_again($language).await;
            }
        }
    };
}

worker!(python, Language::Python);
worker!(node, Language::Node);

#[test]
fn the_page_prints_the_workers_of_the_example() {
    for (language, example) in [
        (Language::Python, include_str!("../../../../examples/polyglot/worker.py")),
        (Language::Node, include_str!("../../../../examples/polyglot/worker.mjs")),
    ] {
        assert!(language.source("worker") == example, "PROTOCOL.md prints another {} worker", language.name());
    }
}

#[tokio::test]
async fn workers_of_both_languages_share_a_group() {
    let scene = Scene::new().await;
    let workers = [scene.start(Language::Python), scene.start(Language::Node)];
    scene.has_members(2).await;
    let replies = scene.request_many(400).await;
    let by = |language: Language| replies.iter().filter(|by| by.as_deref() == Some(language.name())).count();
    let (python, node) = (by(Language::Python), by(Language::Node));
    assert!(python > 0 && node > 0 && python + node == 400, "{python} and {node}");
    let [first, second] = workers;
    assert_eq!(first.terminate().await.status.code(), Some(0));
    // What is left does all the work.
    for by in scene.request_many(20).await {
        assert_eq!(by.as_deref(), Some("node"));
    }
    assert_eq!(second.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn the_python_client_gets_the_replies_of_a_rust_worker() {
    let scene = Scene::new().await;
    let echo = scene.start_echo();
    let request = Process::spawn(scene.program(Language::Python, "client", &["order.get", r#"{"id":7}"#])).wait().await;
    assert_eq!((request.status.code(), &*request.stdout), (Some(0), "200 {\"id\":7}\n"), "{}", request.stderr);
    assert_eq!(echo.terminate().await.status.code(), Some(0));
    // It took its inbox away.
    let keys = scene.server.command(["KEYS", "*:re:*"]).await;
    assert_eq!(keys.items().len(), 0, "{keys:?}");
}

#[tokio::test]
async fn the_python_client_hears_errors_of_a_python_worker() {
    let scene = Scene::new().await;
    let _worker = scene.start(Language::Python);
    let request = Process::spawn(scene.program(Language::Python, "client", &["no.such", "{}"])).wait().await;
    assert!(request.stdout.starts_with("501 {"), "{}{}", request.stdout, request.stderr);
}
