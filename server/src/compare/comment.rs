//! What comments promise in numbers: "50 if 0, at most 200" is the default and the cap of a page.

use prost_reflect::FieldDescriptor;

/// Numbers found in the comment of a field.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Promised {
    /// What an unset field stands for.
    pub(super) default: Option<u64>,
    /// What more is cut to.
    pub(super) cap: Option<u64>,
}

pub(super) fn of(field: &FieldDescriptor) -> Promised {
    let file = field.parent_message().parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| {
        info.location
            .iter()
            .find(|location| location.path == field.path())
    });
    read(
        location
            .and_then(|location| location.leading_comments.as_deref())
            .unwrap_or_default(),
    )
}

fn read(comment: &str) -> Promised {
    let words: Vec<&str> = comment
        .split_whitespace()
        .map(|word| word.trim_end_matches([',', '.', ';']))
        .collect();
    let number = |word: &&str| word.parse().ok();
    let default = words
        .windows(3)
        .find(|w| w[1] == "if" && ["0", "absent", "empty", "unset"].contains(&w[2]));
    let cap = words.windows(3).find(|w| w[0] == "at" && w[1] == "most");
    Promised {
        default: default.and_then(|w| number(&w[0])),
        cap: cap.and_then(|w| number(&w[2])),
    }
}

#[cfg(test)]
mod tests {
    use super::{Promised, read};

    #[test]
    fn numbers_are_found_in_sentences() {
        let page = Promised {
            default: Some(50),
            cap: Some(200),
        };
        assert_eq!(read(" Items per page, 50 if 0, at most 200.\n"), page);
        assert_eq!(read("Only this plan; all if empty."), Promised::default());
    }
}
