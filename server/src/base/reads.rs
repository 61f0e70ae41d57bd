//! Reads of concurrent callers, made together. While one statement runs, the keys asked for meanwhile wait for the next, so nobody waits for a timer, one trip
//! to the database serves more callers the more there are, and a single caller pays no more than for a statement of its own. What is read is never older than
//! the question: a statement begins after every caller it serves has asked.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::base::db::{PgPool, within};
use crate::base::status;

/// Keys in one statement at most.
const MAX_BATCH: usize = 256;
/// Callers waiting at most; more are refused at once.
const MAX_WAITING: usize = 4096;
/// A statement that takes longer is given up, and its connection with it.
const PATIENCE: Duration = Duration::from_secs(5);

struct Asked<K, V> {
    key: K,
    answer: oneshot::Sender<Result<Option<V>, Status>>,
}

/// Reads values `V` by keys `K`.
pub struct Reads<K, V> {
    asked: mpsc::Sender<Asked<K, V>>,
}

impl<K, V> Clone for Reads<K, V> {
    fn clone(&self) -> Self {
        Self {
            asked: self.asked.clone(),
        }
    }
}

impl<K, V> Reads<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    /// `read` gives what it finds of the keys.
    pub fn start<F, R>(db: &PgPool, read: F) -> Self
    where
        F: Fn(PgPool, Vec<K>) -> R + Send + 'static,
        R: Future<Output = Result<HashMap<K, V>, sqlx::Error>> + Send + 'static,
    {
        let (asked, receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(run(receiver, db.clone(), read));
        Self { asked }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// What the database says; UNAVAILABLE if too many wait or it does not answer.
    pub async fn get(&self, key: K) -> Result<Option<V>, Status> {
        let (answer, answered) = oneshot::channel();
        self.asked
            .try_send(Asked { key, answer })
            .map_err(|_| status::database(&sqlx::Error::PoolTimedOut))?;
        answered
            .await
            .unwrap_or_else(|_| Err(status::database(&sqlx::Error::PoolClosed)))
    }
}

async fn run<K, V, F, R>(mut receiver: mpsc::Receiver<Asked<K, V>>, db: PgPool, read: F)
where
    K: Clone + Eq + Hash,
    V: Clone,
    F: Fn(PgPool, Vec<K>) -> R,
    R: Future<Output = Result<HashMap<K, V>, sqlx::Error>>,
{
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    while receiver.recv_many(&mut waiting, MAX_BATCH).await > 0 {
        let keys = waiting.iter().map(|asked| asked.key.clone()).collect();
        let found = within(PATIENCE, read(db.clone(), keys)).await;
        for asked in waiting.drain(..) {
            let answer = match &found {
                Ok(found) => Ok(found.get(&asked.key).cloned()),
                Err(error) => Err(status::database(error)),
            };
            // Who has gone away needs no answer.
            let _ = asked.answer.send(answer);
        }
    }
}
