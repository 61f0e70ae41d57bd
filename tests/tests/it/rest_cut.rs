//! Server-sent events on a line that keeps breaking. [N2]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use serde_json::Value;
use sewa_tests::patience::{eventually, soon};
use sewa_tests::random::Random;
use sewa_tests::{Actor, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How often the line is cut.
const CUTS: usize = 200;
/// People who write at the same time.
const WRITERS: usize = 4;
/// Bytes of answers after which a cut comes at the latest: a head and a few events.
const LONGEST: u64 = 3000;

/// What a client of server-sent events remembers.
#[derive(Default)]
struct Reader {
    /// The id of the last event that came whole; what it asks to go on from.
    last_event_id: String,
    /// Ids of events, in the order they came.
    seen: Vec<String>,
    /// How often a cut came after the first byte of an event and before its last.
    torn: usize,
}

impl Reader {
    /// Opens the stream and reads `bytes` of the answer, head and all, or until `enough`.
    async fn read(
        &mut self,
        world: &World,
        token: &str,
        bytes: u64,
        enough: impl Fn(&Self) -> bool,
    ) {
        let mut socket = TcpStream::connect(world.servers[0].address())
            .await
            .unwrap();
        // HTTP/1.0 has no chunks, so what is cut is the stream itself.
        let mut request = format!(
            "GET /v1/events:watch?checkpoints=true HTTP/1.0\r\nhost: sewa\r\naccept: text/event-stream\r\nauthorization: Bearer {token}\r\n"
        );
        if !self.last_event_id.is_empty() {
            request += &format!("last-event-id: {}\r\n", self.last_event_id);
        }
        request += "\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let mut begun = None;
        let mut left = bytes;
        while left > 0 && !enough(self) {
            let mut buffer = vec![0; usize::try_from(left.min(4096)).unwrap()];
            let length = soon("more of the stream", socket.read(&mut buffer))
                .await
                .unwrap();
            assert!(length > 0, "the server ended the stream: {answer}");
            left -= length as u64;
            answer.push_str(std::str::from_utf8(&buffer[..length]).expect("ASCII"));
            if begun.is_none()
                && let Some(end) = answer.find("\r\n\r\n")
            {
                assert!(answer.contains(" 200 "), "{answer}");
                begun = Some(end + 4);
                answer.drain(..end + 4);
            }
            while begun.is_some()
                && let Some(end) = answer.find("\n\n")
            {
                let event: String = answer.drain(..end + 2).collect();
                self.take(&event);
            }
        }
        self.torn += usize::from(begun.is_some() && !answer.is_empty());
    }

    fn take(&mut self, event: &str) {
        let mut data = Value::Null;
        for line in event.trim_end().lines() {
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut self.last_event_id),
                Some(("data", json)) => data = serde_json::from_str(json).unwrap(),
                Some(("", _)) => {}
                _ => panic!("{event}"),
            }
        }
        if let Some(id) = data["event"]["id"].as_str() {
            self.seen.push(id.to_owned());
        }
    }
}

async fn open_watches(world: &World) -> Option<u64> {
    let metrics = world.http().get("/metrics").await.text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("sewa_calls_open") && line.contains("WatchEvents"))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Deposits until told to stop, and returns how many. Each is two events, by two transactions.
async fn write_until(budi: Actor, done: Arc<AtomicBool>) -> usize {
    let mut deposits = 0;
    while !done.load(Ordering::Relaxed) {
        budi.deposit(20_000).await;
        deposits += 1;
    }
    deposits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_cut_two_hundred_times_neither_loses_nor_repeats() {
    let seed = u64::from_le_bytes(uuid::Uuid::new_v4().into_bytes()[..8].try_into().unwrap());
    println!("seed {seed}");
    let mut random = Random::from_seed(seed);
    let world = World::new().await;
    let budi = world.reseller().await;
    let token = &budi.tokens.access_token;
    // A stream begins "now", and a client learns where that is from the first checkpoint.
    let mut reader = Reader::default();
    reader
        .read(&world, token, u64::MAX, |reader| {
            !reader.last_event_id.is_empty()
        })
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let writers = join_all((0..WRITERS).map(|_| write_until(budi.clone(), Arc::clone(&done))));
    let writers = tokio::spawn(writers);
    for _ in 0..CUTS {
        let bytes = 1 + random.below(LONGEST);
        reader.read(&world, token, bytes, |_| false).await;
    }
    done.store(true, Ordering::Relaxed);
    let total = 2 * writers.await.unwrap().into_iter().sum::<usize>();
    assert!(
        reader.torn > 0,
        "no event was cut in the middle; seed {seed}"
    );

    // Handlers of those who left are gone.
    eventually("no watch is open", || async {
        match open_watches(&world).await {
            Some(0) => Ok(()),
            open => Err(open),
        }
    })
    .await;

    let written = budi.logged(total, |_| true).await;
    let written: Vec<String> = written.into_iter().map(|event| event.id).collect();
    reader
        .read(&world, token, u64::MAX, |reader| reader.seen.len() >= total)
        .await;
    println!("{total} events, {} of {CUTS} cuts within one", reader.torn);
    assert_eq!(reader.seen, written, "seed {seed}");
    assert!(total > CUTS / 4, "{total} events are too few to be cut");
}
