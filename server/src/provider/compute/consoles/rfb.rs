//! The first words of RFB 3.8 (RFC 6143, 7.1), which is what consoles speak: to a screen as its viewer, and to a viewer as the screen.
//!
//! We speak both ourselves, so that the password of a screen stays with us: the viewer was let in by its ticket, and is asked for nothing. From then on either hears the other as it
//! is, and nothing is looked at.

use std::io;
use std::time::Duration;

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version that is spoken.
pub const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// Nobody is asked for anything.
const NONE: u8 = 1;
/// A challenge is to be answered with a password.
const PASSWORD: u8 = 2;
/// How long either side may take for its first words.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why first words came to nothing. Says nothing of what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It hung up, or said nothing for too long.
    #[error("it hung up or fell silent")]
    Silent,
    /// It speaks another protocol, or another version.
    #[error("it does not speak RFB 3.8")]
    Foreign,
    /// It knows no way in that we know.
    #[error("it lets nobody in by a way that is known here")]
    NoWayIn,
    /// It did not take the password.
    #[error("it refused the password")]
    WrongPassword,
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Silent
    }
}

/// Greets a screen as its viewer, up to where the viewer begins (`ClientInit`).
///
/// # Errors
/// Why it does not let us in.
pub async fn enter<S>(screen: &mut S, password: Option<&SecretString>) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        read_version(screen).await?;
        screen.write_all(VERSION).await?;
        let mut ways = vec![0; usize::from(screen.read_u8().await?)];
        screen.read_exact(&mut ways).await?;
        match password {
            Some(password) if ways.contains(&PASSWORD) => {
                screen.write_u8(PASSWORD).await?;
                let mut challenge = [0; 16];
                screen.read_exact(&mut challenge).await?;
                screen.write_all(&answer(password, challenge)).await?;
            }
            _ if ways.contains(&NONE) => screen.write_u8(NONE).await?,
            _ => return Err(Refusal::NoWayIn),
        }
        match screen.read_u32().await? {
            0 => Ok(()),
            _ => Err(Refusal::WrongPassword),
        }
    })
    .await
}

/// Greets a viewer as its screen, which asks for nothing, up to where the viewer begins (`ClientInit`).
///
/// # Errors
/// If it does not want to come in.
pub async fn admit<S>(viewer: &mut S) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        viewer.write_all(VERSION).await?;
        read_version(viewer).await?;
        viewer.write_all(&[1, NONE]).await?;
        if viewer.read_u8().await? != NONE {
            return Err(Refusal::NoWayIn);
        }
        viewer.write_u32(0).await?;
        Ok(())
    })
    .await
}

async fn in_time(words: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
    let said = tokio::time::timeout(PATIENCE, words).await;
    said.unwrap_or(Err(Refusal::Silent))
}

async fn read_version(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Refusal> {
    let mut version = [0; VERSION.len()];
    stream.read_exact(&mut version).await?;
    if version == *VERSION {
        Ok(())
    } else {
        Err(Refusal::Foreign)
    }
}

/// The challenge under the password, as VNC has it: DES with the first eight bytes, the bits of each the other way round (RFC 6143, 7.2.2).
fn answer(password: &SecretString, challenge: [u8; 16]) -> [u8; 16] {
    let mut key = [0; 8];
    for (place, byte) in key.iter_mut().zip(password.expose_secret().bytes()) {
        *place = byte.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut answer = challenge;
    let (blocks, _) = answer.as_chunks_mut::<8>();
    for block in blocks {
        cipher.encrypt_block(block.into());
    }
    answer
}

#[cfg(test)]
#[path = "rfb_tests.rs"]
mod tests;
