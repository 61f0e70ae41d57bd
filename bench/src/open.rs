//! Load that comes whether or not it is answered, as customers do: calls begin when they are due, and their time counts from then. A closed loop waits for a slow
//! server and so hides that it is slow.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::frames::{self, Frame, Statuses};
use crate::load::{Keys, Shot};

/// Connections that calls are spread over.
const CONNECTIONS: u32 = 48;
/// Calls open on one connection at most; a client library holds back the next ones, too.
const STREAMS: usize = 1000;
/// How long answers are waited for when no more calls begin.
const LAST: Duration = Duration::from_secs(5);

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// When it was due, since the beginning.
    pub(crate) due: Duration,
    /// How long after that its answer came.
    pub(crate) took: Duration,
    /// Whether it was done.
    pub(crate) done: bool,
}

/// What came of the calls.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Those that were answered.
    pub(crate) answered: Vec<Answer>,
    /// Words of those that were refused, and how often.
    pub(crate) refusals: BTreeMap<String, usize>,
    /// Those that could not begin, because so many were open.
    pub(crate) held_back: usize,
    /// Those of which nothing was heard: the connection broke, or it took too long.
    pub(crate) unheard: usize,
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        for (words, count) in other.refusals {
            *self.refusals.entry(words).or_default() += count;
        }
        self.held_back += other.held_back;
        self.unheard += other.unheard;
    }

    /// Calls done a second, among those answered between two moments.
    pub(crate) fn done_between(&self, from: Duration, to: Duration) -> f64 {
        let within = |answer: &&Answer| {
            let at = answer.due + answer.took;
            answer.done && from <= at && at < to
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let count = self.answered.iter().filter(within).count() as f64;
        count / (to - from).as_secs_f64()
    }

    /// A share of the calls that were done, or refused, were answered within this time. Those due before `from` are not counted.
    pub(crate) fn within(&self, share: f64, done: bool, from: Duration) -> Duration {
        let wanted = |answer: &&Answer| answer.done == done && answer.due >= from;
        let mut times: Vec<Duration> = self
            .answered
            .iter()
            .filter(wanted)
            .map(|a| a.took)
            .collect();
        times.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (times.len() as f64 * share) as usize;
        times
            .get(index.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Offers `rate` calls a second for some time. A connection that breaks is made again at once, and what was open on it is unheard of.
pub(crate) async fn offer(
    port: u16,
    shot: Shot,
    rate: f64,
    seconds: u64,
) -> anyhow::Result<Answers> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let begin = Instant::now();
            let connections = (0..CONNECTIONS).map(|number| {
                let line = Line::new(
                    port,
                    &shot,
                    number,
                    begin,
                    rate / f64::from(CONNECTIONS),
                    seconds,
                );
                line.works()
            });
            let mut all = Answers::default();
            for answers in futures_util::future::join_all(connections).await {
                all.add(answers?);
            }
            Ok(all)
        })
    })
    .await?
}

/// One connection, and the calls that are due on it.
struct Line<'s> {
    port: u16,
    shot: &'s Shot,
    number: u32,
    begin: Instant,
    interval: Duration,
    end: Duration,
    run: String,
    due: u32,
    answers: Answers,
}

/// Calls that are under way on a connection.
struct Open {
    stream: TcpStream,
    input: bytes::BytesMut,
    statuses: Statuses,
    window: i64,
    received: u32,
    next: u32,
    calls: HashMap<u32, Duration>,
}

impl<'s> Line<'s> {
    fn new(
        port: u16,
        shot: &'s Shot,
        number: u32,
        begin: Instant,
        rate: f64,
        seconds: u64,
    ) -> Self {
        Self {
            port,
            shot,
            number,
            begin,
            interval: Duration::from_secs_f64(1.0 / rate),
            end: Duration::from_secs(seconds),
            run: uuid::Uuid::now_v7().simple().to_string(),
            due: 0,
            answers: Answers::default(),
        }
    }

    /// When call number `due` of this connection is due. Connections take turns.
    fn next_due(&self) -> Duration {
        self.interval * self.due + self.interval * self.number / CONNECTIONS
    }

