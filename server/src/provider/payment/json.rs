//! Reading what gateways send. The same field is a number here and a text there, and amounts come with decimals that are always zero; all of them are read, none
//! of them as a float.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::base::money::Rupiah;

/// Text, also of a number; empty if there is none.
pub fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Whole rupiah written as a number or a text, with or without decimals; decimals other than zero are no whole rupiah.
pub fn rupiah(value: &Value, field: &str) -> Option<Rupiah> {
    let text = text(value, field);
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let is_whole = rest.bytes().all(|b| b == b'0');
    is_whole.then(|| whole.parse().ok().map(Rupiah)).flatten()
}

/// A moment written as Unix seconds, as a number or a text.
pub fn unix(value: &Value, field: &str) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(text(value, field).parse().ok()?, 0)
}

/// The items of a list; none if it is no list.
pub fn items<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Text with its markup removed, so that nobody who shows it runs somebody else's page. At most 500 characters.
pub fn plain(markup: &str) -> String {
    let mut text = String::new();
    let mut within = false;
    for c in markup.chars() {
        match c {
            '<' => within = true,
            '>' if within => within = false,
            _ if within => {}
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    for (entity, c) in [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, c);
    }
    text.trim().chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_read_however_they_are_written() {
        let value = json!({"a": 1000, "b": "1000", "c": "200000.00", "d": 1000.0, "e": "10.5", "f": null, "g": "x", "h": 0.7});
        let read = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|f| rupiah(&value, f));
        let whole = |n| Some(Rupiah(n));
        assert_eq!(
            read,
            [
                whole(1000),
                whole(1000),
                whole(200_000),
                whole(1000),
                None,
                None,
                None,
                None,
                None
            ]
        );
    }

    #[test]
    fn markup_is_removed() {
        assert_eq!(
            plain("Masukkan <b>Kode</b> <script src=x>8&amp;8</script>"),
            "Masukkan Kode 8&8"
        );
        assert_eq!(plain("a < b"), "a", "what never ends is not shown");
    }
}
