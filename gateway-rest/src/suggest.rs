//! "Did you mean": the closest known name, if one is close enough to be worth saying.

/// Longer names than this are not compared: nobody mistypes that much, and the cost grows with the square.
const MAX_LENGTH: usize = 64;

/// The known name nearest to `given`, at most a third of its letters away.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if given.is_empty() || given.len() > MAX_LENGTH {
        return None;
    }
    let folded = fold(given);
    let limit = (folded.len() / 3).max(1);
    known
        .filter(|name| name.len() <= MAX_LENGTH)
        .map(|name| (distance(&folded, &fold(name)), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// `; did you mean "x"?`, or nothing.
pub(crate) fn hint<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(given, known)
        .map(|name| format!("; did you mean \"{name}\"?"))
        .unwrap_or_default()
}

/// Case and underscores are the usual mistakes between the two spellings of a field, so they count for nothing.
fn fold(name: &str) -> Vec<u8> {
    name.bytes()
        .filter(|byte| *byte != b'_' && *byte != b'-')
        .map(|byte| byte.to_ascii_lowercase())
        .collect()
}

/// Edits (insert, delete, replace) between two names.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_wins_and_far_names_are_not_offered() {
        let known = ["displayName", "pageSize", "labels"];
        let near = |given| nearest(given, known.into_iter());
        assert_eq!(near("displayNmae"), Some("displayName"));
        assert_eq!(near("page_size"), Some("pageSize"));
        assert_eq!(near("label"), Some("labels"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(""), None);
    }
}
