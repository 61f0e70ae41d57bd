//! Passwords, hashed with argon2id. A hash takes 19 MiB and some 30 ms of a core by design, so only a few run at once, off the threads that answer calls.

use anyhow::Context;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Hashes at once. It bounds the memory of this process, so it belongs to the process and not to a server in it.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// A hash no password is known for, with the parameters of real ones: verifying against it takes as long, so that an unknown e-mail address cannot be told
/// from a wrong password by the clock.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGtub3dzIGl0$7Vw0mJmQyq3nH2s0e6o6cB0Kk1m9q8mB3oQ0dZ3l8xU";

/// The hash to keep for a password.
///
/// # Errors
/// If the hash cannot be computed, which only a lack of memory causes.
pub async fn hash(password: String) -> anyhow::Result<String> {
    run(move || {
        let hash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|e| anyhow::anyhow!("argon2: {e}"))?;
        Ok(hash.to_string())
    })
    .await
}

/// Whether a password belongs to a hash. Without a hash the answer is no, after the same work.
///
/// # Errors
/// If the kept hash is malformed or cannot be computed.
pub async fn verify(password: String, kept: Option<String>) -> anyhow::Result<bool> {
    run(move || {
        let known = kept.is_some();
        let text = kept.as_deref().unwrap_or(NOBODY);
        let hash = PasswordHash::new(text)
            .map_err(|e| anyhow::anyhow!("the kept password hash is malformed: {e}"))?;
        let equal = Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok();
        Ok(known && equal)
    })
    .await
}

async fn run<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let permit: SemaphorePermit<'static> = AT_ONCE
        .acquire()
        .await
        .context("the semaphore is never closed")?;
    // The permit goes with the work: a caller who gives up does not stop a hash that has begun, and must not make room for another beside it.
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    })
    .await
    .context("hashing a password")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let kept = hash("correct horse 9".to_owned()).await.expect("hashes");
        assert!(
            verify("correct horse 9".to_owned(), Some(kept.clone()))
                .await
                .expect("verifies")
        );
        assert!(
            !verify("correct horse 8".to_owned(), Some(kept))
                .await
                .expect("verifies")
        );
        assert!(
            !verify("correct horse 9".to_owned(), None)
                .await
                .expect("verifies")
        );
        assert!(
            verify("x".to_owned(), Some("not a hash".to_owned()))
                .await
                .is_err()
        );
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let real = Argon2::default()
            .hash_password(b"password")
            .expect("hashes");
        let nobody = PasswordHash::new(NOBODY).expect("parses");
        assert_eq!(nobody.params, real.params);
        assert_eq!(nobody.algorithm, real.algorithm);
        assert_eq!(nobody.hash.map(|h| h.len()), real.hash.map(|h| h.len()));
    }
}
