//! Keyset pages. A token is opaque to clients, and bound to the caller and the filter it was made for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::base::status;

/// Items on a page when the caller asks for none.
const DEFAULT_SIZE: i64 = 50;
/// Items on a page at most; more is cut to this.
const MAX_SIZE: i64 = 200;

/// One page asked for.
pub struct Page {
    /// Items wanted. Stores read one more, to see whether there is a next page.
    pub size: i64,
    /// Key of the last item of the previous page, as the store wrote it; `None` for the first page.
    pub after: Option<String>,
    binding: [u8; 8],
}

impl Page {
    /// Reads the paging fields of a request. `binding` is whatever the token must not be carried between: caller, method and filter.
    ///
    /// # Errors
    /// INVALID_PAGE_TOKEN for a token made elsewhere.
    pub fn read(size: i32, token: &str, binding: &[&str]) -> Result<Self, Status> {
        let size = if size <= 0 {
            DEFAULT_SIZE
        } else {
            i64::from(size).min(MAX_SIZE)
        };
        let binding = digest(binding);
        let after = if token.is_empty() {
            None
        } else {
            Some(open(token, binding)?)
        };
        Ok(Self {
            size,
            after,
            binding,
        })
    }

    /// How many rows a store reads.
    pub fn limit(&self) -> i64 {
        self.size + 1
    }

    /// Cuts the extra row off and makes the token of the next page; empty at the end.
    pub fn finish<T>(&self, items: &mut Vec<T>, key: impl Fn(&T) -> String) -> String {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        if items.len() <= size {
            return String::new();
        }
        items.truncate(size);
        items
            .last()
            .map(|last| seal(&key(last), self.binding))
            .unwrap_or_default()
    }

    /// The key of the previous page's last item, parsed.
    ///
    /// # Errors
    /// INVALID_PAGE_TOKEN if it does not parse.
    pub fn after_as<T: std::str::FromStr>(&self) -> Result<Option<T>, Status> {
        self.after
            .as_deref()
            .map(|key| key.parse().map_err(|_| refused()))
            .transpose()
    }
}

fn digest(parts: &[&str]) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut short = [0; 8];
    short.copy_from_slice(&hash.finalize()[..8]);
    short
}

fn seal(key: &str, binding: [u8; 8]) -> String {
    let mut bytes = binding.to_vec();
    bytes.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(token: &str, binding: [u8; 8]) -> Result<String, Status> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    let key = bytes.strip_prefix(&binding).ok_or_else(refused)?;
    String::from_utf8(key.to_vec()).map_err(|_| refused())
}

fn refused() -> Status {
    status::refuse(
        CommonErrorReason::InvalidPageToken,
        "the page token is not one made for this caller and filter",
    )
    .status()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_only_where_it_was_made() {
        let page = Page::read(1, "", &["caller", "filter"]).expect("a page");
        let mut items = vec!["a", "b"];
        let token = page.finish(&mut items, |i| (*i).to_owned());
        assert_eq!(items, ["a"]);
        let next = Page::read(1, &token, &["caller", "filter"]).expect("the next page");
        assert_eq!(next.after.as_deref(), Some("a"));
        assert!(Page::read(1, &token, &["caller", "other"]).is_err());
        assert!(Page::read(1, "!", &["caller", "filter"]).is_err());
        assert!(page.finish(&mut vec!["a"], |i| (*i).to_owned()).is_empty());
    }

    #[test]
    fn sizes_are_coerced() {
        assert_eq!(Page::read(0, "", &[]).map(|p| p.size).ok(), Some(50));
        assert_eq!(Page::read(1000, "", &[]).map(|p| p.size).ok(), Some(200));
    }
}
