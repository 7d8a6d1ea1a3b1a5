//! Who has how many shards: each member works out its own part from who lives, and no one decides for all.

use crate::name::Name;

/// How many shards a member should have: as many as any other, or one more.
///
/// All who know of the same members come to numbers that sum up to `shards`. Who does not know itself to be among them
/// has none.
pub(super) fn quota(shards: u32, living: &[Name], me: &Name) -> usize {
    let Some(place) = living.iter().position(|name| name == me) else { return 0 };
    let (shards, members) = (shards as usize, living.len());
    shards / members + usize::from(place < shards % members)
}

/// The shards that a member may ask for, beginning elsewhere than others do, so that they don't all ask for the same.
pub(super) fn in_turn(shards: u32, start: u32) -> impl Iterator<Item = u32> {
    (0..shards).map(move |step| (start % shards + step) % shards)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_parts_sum_up_and_none_is_larger_than_another_by_two(shards in 1_u32..1024, members in 1_usize..50) {
            let living: Vec<_> = (0..members).map(|number| Name::new(format!("m{number:02}")).unwrap()).collect();
            let parts: Vec<_> = living.iter().map(|me| quota(shards, &living, me)).collect();
            prop_assert_eq!(parts.iter().sum::<usize>(), shards as usize);
            prop_assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }

        #[test]
        fn every_shard_has_its_turn(shards in 1_u32..100, start in any::<u32>()) {
            let mut all: Vec<_> = in_turn(shards, start).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..shards).collect::<Vec<_>>());
        }
    }

    #[test]
    fn who_is_not_known_has_none() {
        let [one, two] = ["a", "b"].map(|name| Name::new(name).unwrap());
        assert_eq!(quota(7, &[one], &two), 0);
        assert_eq!(quota(7, &[], &two), 0);
    }
}
