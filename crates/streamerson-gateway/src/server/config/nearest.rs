//! The word that was probably meant.

/// Fewer letters than this are the beginning of too much.
const BEGINNING_MIN: usize = 3;

/// The known word nearest to this one, if it is near enough to be a slip of the finger.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let is_beginning = |candidate: &&&str| word.len() >= BEGINNING_MIN && candidate.starts_with(word);
    if let Some(candidate) = known.iter().find(is_beginning) {
        return Some(candidate);
    }
    let (distance, candidate) = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    // About a quarter of the word may be wrong: with more, anything is near to anything short.
    (distance <= 1 + candidate.len() / 4).then_some(candidate)
}

/// How many letters must be added, left out or replaced to make one word of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // The distances of what was read of `from` so far to every beginning of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (read, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], read + 1);
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["timeout", "topic", "path", "body_bytes_max"];
        for (word, meant) in [
            ("timout", Some("timeout")),
            ("Topic", Some("topic")),
            ("pth", Some("path")),
            ("body_max_bytes", None),
            ("body_byte_max", Some("body_bytes_max")),
            ("body_bytes", Some("body_bytes_max")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
        assert_eq!(nearest("word", &[]), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")), (3, 3, 3));
    }
}
