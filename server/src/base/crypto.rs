//! Secrets: random tokens, digests of them, and encryption at rest.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The platform's master key: encrypts secrets at rest and keys the fingerprints of requests. Debug shows nothing of it.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// From 32 bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Encrypts with XChaCha20-Poly1305 under a random nonce; `context` (table and row) must be given again to decrypt.
    ///
    /// # Errors
    /// Never in practice: the cipher fails only beyond 256 GiB.
    pub fn seal(&self, plain: &[u8], context: &str) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; 24] = random();
        let cipher = XChaCha20Poly1305::new(&Key::from(self.0));
        let sealed = cipher
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: plain,
                    aad: context.as_bytes(),
                },
            )
            .map_err(|_| anyhow::anyhow!("encryption failed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`MasterKey::seal`] made.
    ///
    /// # Errors
    /// If the key or the context is another, or the bytes were changed.
    pub fn open(&self, sealed: &[u8], context: &str) -> anyhow::Result<Vec<u8>> {
        let (nonce, rest) = sealed
            .split_first_chunk::<24>()
            .ok_or_else(|| anyhow::anyhow!("sealed bytes are too short"))?;
        XChaCha20Poly1305::new(&Key::from(self.0))
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: rest,
                    aad: context.as_bytes(),
                },
            )
            .map_err(|_| {
                anyhow::anyhow!(
                    "cannot decrypt {context}: wrong master key, or the bytes were changed"
                )
            })
    }

    /// Another key, made from this one for a purpose of its own.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(b"derived key: ");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A keyed digest of a request, so that a stored fingerprint is of no use for guessing the passwords within.
    pub fn fingerprint(&self, bytes: &[u8]) -> [u8; 16] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        short
    }
}

/// Random bytes from the operating system.
///
/// # Panics
/// If the operating system has none to give; nothing safe can be done then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random token of 256 bits with a prefix that tells what it is, for example `sk_…`.
pub fn token(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

/// SHA-256. Enough for random tokens of 256 bits, which cannot be guessed; passwords use argon2.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_open_only_in_their_place() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.seal(b"secret", "table/1").expect("seals");
        assert_eq!(key.open(&sealed, "table/1").expect("opens"), b"secret");
        assert!(key.open(&sealed, "table/2").is_err());
        assert!(MasterKey::new([8; 32]).open(&sealed, "table/1").is_err());
        assert!(key.open(&sealed[..10], "table/1").is_err());
    }
}
