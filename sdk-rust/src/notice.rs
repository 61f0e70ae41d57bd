//! Things an operator of a client should hear once: a method is going away, or the server speaks another contract.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use http::HeaderMap;
use sha2::{Digest, Sha256};


/// SHA-256 of the descriptor set this SDK was generated from, in hexadecimal: what a server sends as `x-sewa-contract`.
pub fn contract_digest() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| {
        Sha256::digest(crate::DESCRIPTORS)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    })
}

/// What a client has said already.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    warned: Mutex<HashSet<String>>,
    compared: AtomicBool,
}

impl Notices {
    /// True for the first caller alone: a deprecated method is reported once, not on each call.
    fn is_first(&self, path: &str) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        !warned.contains(path) && warned.insert(path.to_owned())
    }

    /// Looks at the headers of a reply.
    pub(crate) fn read(&self, path: &str, headers: &HeaderMap) {
        if let Some(notice) = ["deprecation", "warning", "warnings"]
                .iter()
                .find_map(|name| headers.get(*name))
            && self.is_first(path)
        {
            let sunset = headers
                .get("sunset")
                .and_then(|value| value.to_str().ok())
                .unwrap_or("not announced");
            tracing::warn!(method = path, notice = %String::from_utf8_lossy(notice.as_bytes()), sunset, "the server warns about this method");
        }
        if let Some(theirs) = headers.get("x-sewa-contract")
            && !self.compared.swap(true, Ordering::Relaxed)
            && theirs.as_bytes() != contract_digest().as_bytes()
        {
            tracing::warn!(
                server = %String::from_utf8_lossy(theirs.as_bytes()),
                client = contract_digest(),
                "the server's contract is not the one this SDK was generated from; calls work as far as both know them"
            );
        }
    }
}
