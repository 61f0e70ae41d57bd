//! The screens of guests of a simulated Proxmox VE: a proxy that waits ten seconds for one viewer, a WebSocket of the subprotocol `binary`, and a VNC server behind it that asks for a
//! password. It shows one colour, and another one for each key.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use uuid::Uuid;

use super::{Call, data, decoded, failure, invalid, shown_on};
use crate::compute::Said;
use crate::compute::machines::Cloud;

/// How long a proxy waits for its viewer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pixels in a row, and rows.
pub const SIZE: (u16, u16) = (64, 48);
/// The name of every screen.
pub const NAME: &str = "QEMU (web-1)";

/// What is on the screens of guests, and was done with them.
#[derive(Debug, Default)]
pub struct Screens {
    /// Keys that were pressed, as X11 counts them.
    pub keys: Vec<u32>,
    /// Passwords that were given out, and tickets that let somebody in.
    pub secrets: Vec<String>,
    /// Viewers that are there.
    pub viewers: usize,
    /// True if the ticket is the password, as with older versions.
    pub old: bool,
    /// True if a screen goes dark with the next key.
    pub dies: bool,
    /// True if no screen takes its password.
    pub forgetful: bool,
    offers: Vec<Offer>,
}

/// A proxy that waits.
#[derive(Clone, Debug)]
struct Offer {
    vmid: u64,
    port: u16,
    ticket: String,
    password: String,
    until: Instant,
}

/// Red, green and blue of a screen on which so many keys were pressed.
pub fn colour(keys: usize) -> [u8; 3] {
    [[200, 30, 60], [30, 200, 60]][keys % 2]
}

/// Begins a proxy.
pub(super) fn offer(cloud: &mut Cloud, node: &str, vmid: u64, call: &Call) -> Said {
    if call.form.get("websocket").map(String::as_str) != Some("1") || call.form.len() != 1 {
        return invalid(cloud, "websocket");
    }
    if !cloud.machines.get(&vmid).is_some_and(shown_on) {
        return failure(&format!("VM {vmid} not running"));
    }
    let screens = &mut cloud.proxmox.screens;
    let ticket = format!("PVEVNC:{}::+/={}", Uuid::new_v4(), Uuid::new_v4());
    let password = if screens.old {
        ticket.clone()
    } else {
        Uuid::new_v4().simple().to_string().split_off(24)
    };
    let port = 5900 + u16::try_from(screens.secrets.len() % 100).unwrap_or_default();
    screens.secrets.extend([ticket.clone(), password.clone()]);
    screens.offers.push(Offer {
        vmid,
        port,
        ticket: ticket.clone(),
        password: password.clone(),
        until: Instant::now() + PATIENCE,
    });
    let mut said = json!({
        "user": "sewa@pve!test", "ticket": ticket, "port": port.to_string(), "cert": "", "upid": format!("UPID:{node}:0000:0000:0000:vncproxy:{vmid}:sewa@pve!test:"),
    });
    if !screens.old {
        said["password"] = json!(password);
    }
    data(said)
}

