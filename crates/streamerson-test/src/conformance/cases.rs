//! The list of all cases, and the macros that make tests of them.

/// Makes a `#[test]` of every case of the suite.
///
/// The argument is evaluated for each, in an async context, to a [`Subject`](crate::conformance::Subject).
///
/// ```
/// use streamerson_core::broker::memory::Memory;
/// use streamerson_test::conformance::Subject;
///
/// streamerson_test::conformance!(Subject::embedded(Memory::new().into()));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance {
    ($subject:expr) => {
        $crate::conformance! {
            @cases $subject;
            append: keeps_the_order_of_a_batch, spreads_a_batch_over_streams, answers_an_empty_batch,
                spares_a_stream_that_must_exist, goes_on_after_a_refused_entry, bounds_a_stream, tells_the_connection;
            range: includes_both_ends, starts_at_either_end, may_be_empty;
            read: resumes_after_its_cursor, covers_many_streams, ends_after_its_block,
                takes_a_tiny_block_for_a_short_one, wakes_for_new_entries, can_be_woken, remembers_one_wake,
                survives_a_dropped_read, shows_a_gap, follows_a_stream_made_again, covers_ten_thousand_topics;
            groups: start_where_they_are_told, make_their_stream, are_made_once, may_be_missing,
                may_go_while_they_are_read, are_missed_by_every_question, can_be_dropped, each_get_everything,
                wake_their_members, let_a_read_end_empty;
            members: share_without_overlap, own_what_they_read, leave_with_empty_hands, never_leave_with_something,
                hand_back_at_once, hand_back_to_who_has_little_room, take_over_at_the_end_of_a_long_list,
                hand_back_what_they_died_of_without_precedence,
                hand_back_only_what_is_theirs, count_crashes_and_no_hand_backs;
            lease: last_while_they_are_renewed, are_renewed_without_counting, report_what_was_lost, fence_who_lost,
                fence_each_delivery_by_itself, fence_dead_letters_always, fence_what_is_settled, fence_strangers,
                fence_a_missing_group;
            reclaim: takes_what_is_idle, starts_the_lease_again, leaves_what_is_settled, goes_on_at_its_cursor,
                may_find_nothing, buries_what_is_gone, buries_what_went_while_it_was_held;
            settle: replies_and_acks, swallows_a_reply_to_nobody, buries_byte_for_byte, mixes_outcomes,
                emits_elsewhere, takes_large_batches, carries_large_payloads, takes_an_empty_batch;
            inbox: is_made_empty, goes_by_itself, is_refreshed, takes_the_last_word, is_removed,
                is_made_with_a_request, is_left_alone_on_the_same_connection;
            trim: below_an_id, to_a_length, more_than_fits_one_go, nothing, nothing_without_groups,
                behind_the_oldest_pending, behind_the_slowest_group, behind_a_group_that_starts_late;
            inspect: streams, emptied_streams, streams_of_topics, groups, lag_in_the_middle, no_groups, members, pending;
            payloads: may_be_empty, may_be_any_bytes, may_be_large, may_have_many_fields;
            schedule: moves_what_is_due, waits_for_its_time, moves_so_many_at_once, replaces_the_same_id, is_bounded,
                refuses_what_it_cannot_hold, is_listed_in_pages, can_be_cancelled, moves_each_once, ends_deliveries,
                keeps_deliveries_when_full, carries_large_payloads;
            dead: are_replayed_once, stay_when_they_cannot_be_replayed, are_replayed_by_one_of_many, are_dropped,
                are_bounded_when_settled, are_bounded_when_reclaimed;
            marks: are_recalled, go_by_themselves, are_set_if_absent, are_set_by_one_of_many, are_set_with_the_ack,
                are_extended_when_they_would_go_soon, are_metered, are_metered_with_reservations, are_no_streams;
            owners: have_one_holder, pass_on_when_they_end, are_found_again, can_be_released, go_to_one_of_many,
                register_who_lives, outlive_the_last_to_come;
            clock: agrees_with_this_machine, goes_on;
            concurrency: appends_without_loss, shares_without_overlap, fans_out, settles_against_a_thief, reaps_while_others_read;
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
                    $crate::conformance::$area::$case(subject.broker.clone()).await;
                });
            })+
        })+
    };
}

/// Makes a `#[test]` of every case that reaches past the port, and so needs a [`Subject`](crate::conformance::Subject)
/// with a server.
#[macro_export]
macro_rules! conformance_of_a_server {
    ($subject:expr) => {
        $crate::conformance_of_a_server! {
            @cases $subject;
            foreign: spares_the_rest_of_a_batch, is_told_by_every_call, can_be_left_out_of_a_read,
                keeps_what_cannot_be_buried, does_not_stop_other_replies, does_not_hold_up_what_is_due,
                stops_what_is_due_and_loses_none, keeps_what_cannot_be_marked, is_told_by_calls_on_other_keys;
        }
    };
    (@cases $subject:expr; $($area:ident: $($case:ident),+;)+) => {
        $(mod $area {
            use super::*;
            $(#[test]
            fn $case() {
                $crate::conformance::run(async { $crate::conformance::$area::$case($subject).await });
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
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
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
        assert!(cases > 80, "{cases} cases only: the search is broken");
    }
}
