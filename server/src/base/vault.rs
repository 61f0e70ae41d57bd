//! Credentials of outside parties at rest: AES-256-GCM under a key that has a name, so that a key can be replaced while the old one still opens what it sealed.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::base::crypto;

/// Name of the key that is derived from the master key, for platforms that set none of their own.
pub const DERIVED: &str = "master";

/// The keys by name, and which of them seals. Debug shows the names alone.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<BTreeMap<String, [u8; 32]>>,
    current: String,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("keys", &self.keys.keys().collect::<Vec<_>>())
            .field("current", &self.current)
            .finish()
    }
}

/// A sealed secret, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Name of the key it was sealed under.
    pub key_id: String,
    /// Nonce, cipher text and tag.
    pub bytes: Vec<u8>,
}

impl Vault {
    /// Keys by name, and the name of the one that seals.
    ///
    /// # Errors
    /// If there is no key of that name.
    pub fn new(keys: BTreeMap<String, [u8; 32]>, current: &str) -> anyhow::Result<Self> {
        ensure!(
            keys.contains_key(current),
            "there is no credential key {current:?}"
        );
        Ok(Self {
            keys: Arc::new(keys),
            current: current.to_owned(),
        })
    }

    /// Name of the key that seals.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Seals under the current key and a random nonce; `context` (table and row) must be given again to open.
    ///
    /// # Errors
    /// Never in practice: the cipher fails only beyond 64 GiB. Random nonces are safe for some four thousand million secrets under one key.
    pub fn seal(&self, plain: &[u8], context: &str) -> anyhow::Result<Sealed> {
        let nonce: [u8; NONCE_LEN] = crypto::random();
        let mut bytes = plain.to_vec();
        self.cipher(&self.current)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                aad(&self.current, context),
                &mut bytes,
            )
            .map_err(|_| anyhow::anyhow!("encryption failed"))?;
        Ok(Sealed {
            key_id: self.current.clone(),
            bytes: [nonce.as_slice(), &bytes].concat(),
        })
    }

    /// Opens what [`Vault::seal`] made, under whichever key that was.
    ///
    /// # Errors
    /// If the key is not among ours, key or context are others, or the bytes were changed.
    pub fn open(&self, sealed: &Sealed, context: &str) -> anyhow::Result<Vec<u8>> {
        let (nonce, rest) = sealed
            .bytes
            .split_first_chunk::<NONCE_LEN>()
            .context("sealed bytes are too short")?;
        let mut bytes = rest.to_vec();
        let plain = self
            .cipher(&sealed.key_id)?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                aad(&sealed.key_id, context),
                &mut bytes,
            )
            .map_err(|_| {
                anyhow::anyhow!(
                    "cannot decrypt {context}: credential key {:?} is another one, or the bytes were changed",
                    sealed.key_id
                )
            })?;
        Ok(plain.to_vec())
    }

    fn cipher(&self, id: &str) -> anyhow::Result<LessSafeKey> {
        let key = self
            .keys
            .get(id)
            .with_context(|| format!("there is no credential key {id:?}"))?;
        let key = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| anyhow::anyhow!("a credential key of another length"))?;
        Ok(LessSafeKey::new(key))
    }
}

fn aad(key_id: &str, context: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{key_id}/{context}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(names: &[&str], current: &str) -> Vault {
        let keys = names
            .iter()
            .map(|n| ((*n).to_owned(), [n.len() as u8; 32]))
            .collect();
        Vault::new(keys, current).unwrap()
    }

    #[test]
    fn a_secret_opens_only_in_its_place_and_unchanged() {
        let vault = vault(&["old"], "old");
        let sealed = vault.seal(b"dop_v1_secret", "provider_accounts/1").unwrap();
        assert_eq!(sealed.key_id, "old");
        assert!(!sealed.bytes.windows(6).any(|w| w == b"dop_v1"));
        assert_eq!(
            vault.open(&sealed, "provider_accounts/1").unwrap(),
            b"dop_v1_secret"
        );
        assert!(vault.open(&sealed, "provider_accounts/2").is_err());
        let mut changed = sealed.clone();
        changed.bytes[15] ^= 1;
        assert!(vault.open(&changed, "provider_accounts/1").is_err());
        changed.bytes.truncate(5);
        assert!(vault.open(&changed, "provider_accounts/1").is_err());
    }

    #[test]
    fn an_old_key_opens_what_it_sealed_until_it_is_gone() {
        let sealed = vault(&["old"], "old").seal(b"secret", "row").unwrap();
        let both = vault(&["old", "newer"], "newer");
        assert_eq!(both.open(&sealed, "row").unwrap(), b"secret");
        assert_eq!(both.seal(b"secret", "row").unwrap().key_id, "newer");
        let refused = vault(&["newer"], "newer").open(&sealed, "row").unwrap_err();
        assert!(refused.to_string().contains("\"old\""), "{refused}");
    }

    #[test]
    fn a_vault_needs_its_current_key_and_shows_none() {
        assert!(Vault::new(BTreeMap::new(), "new").is_err());
        assert_eq!(
            format!("{:?}", vault(&["a"], "a")),
            r#"Vault { keys: ["a"], current: "a" }"#
        );
    }
}
