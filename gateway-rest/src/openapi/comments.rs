//! Comments of the `.proto` files: descriptions, and the examples within them.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};
use serde_json::Value;

/// Leading comments by file and path.
pub(crate) struct Comments {
    by_file: HashMap<String, HashMap<Vec<i32>, String>>,
}

/// A comment without its examples.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Comment {
    /// The first sentence, without its full stop.
    pub(crate) summary: String,
    /// All of it, Markdown.
    pub(crate) text: String,
    /// The JSON of ``Example request: `{…}` ``.
    pub(crate) example: Option<Value>,
}

impl Comments {
    /// Reads a pool. Files without source information have none.
    pub(crate) fn new(pool: &DescriptorPool) -> Self {
        let by_file = pool.files().map(|file| {
            let info = file.file_descriptor_proto().source_code_info.as_ref();
            let locations = info
                .map(|info| info.location.as_slice())
                .unwrap_or_default();
            let comments = locations.iter().filter_map(|location| {
                let text = location.leading_comments.as_deref()?;
                Some((location.path.clone(), text.to_owned()))
            });
            (file.name().to_owned(), comments.collect())
        });
        Self {
            by_file: by_file.collect(),
        }
    }

    /// The comment before a declaration.
    pub(crate) fn of(&self, file: &FileDescriptor, path: &[i32]) -> Comment {
        let text = self
            .by_file
            .get(file.name())
            .and_then(|file| file.get(path));
        text.map_or_else(Comment::default, |text| read(text))
    }
}

/// Takes a comment apart. A line that begins with "Example request:" is an example if what stands in backquotes is JSON.
fn read(raw: &str) -> Comment {
    let mut comment = Comment::default();
    let mut paragraphs: Vec<String> = vec![String::new()];
    for line in raw.lines().map(str::trim) {
        let example = line
            .strip_prefix("Example request:")
            .and_then(|rest| rest.trim().strip_prefix('`')?.strip_suffix('`'))
            .and_then(|text| serde_json::from_str(text).ok());
        if example.is_some() {
            comment.example = example;
        } else if line.is_empty() {
            paragraphs.push(String::new());
        } else if let Some(paragraph) = paragraphs.last_mut() {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line);
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    comment.text = paragraphs.join("\n\n");
    comment.summary = first_sentence(&comment.text).to_owned();
    comment
}

fn first_sentence(text: &str) -> &str {
    let end = [". ", ".\n", ": ", "; "]
        .iter()
        .filter_map(|end| text.find(end))
        .min();
    text[..end.unwrap_or(text.len())].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn examples_leave_the_text() {
        let comment =
            read(" Places an order. Money is\n held.\n\n Example request: `{\"a\": 1}`\n");
        assert_eq!(comment.summary, "Places an order");
        assert_eq!(comment.text, "Places an order. Money is held.");
        assert_eq!(comment.example, Some(serde_json::json!({"a": 1})));
        assert_eq!(read("Example request: `{`").example, None);
    }
}
