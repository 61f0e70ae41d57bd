//! As much of PostgreSQL's protocol as it takes to see which statement runs and which message says that a transaction is committed.

use std::collections::{HashMap, VecDeque};

/// Length of the type byte and the length of a message.
const HEAD: usize = 5;
/// A message without a type byte, with which a client asks for TLS or GSS before it begins.
const ASKS_FOR_ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];
const CANCEL: u32 = 80_877_102;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToServer,
    /// To the client.
    ToClient,
}

/// What a message means to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing of interest.
    Other,
    /// This statement is run.
    Runs(String),
    /// The transaction is committed, and this is where the client learns it.
    Committed,
}

/// A statement in the place of others, which fails as PostgreSQL's own conflicts do. The session is afterwards as after them.
pub fn conflict(code: &str) -> Vec<u8> {
    let text = format!(
        "do $$ begin raise exception 'a conflict made by a test' using errcode = '{code}'; end $$\0"
    );
    let length = u32::try_from(text.len() + 4).expect("a short statement");
    [&b"Q"[..], &length.to_be_bytes(), text.as_bytes()].concat()
}

/// Whether a message ends what a client says in one go, so that an answer follows.
pub fn ends(message: &[u8]) -> bool {
    matches!(message.first(), Some(b'S' | b'Q'))
}

/// Whether a statement may be ended by a conflict: it takes locks or makes something last.
pub fn may_conflict(statement: &str) -> bool {
    let words = [
        "insert into ",
        "update ",
        "delete from ",
        "for update",
        "for no key update",
        "for share",
    ];
    statement == "COMMIT" || words.iter().any(|word| statement.contains(word))
}

/// One connection, as far as it was followed.
#[derive(Debug, Default)]
pub struct Talk {
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    begun: bool,
    statements: HashMap<String, String>,
    /// Whether a statement outside a transaction block writes: it commits by itself, before the server is ready again.
    writes: bool,
}

impl Talk {
    /// Takes bytes as they came.
    pub fn take(&mut self, direction: Direction, bytes: &[u8]) {
        match direction {
            Direction::ToServer => self.up.extend(bytes),
            Direction::ToClient => self.down.extend(bytes),
        }
    }

    /// The next whole message, to be passed on, and what it means. `None` until more bytes have come.
    pub fn next(&mut self, direction: Direction) -> Option<(Vec<u8>, Seen)> {
        match direction {
            Direction::ToServer if !self.begun => {
                let length = number(&self.up, 0)?;
                let message = whole(&mut self.up, length)?;
                let code = u32::from_be_bytes(message.get(4..8)?.try_into().ok()?);
                self.begun = !ASKS_FOR_ENCRYPTION.contains(&code) && code != CANCEL;
                Some((message, Seen::Other))
            }
            Direction::ToServer => {
                let length = number(&self.up, 1)? + 1;
                let message = whole(&mut self.up, length)?;
                let seen = self.asked(&message);
                Some((message, seen))
            }
            // The answer to the question for encryption is one byte. Servers of tests have none.
            Direction::ToClient if !self.begun => {
                let byte = self.down.pop_front()?;
                Some((vec![byte], Seen::Other))
            }
            Direction::ToClient => {
                let length = number(&self.down, 1)? + 1;
                let message = whole(&mut self.down, length)?;
                let seen = self.answered(&message);
                Some((message, seen))
            }
        }
    }

    fn asked(&mut self, message: &[u8]) -> Seen {
        let mut texts = message[HEAD..].split(|byte| *byte == 0);
        let mut text = || String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
        let statement = match message[0] {
            b'P' => {
                let (name, statement) = (text(), text());
                self.statements.insert(name, statement);
                return Seen::Other;
            }
            b'B' => {
                let (_portal, name) = (text(), text());
                self.statements.get(&name).cloned().unwrap_or_default()
            }
            b'Q' => text(),
            _ => return Seen::Other,
        };
        let writing = ["insert into ", "update ", "delete from "];
        self.writes |= writing.iter().any(|word| statement.contains(word));
        Seen::Runs(statement)
    }

