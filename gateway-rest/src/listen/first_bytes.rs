//! A deadline for the bytes by which a connection says whether it is HTTP/2.
//!
//! The HTTP library times the head of a request, but only once it knows the version. Until then a client that connects and says nothing, or half a greeting,
//! would be waited for as long as it likes.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What every HTTP/2 connection begins with.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes have a deadline.
pub(super) struct FirstBytes<I> {
    io: I,
    /// Bytes of the greeting seen so far, and when the rest has to be there; `None` once the version is known.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<I> FirstBytes<I> {
    pub(super) fn within(patience: Duration, io: I) -> Self {
        Self {
            io,
            greeting: Some((0, Box::pin(tokio::time::sleep(patience)))),
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        let Some((seen, _)) = &mut self.greeting else {
            return;
        };
        let rest = &GREETING[*seen..];
        let goes_on = bytes.len() < rest.len() && rest.starts_with(bytes);
        if goes_on {
            *seen += bytes.len();
        } else {
            self.greeting = None;
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FirstBytes<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        match (&read, &mut self.greeting) {
            (Poll::Pending, Some((_, late))) => match late.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
            (Poll::Ready(Ok(())), Some(_)) => {
                let new = buffer.filled()[before..].to_vec();
                self.note(&new);
                read
            }
            _ => read,
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FirstBytes<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::FirstBytes;

    /// Sends in two parts, a minute apart, and returns how much was read before the connection was given up.
    async fn read(first: &[u8], second: &[u8]) -> usize {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = FirstBytes::within(Duration::from_secs(30), server);
        let (first, second) = (first.to_vec(), second.to_vec());
        tokio::spawn(async move {
            client.write_all(&first).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            // The other end may be gone.
            let _ = client.write_all(&second).await;
        });
        let mut all = Vec::new();
        let _ = server.read_to_end(&mut all).await;
        all.len()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_version_that_is_not_known_is_waited_for_in_vain() {
        assert_eq!(read(b"", b"GET / HTTP/1.1").await, 0);
        assert_eq!(read(b"PRI * HTTP", b"/2.0\r\n").await, 10);
        assert_eq!(read(b"G", b"ET").await, 3);
        assert_eq!(read(b"PRINT / HTTP/1.1\r\n", b"\r\n").await, 20);
        assert_eq!(read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"more").await, 28);
    }
}
