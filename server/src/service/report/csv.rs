//! Tables as CSV (RFC 4180), a piece at a time.

use bytes::Bytes;

/// What REST clients are told.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8";

/// Rows being written.
#[derive(Default)]
pub struct Table {
    text: String,
}

/// One field of a row.
pub enum Field<'f> {
    /// Somebody's words.
    Text(&'f str),
    /// A number.
    Number(i64),
}

impl<'f> From<&'f str> for Field<'f> {
    fn from(text: &'f str) -> Self {
        Self::Text(text)
    }
}

impl<'f> From<&'f String> for Field<'f> {
    fn from(text: &'f String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Field<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Table {
    /// Writes a row.
    pub fn row(&mut self, fields: &[Field<'_>]) {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            match field {
                Field::Text(text) => quote(&mut self.text, text),
                Field::Number(number) => self.text.push_str(&number.to_string()),
            }
        }
        self.text.push_str("\r\n");
    }

    /// Writes the names of the columns.
    pub fn head(&mut self, names: &[&str]) {
        let names: Vec<Field<'_>> = names.iter().map(|name| Field::Text(name)).collect();
        self.row(&names);
    }

    /// Takes what was written so far.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.text).into()
    }
}

/// Names of accounts and machines are chosen by customers, and whoever opens the file must not run what they chose: a spreadsheet takes these beginnings for a formula.
fn quote(out: &mut String, text: &str) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !formula && !text.contains([',', '"', '\r', '\n']) {
        out.push_str(text);
        return;
    }
    out.push('"');
    if formula {
        out.push('\'');
    }
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_and_formulas_are_text() {
        let mut table = Table::default();
        table.head(&["name", "amount"]);
        table.row(&["plain".into(), (-5).into()]);
        table.row(&["a, \"b\"\nc".into(), 0.into()]);
        table.row(&["=1+1".into(), i64::MIN.into()]);
        let text = table.take();
        let expected = "name,amount\r\nplain,-5\r\n\"a, \"\"b\"\"\nc\",0\r\n\"'=1+1\",-9223372036854775808\r\n";
        assert_eq!(text, expected.as_bytes());
        assert!(table.take().is_empty());
    }
}
