//! Requests that are repeated with an `Idempotency-Key`, over the embedded broker and over Redis.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod bounds;
mod cases;
mod closing;
mod outages;
mod protocol;
mod scene;
#[path = "../support/mod.rs"]
mod support;

/// Makes a test of each case, for each broker.
macro_rules! over_both_brokers {
    ($($module:ident: $($case:ident),+;)+) => {
        mod memory {
            $($(#[tokio::test]
            async fn $case() {
                crate::$module::$case(crate::scene::Scene::over_memory().await).await;
            })+)+
        }

        mod redis {
            $($(#[tokio::test]
            async fn $case() {
                crate::$module::$case(crate::scene::Scene::over_redis().await).await;
            })+)+
        }
    };
}

over_both_brokers!(
    cases:
    a_repetition_waits_and_then_gets_the_reply_of_the_first,
    a_key_stands_for_one_request,
    principals_have_keys_of_their_own,
    keys_are_asked_for_and_checked,
    failures_and_large_replies_are_not_kept,
    a_client_that_hangs_up_finds_the_reply_later,
    a_client_that_hangs_up_at_once_leaves_no_key_behind_that_nobody_answers_for,
    a_reply_is_kept_for_its_time,
    after_a_timeout_nothing_is_known_for_a_while,
    a_key_outlives_the_attempt_that_had_it,
    an_attempt_renews_the_record_that_it_finds,
    a_late_reply_answers_no_other_request,
    a_worker_of_another_topic_cannot_answer,
    principals_of_two_headers_are_apart,
    replies_never_cross_requests,
    an_event_is_stored_once,
    a_whole_response_is_repeated_whole,
    of_many_at_once_through_two_gateways_one_is_handled,
    what_something_else_wrote_counts_as_nothing;
    bounds:
    what_is_kept_of_a_topic_is_bounded,
    without_room_for_a_reply_nothing_is_sent,
    the_bound_holds_over_gateways_and_routes,
    attempts_at_one_request_are_counted_as_one_record,
    attempts_are_counted_as_one_record_with_a_short_ttl;
);