    async fn works(mut self) -> anyhow::Result<Answers> {
        while self.begin.elapsed() < self.end + LAST {
            let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
                // Nobody listens: what is due meanwhile is not heard of.
                self.answers.unheard += self.skip();
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            stream.set_nodelay(true)?;
            let mut open = Open {
                stream,
                input: bytes::BytesMut::with_capacity(1 << 16),
                statuses: Statuses::new(),
                window: frames::FIRST_WINDOW,
                received: 0,
                next: 1,
                calls: HashMap::new(),
            };
            let ended = self.talks(&mut open).await;
            self.answers.unheard += open.calls.len();
            if ended.is_ok() {
                break;
            }
        }
        Ok(self.answers)
    }

    /// Passes over the calls that are due, and says how many they were.
    fn skip(&mut self) -> usize {
        let mut skipped = 0;
        while self.next_due() <= self.begin.elapsed() && self.next_due() < self.end {
            self.due += 1;
            skipped += 1;
        }
        skipped
    }

    /// Calls and listens until all is answered, or the connection breaks.
    async fn talks(&mut self, open: &mut Open) -> anyhow::Result<()> {
        let empty = self.shot.messages.iter().all(Vec::is_empty);
        let head = frames::head(self.shot.style, self.port, self.shot.path, empty);
        let mut out = frames::hello();
        loop {
            let now = self.begin.elapsed();
            while self.next_due() <= now && self.next_due() < self.end {
                self.calls(open, &head, &mut out);
            }
            if open.received > frames::REFILL {
                out.extend_from_slice(&frames::window(open.received));
                open.received = 0;
            }
            if !out.is_empty() {
                open.stream.write_all(&out).await?;
                out.clear();
            }
            let over = self.next_due() >= self.end;
            if over && (open.calls.is_empty() || now > self.end + LAST) {
                return Ok(());
            }
            let wake = if over {
                self.end + LAST
            } else {
                self.next_due()
            };
            tokio::select! {
                read = open.stream.read_buf(&mut open.input) => {
                    anyhow::ensure!(read? > 0, "the connection broke");
                    self.hears(open, &mut out)?;
                }
                () = tokio::time::sleep_until((self.begin + wake).into()) => {}
            }
        }
    }

    fn calls(&mut self, open: &mut Open, head: &[u8], out: &mut Vec<u8>) {
        let due = self.next_due();
        let pick = usize::try_from(self.number + self.due * CONNECTIONS).unwrap_or_default();
        self.due += 1;
        if open.calls.len() >= STREAMS || open.window < 4096 {
            self.answers.held_back += 1;
            return;
        }
        let bearers = &self.shot.bearers;
        let bearer = (!bearers.is_empty()).then(|| &*bearers[pick % bearers.len()]);
        let key = (self.shot.keys != Keys::None).then(|| format!("{}-{:x}", self.run, self.due));
        let message = &self.shot.messages[pick % self.shot.messages.len()];
        open.window -= frames::request(
            self.shot.style,
            out,
            open.next,
            head,
            bearer,
            key.as_deref(),
            message,
        );
        open.calls.insert(open.next, due);
        open.next += 2;
    }

    fn hears(&mut self, open: &mut Open, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let now = self.begin.elapsed();
        while let Some(frame) = frames::next(self.shot.style, &mut open.input, &mut open.statuses)?
        {
            match frame {
                Frame::Data(length) => open.received += length,
                Frame::Window(more) => open.window += more,
                Frame::Echo(answer) => out.extend_from_slice(&answer),
                Frame::Begin(_) | Frame::Other => {}
                Frame::End(id, status) => {
                    let Some(due) = open.calls.remove(&id) else {
                        continue;
                    };
                    let refused = status.filter(|status| status != "0");
                    let done = refused.is_none();
                    if let Some(words) = refused {
                        *self.answers.refusals.entry(words).or_default() += 1;
                    }
                    let took = now.saturating_sub(due);
                    self.answers.answered.push(Answer { due, took, done });
                }
            }
        }
        Ok(())
    }
}