/// The WebSocket of a proxy, for whoever has its ticket.
pub(in crate::compute) fn open(
    request: &mut Request<Incoming>,
    cloud: &Arc<Mutex<Cloud>>,
) -> Response<Full<Bytes>> {
    let refusal = |status: StatusCode| {
        let response = Response::builder().status(status);
        response.body(Full::default()).expect("a response")
    };
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let query: Vec<(String, String)> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect();
    let said = |name: &str| {
        query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
    };
    let vmid = request
        .uri()
        .path()
        .split('/')
        .rev()
        .nth(1)
        .map(str::to_owned);
    let mut books = cloud.lock().unwrap_or_else(PoisonError::into_inner);
    if header("authorization") != Some(format!("PVEAPIToken={}", books.token)) {
        return refusal(StatusCode::UNAUTHORIZED);
    }
    let offers = &mut books.proxmox.screens.offers;
    let fits = offers.iter().position(|offer| {
        Some(&offer.ticket) == said("vncticket").as_ref()
            && Some(offer.port.to_string()) == said("port")
            && Some(offer.vmid.to_string()) == vmid
            && Instant::now() < offer.until
    });
    let (Some(at), Some("binary"), Some(key)) = (
        fits,
        header("sec-websocket-protocol").as_deref(),
        header("sec-websocket-key"),
    ) else {
        return refusal(StatusCode::FORBIDDEN);
    };
    let offer = offers.remove(at);
    drop(books);
    let upgrade = hyper::upgrade::on(request);
    let cloud = Arc::clone(cloud);
    tokio::spawn(async move {
        let upgraded = upgrade.await.expect("an upgrade");
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let screens = |change: fn(&mut Screens)| {
            change(
                &mut cloud
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .proxmox
                    .screens,
            );
        };
        screens(|screens| screens.viewers += 1);
        // However a viewer leaves, it has left.
        let _ = show(Peer::new(socket), &offer.password, &cloud).await;
        screens(|screens| screens.viewers -= 1);
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-protocol", "binary")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()));
    response.body(Full::default()).expect("a response")
}

/// A viewer, as a stream of bytes.
struct Peer {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    held: Vec<u8>,
}

impl Peer {
    fn new(socket: WebSocketStream<TokioIo<Upgraded>>) -> Self {
        Self {
            socket,
            held: Vec::new(),
        }
    }

    async fn read<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        while self.held.len() < N {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => self.held.extend(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let rest = self.held.split_off(N);
        let read = std::mem::replace(&mut self.held, rest);
        Ok(read.try_into().expect("so many bytes"))
    }

    async fn skip(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            self.read::<1>().await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // In two pieces: a stream is no list of messages.
        let (one, other) = bytes.split_at(bytes.len() / 2);
        for piece in [one, other].into_iter().filter(|piece| !piece.is_empty()) {
            let message = Message::Binary(Bytes::copy_from_slice(piece));
            self.socket.send(message).await.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// A challenge under a password, as VNC has it.
fn expected(password: &str, challenge: [u8; 16]) -> [u8; 16] {
    let mut key = [0; 8];
    for (place, byte) in key.iter_mut().zip(password.bytes()) {
        *place = byte.reverse_bits();
    }
    let mut answer = challenge;
    for block in answer.as_chunks_mut::<8>().0 {
        Des::new(&key.into()).encrypt_block(block.into());
    }
    answer
}

/// Shows a screen until its viewer leaves.
async fn show(mut peer: Peer, password: &str, cloud: &Mutex<Cloud>) -> io::Result<()> {
    let books = || cloud.lock().unwrap_or_else(PoisonError::into_inner);
    peer.write(b"RFB 003.008\n").await?;
    peer.read::<12>().await?;
    // Tight authentication, which nobody here knows, and a password.
    peer.write(&[2, 16, 2]).await?;
    let [way] = peer.read().await?;
    let challenge = Uuid::new_v4().into_bytes();
    peer.write(&challenge).await?;
    let answer: [u8; 16] = peer.read().await?;
    let forgetful = books().proxmox.screens.forgetful;
    if way != 2 || answer != expected(password, challenge) || forgetful {
        return peer.write(&[0, 0, 0, 1, 0, 0, 0, 2, b'n', b'o']).await;
    }
    peer.write(&[0; 4]).await?;
    let [_shared] = peer.read().await?;
    let mut hello = Vec::new();
    hello.extend(SIZE.0.to_be_bytes());
    hello.extend(SIZE.1.to_be_bytes());
    hello.extend([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    hello.extend(
        u32::try_from(NAME.len())
            .expect("a short name")
            .to_be_bytes(),
    );
    hello.extend(NAME.as_bytes());
    peer.write(&hello).await?;
    let (mut shifts, mut keys, mut waiting, mut changed) = ([16, 8, 0], 0, false, true);
    loop {
        match peer.read::<1>().await? {
            [0] => {
                let format: [u8; 19] = peer.read().await?;
                shifts = [format[13], format[14], format[15]];
                changed = true;
            }
            [2] => {
                let [_, high, low] = peer.read().await?;
                let count = u16::from_be_bytes([high, low]);
                peer.skip(4 * usize::from(count)).await?;
            }
            [3] => {
                let [incremental, ..]: [u8; 9] = peer.read().await?;
                waiting = true;
                changed |= incremental == 0;
            }
            [4] => {
                let [down, _, _, key @ ..]: [u8; 7] = peer.read().await?;
                if down == 1 {
                    let mut books = books();
                    books.proxmox.screens.keys.push(u32::from_be_bytes(key));
                    if books.proxmox.screens.dies {
                        return Ok(());
                    }
                    keys += 1;
                    changed = true;
                }
            }
            [5] => peer.skip(5).await?,
            _ => return Ok(()),
        }
        if waiting && changed {
            let mut update = vec![0, 0, 0, 1, 0, 0, 0, 0];
            update.extend(SIZE.0.to_be_bytes());
            update.extend(SIZE.1.to_be_bytes());
            update.extend([0; 4]);
            let parts = colour(keys).into_iter().zip(shifts);
            let pixel = parts.fold(0_u32, |all, (part, shift)| all | u32::from(part) << shift);
            let count = usize::from(SIZE.0) * usize::from(SIZE.1);
            update.extend(pixel.to_le_bytes().repeat(count));
            peer.write(&update).await?;
            (waiting, changed) = (false, false);
        }
    }
}
