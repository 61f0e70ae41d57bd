//! What is wrong with a request, field by field, in the words of `google.rpc.BadRequest`.

/// Faults reported for one request; a hostile body must not turn into an equally large answer.
const MAX_FAULTS: usize = 32;

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `items[2].plan_id`; empty when the request as a whole is meant.
    pub(crate) field: String,
    /// Stable, upper case, for programs.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) description: String,
}

/// Reasons a value is refused before its field is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) description: String,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str, description: impl Into<String>) -> Self {
        Self {
            reason,
            description: description.into(),
        }
    }

    pub(crate) fn wrong_type(expected: &str, found: &str) -> Self {
        Self::new(WRONG_TYPE, format!("expected {expected}, found {found}"))
    }

    pub(crate) fn invalid(description: impl Into<String>) -> Self {
        Self::new(INVALID_VALUE, description)
    }
}

pub(crate) const WRONG_TYPE: &str = "WRONG_TYPE";
pub(crate) const INVALID_VALUE: &str = "INVALID_VALUE";
pub(crate) const OUT_OF_RANGE: &str = "OUT_OF_RANGE";
pub(crate) const UNKNOWN_FIELD: &str = "UNKNOWN_FIELD";
pub(crate) const DUPLICATE_FIELD: &str = "DUPLICATE_FIELD";
pub(crate) const ONEOF_CONFLICT: &str = "ONEOF_CONFLICT";
pub(crate) const FIELD_CONFLICT: &str = "FIELD_CONFLICT";
pub(crate) const UNSUPPORTED: &str = "UNSUPPORTED";
pub(crate) const BAD_ESCAPE: &str = "BAD_ESCAPE";

/// Collects faults together with the path the reader currently stands at.
#[derive(Default)]
pub(crate) struct Faults {
    list: Vec<Fault>,
    path: String,
}

impl Faults {
    /// Steps into a field; give the result to [`Faults::leave`].
    pub(crate) fn enter(&mut self, field: &str) -> usize {
        let mark = self.path.len();
        if mark > 0 {
            self.path.push('.');
        }
        self.path.push_str(field);
        mark
    }

    /// Steps into an element of a list.
    pub(crate) fn enter_index(&mut self, index: usize) -> usize {
        use std::fmt::Write as _;
        let mark = self.path.len();
        let _ = write!(self.path, "[{index}]");
        mark
    }

    /// Steps into an entry of a map.
    pub(crate) fn enter_key(&mut self, key: &str) -> usize {
        use std::fmt::Write as _;
        let mark = self.path.len();
        let _ = write!(self.path, "[{key:?}]");
        mark
    }

    /// Steps back to where the matching `enter` was called.
    pub(crate) fn leave(&mut self, mark: usize) {
        self.path.truncate(mark);
    }

    /// Adds a fault about the place the path points to.
    pub(crate) fn here(&mut self, refusal: Refusal) {
        if self.is_full() {
            return;
        }
        let field = self.path.clone();
        self.at(field, refusal);
    }

    /// Adds a fault about a child of the place the path points to.
    pub(crate) fn child(&mut self, name: &str, refusal: Refusal) {
        let mark = self.enter(name);
        self.here(refusal);
        self.leave(mark);
    }

    /// Adds a fault about an explicit field path.
    pub(crate) fn at(&mut self, field: String, refusal: Refusal) {
        if !self.is_full() {
            self.list.push(Fault {
                field,
                reason: refusal.reason,
                description: refusal.description,
            });
        }
    }

    /// Whether further faults would be dropped, so that there is no use in finding words for them.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_FAULTS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Fault> {
        self.list
    }
}
