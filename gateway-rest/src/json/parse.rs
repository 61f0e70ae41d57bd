//! JSON text to a borrowed tree.
//!
//! The tree keeps what `serde_json::Value` loses and the contract needs: repeated keys, the order of keys, and numbers as
//! they were written (a 64-bit integer must not pass through a float).

use std::borrow::Cow;

/// A JSON value that borrows from the text wherever no escape forces a copy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// The literal, already checked against the grammar.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// Entries in the order written, repeated keys included.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl Json<'_> {
    /// What to call this value in an error message.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) offset: usize,
    pub(crate) message: &'static str,
}

/// Parses a whole text: one value, nothing but white space around it.
pub(crate) fn parse(text: &[u8], max_depth: usize) -> Result<Json<'_>, SyntaxError> {
    let text = std::str::from_utf8(text).map_err(|error| SyntaxError {
        offset: error.valid_up_to(),
        message: "the body is not valid UTF-8",
    })?;
    let mut parser = Parser {
        text,
        at: 0,
        depth_left: max_depth,
    };
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.error("unexpected text after the end of the JSON value"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, message: &'static str) -> SyntaxError {
        SyntaxError {
            offset: self.at,
            message,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Json<'a>, SyntaxError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.error("expected a JSON value")),
            None => Err(self.error("the JSON text ends too early")),
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, SyntaxError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error("expected a JSON value"))
        }
    }

    /// Objects and arrays recurse; the depth is bounded by the configuration, not by the stack.
    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Json<'a>, SyntaxError>,
    ) -> Result<Json<'a>, SyntaxError> {
        if self.depth_left == 0 {
            return Err(self.error("the JSON value is nested too deeply"));
        }
        self.depth_left -= 1;
        self.at += 1;
        let value = read(self)?;
        self.depth_left += 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Json<'a>, SyntaxError> {
        let mut entries = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(entries));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a quoted key"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.error("expected \":\" after a key"));
            }
            self.at += 1;
            self.skip_space();
            entries.push((key, self.value()?));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(entries));
                }
                Some(_) => return Err(self.error("expected \",\" or \"}\"")),
                None => return Err(self.error("the JSON text ends inside an object")),
            }
        }
    }

    fn array(&mut self) -> Result<Json<'a>, SyntaxError> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                Some(_) => return Err(self.error("expected \",\" or \"]\"")),
                None => return Err(self.error("the JSON text ends inside an array")),
            }
        }
    }

    fn number(&mut self) -> Result<Json<'a>, SyntaxError> {
        let rest = &self.text[self.at..];
        let length = super::number::literal_length(rest)
            .ok_or_else(|| self.error("this is not a JSON number"))?;
        self.at += length;
        Ok(Json::Number(&rest[..length]))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let plain = self.plain_run()?;
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(&self.text[start..start + plain]));
        }
        let mut owned = String::from(&self.text[start..self.at]);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => owned.push(self.escape()?),
                _ => {
                    let from = self.at;
                    self.plain_run()?;
                    owned.push_str(&self.text[from..self.at]);
                }
            }
        }
    }

    /// Moves to the next quote or backslash and returns how far that was.
    fn plain_run(&mut self) -> Result<usize, SyntaxError> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
            .unwrap_or(rest.len());
        self.at += length;
        match rest.get(length) {
            Some(b'"' | b'\\') => Ok(length),
            Some(_) => Err(self.error("a control character must be escaped in a string")),
            None => Err(self.error("the JSON text ends inside a string")),
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        self.at += 1;
        let escape = self
            .peek()
            .ok_or_else(|| self.error("the JSON text ends inside a string"))?;
        self.at += 1;
        Ok(match escape {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.error("unknown escape in a string")),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, SyntaxError> {
        let high = self.four_hex_digits()?;
        let code = match high {
            0xd800..=0xdbff => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(self.error("a lone surrogate is not a character"));
                }
                self.at += 2;
                let low = self.four_hex_digits()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(self.error("a lone surrogate is not a character"));
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            _ => high,
        };
        char::from_u32(code).ok_or_else(|| self.error("a lone surrogate is not a character"))
    }

    fn four_hex_digits(&mut self) -> Result<u32, SyntaxError> {
        let digits = self
            .text
            .as_bytes()
            .get(self.at..self.at + 4)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.error("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(digits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Json, parse};

    #[test]
    fn repeated_keys_and_number_literals_survive() {
        let tree = parse(br#"{"a":1e3,"a":9007199254740993}"#, 8).unwrap();
        let Json::Object(entries) = tree else {
            panic!("an object")
        };
        assert_eq!(entries[0].1, Json::Number("1e3"));
        assert_eq!(entries[1].1, Json::Number("9007199254740993"));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(parse(&nested(64), 64).is_ok());
        assert!(parse(&nested(65), 64).is_err());
        assert!(parse(&vec![b'['; 1_000_000], 64).is_err());
    }

    #[test]
    fn strings_are_strict() {
        assert_eq!(
            parse(br#""\ud83d\ude00""#, 1),
            Ok(Json::String("\u{1f600}".into()))
        );
        for bad in [
            &br#""\ud83d""#[..],
            br#""\ude00""#,
            b"\"\xff\"",
            b"\"\x01\"",
            b"\xef\xbb\xbf{}",
            br#""\x""#,
        ] {
            assert!(parse(bad, 4).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        /// The parser accepts exactly what an independent parser accepts.
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"a\\\\nu0-9.eE+ -]{0,24}") {
            let ours = parse(text.as_bytes(), 64).is_ok();
            // serde_json refuses a float that overflows; here that is left to the field's type.
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
                prop_assert!(!ours || error.to_string().contains("out of range"), "{text}: {error}");
            } else {
                prop_assert!(ours, "{text}");
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes, 16);
        }
    }
}