    fn answered(&mut self, message: &[u8]) -> Seen {
        match message[0] {
            b'C' if message[HEAD..].starts_with(b"COMMIT\0") => Seen::Committed,
            b'E' => {
                self.writes = false;
                Seen::Other
            }
            b'Z' => {
                let wrote = std::mem::take(&mut self.writes);
                if wrote && message.get(HEAD) == Some(&b'I') {
                    Seen::Committed
                } else {
                    Seen::Other
                }
            }
            _ => Seen::Other,
        }
    }
}

fn number(bytes: &VecDeque<u8>, at: usize) -> Option<usize> {
    let mut read = bytes.iter().skip(at).copied();
    let number = [read.next()?, read.next()?, read.next()?, read.next()?];
    usize::try_from(u32::from_be_bytes(number)).ok()
}

fn whole(bytes: &mut VecDeque<u8>, length: usize) -> Option<Vec<u8>> {
    (bytes.len() >= length).then(|| bytes.drain(..length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn begun() -> Talk {
        let mut talk = Talk::default();
        let start = [&8_u32.to_be_bytes()[..], &196_608_u32.to_be_bytes()].concat();
        talk.take(Direction::ToServer, &start);
        assert_eq!(talk.next(Direction::ToServer), Some((start, Seen::Other)));
        talk
    }

    fn seen(talk: &mut Talk, direction: Direction, message: &[u8]) -> Seen {
        // Byte by byte, as a network may bring them.
        for byte in &message[..message.len() - 1] {
            talk.take(direction, &[*byte]);
            assert_eq!(talk.next(direction), None);
        }
        talk.take(direction, &message[message.len() - 1..]);
        let (passed, seen) = talk.next(direction).unwrap();
        assert_eq!(passed, message);
        seen
    }

    #[test]
    fn the_reply_to_a_commit_is_recognised() {
        let mut talk = begun();
        let (up, down) = (Direction::ToServer, Direction::ToClient);
        let runs = |text: &str| Seen::Runs(text.to_owned());
        assert_eq!(
            seen(&mut talk, up, &message(b'Q', b"COMMIT\0")),
            runs("COMMIT")
        );
        assert_eq!(
            seen(&mut talk, down, &message(b'C', b"BEGIN\0")),
            Seen::Other
        );
        assert_eq!(
            seen(&mut talk, down, &message(b'C', b"COMMIT\0")),
            Seen::Committed
        );
        assert_eq!(seen(&mut talk, down, &message(b'Z', b"I")), Seen::Other);
    }

    #[test]
    fn a_statement_that_commits_by_itself_is_recognised_by_what_it_was_prepared_as() {
        let mut talk = begun();
        let (up, down) = (Direction::ToServer, Direction::ToClient);
        let writing = "with o as (select 1) insert into orders select 1";
        let parse = format!("s1\0{writing}\0\0\0");
        seen(&mut talk, up, &message(b'P', parse.as_bytes()));
        assert_eq!(seen(&mut talk, down, &message(b'Z', b"I")), Seen::Other);
        let bind = message(b'B', b"\0s1\0\0\0");
        assert_eq!(seen(&mut talk, up, &bind), Seen::Runs(writing.to_owned()));
        assert_eq!(seen(&mut talk, down, &message(b'Z', b"I")), Seen::Committed);
        // Inside a block, or after an error, nothing is committed.
        seen(&mut talk, up, &bind);
        assert_eq!(seen(&mut talk, down, &message(b'Z', b"T")), Seen::Other);
        seen(&mut talk, up, &bind);
        seen(&mut talk, down, &message(b'E', b"\0"));
        assert_eq!(seen(&mut talk, down, &message(b'Z', b"I")), Seen::Other);
    }
}
