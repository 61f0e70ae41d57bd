//! Somebody who looks at a console through the platform: a WebSocket, and RFB within it, a word at a time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How long something may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who looks.
#[derive(Debug)]
pub struct Viewer {
    socket: WebSocketStream<TcpStream>,
    held: Vec<u8>,
}

impl Viewer {
    /// Connects to a path of a server, with further headers.
    ///
    /// # Errors
    /// The status of a refusal.
    pub async fn connect(
        server: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, StatusCode> {
        let request = format!("ws://{server}{path}").into_client_request();
        let mut request = request.expect("a request");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a value");
            request.headers_mut().insert(*name, value);
        }
        let stream = TcpStream::connect(server).await.expect("a connection");
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self {
                socket,
                held: Vec::new(),
            }),
            Err(Error::Http(refusal)) => Err(refusal.status()),
            Err(error) => panic!("{error}"),
        }
    }

    /// So many bytes, however they come; `None` if the connection ends before.
    pub async fn read(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.held.len() < count {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            match next.await.expect("something in time")? {
                Ok(Message::Binary(bytes)) => self.held.extend(bytes),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
        let rest = self.held.split_off(count);
        Some(std::mem::replace(&mut self.held, rest))
    }

    /// Says some bytes. One who has hung up does not hear them.
    pub async fn say(&mut self, bytes: &[u8]) {
        self.send(Message::Binary(Bytes::copy_from_slice(bytes)))
            .await;
    }

    /// Sends a message of any kind.
    pub async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Comes in, and returns the width, the height and the name of the screen.
    ///
    /// # Panics
    /// If it is asked for a password, or not let in.
    pub async fn begin(&mut self) -> (u16, u16, String) {
        assert_eq!(self.read(12).await.expect("a version"), b"RFB 003.008\n");
        self.say(b"RFB 003.008\n").await;
        assert_eq!(self.read(2).await.expect("ways"), [1, 1], "no password");
        self.say(&[1]).await;
        assert_eq!(self.read(4).await.expect("a result"), [0; 4]);
        self.say(&[1]).await;
        let hello = self.read(24).await.expect("a screen");
        let number = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
        let name = self.read(usize::from(number(22))).await.expect("a name");
        let name = String::from_utf8(name).expect("text");
        (number(0), number(2), name)
    }

    /// The pixels of the whole screen: the next ones that differ, or these.
    ///
    /// # Panics
    /// If the connection ends.
    pub async fn pixels(&mut self, size: (u16, u16), only_changed: bool) -> Vec<u8> {
        let mut ask = vec![3, u8::from(only_changed), 0, 0, 0, 0];
        ask.extend(size.0.to_be_bytes());
        ask.extend(size.1.to_be_bytes());
        self.say(&ask).await;
        let head = self.read(16).await.expect("an update");
        assert_eq!(head[..4], [0, 0, 0, 1], "one rectangle");
        let count = 4 * usize::from(size.0) * usize::from(size.1);
        self.read(count).await.expect("pixels")
    }

    /// Presses a key and lets it go.
    pub async fn press(&mut self, key: char) {
        for down in [1, 0] {
            let mut event = vec![4, down, 0, 0];
            event.extend(u32::from(key).to_be_bytes());
            self.say(&event).await;
        }
    }

    /// Looks on until it ends, and says how: the code and the reason, if any was given.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn end(&mut self) -> Option<(CloseCode, String)> {
        let ended = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => {
                        return frame.map(|f| (f.code, f.reason.to_string()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.expect("an end in time")
    }
}
