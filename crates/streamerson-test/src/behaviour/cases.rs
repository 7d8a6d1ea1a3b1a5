//! The list of all cases, and the macro that makes tests of them.

/// Makes a `#[test]` of every case of the suite.
///
/// The argument is evaluated for each, in an async context, to a [`Subject`](crate::conformance::Subject).
///
/// ```
/// use streamerson_core::broker::memory::Memory;
/// use streamerson_test::conformance::Subject;
///
/// streamerson_test::behaviour!(Subject::embedded(Memory::new().into()));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! behaviour {
    ($subject:expr) => {
        $crate::behaviour! {
            @cases $subject;
            calls: get_the_reply_of_their_contract, get_any_reply, wait_for_a_slow_member_until_they_time_out,
                tell_that_nobody_is_there, fail_fast_when_nobody_is_there, are_forgotten_when_dropped, are_bounded,
                refuse_an_id_in_use, take_the_first_reply, take_replies_from_their_own_inbox_only,
                may_share_an_id_across_topics, survive_replies_that_are_none, report_an_invalid_reply,
                refuse_reserved_types, are_handed_to_nobody_once_expired;
            clients: send_events, reach_a_new_topic_at_once, reach_a_topic_that_only_had_events, share_a_topic,
                refuse_a_full_backlog, fail_what_waits_when_closed;
            inboxes: are_trimmed_behind_the_reader, go_with_their_client, go_with_the_last_clone,
                are_made_again_when_lost;
            members: bound_what_they_take, wait_for_a_free_permit, each_group_gets_everything,
                leave_what_is_for_another_group, bury_what_is_malformed, trim_what_is_finished, end_when_stopped;
            outcomes: reply_and_ack, say_that_there_is_nothing_to_say, bury_with_the_reason, emit_with_the_ack,
                replace_an_answer_that_is_too_large;
            leases: end_with_a_crash, end_when_a_delivery_is_dropped, outlast_a_slow_handler, are_lost_to_a_thief,
                end_by_a_hand_back, end_by_a_hand_back_to_a_busy_member, abandon_after_too_many_deliveries,
                are_taken_over_in_bulk;
            turns: come_one_by_one_for_each_key, are_kept_by_what_is_tried_again,
                are_not_blocked_by_what_waits_for_another_attempt, come_back_from_the_schedule, may_be_for_ever_away, outlive_their_member,
                come_one_by_one_after_two_crashes, do_not_wait_for_what_members_died_of, come_alone_after_three_crashes, stay_alone_when_others_are_due, end_early_when_the_caller_goes;
            shards: are_shared_fairly, move_when_a_member_goes, wait_for_what_is_at_work, are_inherited_in_order,
                keep_order_whoever_comes_and_goes, keep_what_is_given_back, take_further_attempts_along,
                share_their_permits, refuse_another_number, start_all_at_once;
            later: come_once_and_in_order, are_listed_replaced_and_cancelled, never_replace_a_retry,
                come_at_once_when_they_are_late;
            dead: are_found_by_what_they_say, are_replayed_once_for_their_group, are_dropped, are_found_from_either_end,
                are_replayed_in_bulk, stay_when_their_group_is_gone, are_dropped_in_bulk;
            leaving: hands_back_what_never_started, settles_what_ended, leaves_what_is_held;
            lost_groups: are_made_again, skip_nothing_unsettled, skip_nothing_that_others_hold, skip_nothing_given_up, survive_a_flush;
            subscriptions: keep_the_order, read_many_streams, follow_changes, resume_at_their_cursor,
                start_at_the_end, end_when_told, start_again_without_old_entries;
            originals: carry_calls, share_a_stream_of_replies, hear_errors, get_no_reply_elsewhere,
                are_not_told_that_nobody_is_there, refuse_what_would_be_misread, may_be_called_cancel,
                carry_what_comes_later, count_what_waits_and_no_more;
            gaps: are_told_after_a_trim, are_not_told_without_a_hole, are_told_of_a_stream_made_anew,
                are_told_to_a_slow_subscriber;
            publishers: keep_the_order, confirm_with_a_flush, refuse_what_is_too_large, carry_a_pipeline,
                end_a_delivery_after_its_append, repeat_the_id_of_a_redelivery;
        }
    };
    (@cases $subject:expr; $($area:ident: $($case:ident),+;)+) => {
        $(mod $area {
            use super::*;
            $(#[test]
            fn $case() {
                $crate::conformance::run(async {
                    // The whole subject lives to the end of the case, its server included.
                    let subject: $crate::conformance::Subject = $subject;
                    $crate::behaviour::$area::$case(subject.broker.clone()).await;
                });
            })+
        })+
    };
}

/// A case that is written and not listed would never run, and nobody would notice.
#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn every_case_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/behaviour");
        let list: Vec<String> = fs::read_to_string(folder.join("cases.rs"))
            .unwrap()
            .split(|character: char| !character.is_alphanumeric() && character != '_')
            .map(str::to_owned)
            .collect();
        let mut cases = 0;
        for file in fs::read_dir(&folder).unwrap() {
            let source = fs::read_to_string(file.unwrap().path()).unwrap();
            for line in source.lines() {
                let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
                let (name, _) = rest.split_once('(').unwrap();
                assert!(list.iter().any(|listed| listed == name), "{name} is in no list");
                cases += 1;
            }
        }
        assert!(cases > 50, "{cases} cases only: the search is broken");
    }
}
