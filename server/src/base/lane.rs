//! Group commit. Commands of concurrent callers are applied together: a batch is whatever queued while the last one committed, so nobody waits for a timer
//! and the batch grows with the load. Each caller gets its own verdict. A batch that fails as a whole is halved until the one command at fault stands alone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sewa_sdk::sewa::api::v1::CommonErrorReason;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use uuid::Uuid;

use crate::base::db::within;
use crate::base::status;

/// Commands in one batch at most. Keeps a transaction far below the limits of the databases we may move to.
const MAX_BATCH: usize = 256;
/// Commands waiting at most; beyond it callers are refused at once, which is kinder than a queue that outlives their deadline.
const MAX_WAITING: usize = 4096;

/// How long a batch may take: longer than it waits for a lock, and no longer than any call waits for its verdict. A lane that waited on for a database that is
/// silent would be lost, with everything that queues behind it.
const BATCH: Duration = Duration::from_secs(20);

struct Waiting<C, V> {
    command: C,
    verdict: oneshot::Sender<Result<V, Status>>,
}

/// Lanes that apply commands `C` and answer verdicts `V`. Commands of one account share a lane, so they keep their order.
pub struct Lanes<C, V> {
    lanes: Arc<[mpsc::Sender<Waiting<C, V>>]>,
}

impl<C, V> Clone for Lanes<C, V> {
    fn clone(&self) -> Self {
        Self {
            lanes: Arc::clone(&self.lanes),
        }
    }
}

impl<C, V> Lanes<C, V>
where
    C: Clone + Send + Sync + 'static,
    V: Send + 'static,
{
    /// Starts `count` lanes. `apply` runs a batch in one transaction and gives one verdict for each command, in order; an error means that nothing committed.
    pub fn start<F, R>(count: usize, apply: F) -> Self
    where
        F: Fn(Vec<C>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Vec<Result<V, Status>>, sqlx::Error>> + Send + 'static,
    {
        let lanes = (0..count.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::channel(MAX_WAITING);
                tokio::spawn(run(receiver, apply.clone()));
                sender
            })
            .collect();
        Self { lanes }
    }

    /// Applies one command and waits for its verdict.
    ///
    /// # Errors
    /// The verdict's own error; UNAVAILABLE if too many commands wait or the lane has stopped.
    pub async fn submit(&self, account: Uuid, command: C) -> Result<V, Status> {
        let (verdict, answer) = oneshot::channel();
        let shard = usize::try_from(account.as_u128() % self.lanes.len() as u128).unwrap_or(0);
        if self.lanes[shard]
            .try_send(Waiting { command, verdict })
            .is_err()
        {
            return Err(overloaded());
        }
        answer.await.unwrap_or_else(|_| Err(overloaded()))
    }
}

fn overloaded() -> Status {
    status::refuse(
        CommonErrorReason::Unavailable,
        "too many writes are waiting",
    )
    .retry_after(Duration::from_millis(200))
    .status()
}

async fn run<C, V, F, R>(mut receiver: mpsc::Receiver<Waiting<C, V>>, apply: F)
where
    C: Clone,
    F: Fn(Vec<C>) -> R,
    R: Future<Output = Result<Vec<Result<V, Status>>, sqlx::Error>>,
{
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    while receiver.recv_many(&mut waiting, MAX_BATCH).await > 0 {
        let mut batches = vec![std::mem::take(&mut waiting)];
        while let Some(mut batch) = batches.pop() {
            let commands = batch.iter().map(|w| w.command.clone()).collect();
            match within(BATCH, apply(commands)).await {
                Ok(verdicts) => {
                    for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                        // A caller that has gone away learns the outcome by repeating its key.
                        let _ = waiting.verdict.send(verdict);
                    }
                }
                Err(error)
                    if batch.len() > 1
                        && !matches!(
                            error,
                            sqlx::Error::PoolTimedOut
                                | sqlx::Error::PoolClosed
                                | sqlx::Error::Io(_)
                        ) =>
                {
                    tracing::warn!(%error, size = batch.len(), "a batch failed and is halved");
                    let second = batch.split_off(batch.len() / 2);
                    batches.push(second);
                    batches.push(batch);
                }
                Err(error) => {
                    for waiting in batch {
                        let _ = waiting.verdict.send(Err(status::database(&error)));
                    }
                }
            }
        }
    }
}
