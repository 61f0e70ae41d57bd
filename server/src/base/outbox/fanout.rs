//! Wakes the tails of other replicas through Redis, so that a watcher anywhere hears of a commit at once. Nothing depends on it but latency: each tail looks by
//! itself several times a second.

use std::time::Duration;

use futures_util::StreamExt;
use redis::Client;
use redis::aio::ConnectionManager;

use crate::base::outbox::reader::Tail;

const CHANNEL: &str = "sewa:wake";
/// Commits within this time are told together.
const TOGETHER: Duration = Duration::from_millis(10);
const AGAIN: Duration = Duration::from_secs(1);

/// Starts telling and listening. Both go on by themselves when Redis comes back after it was away.
pub fn start(client: Client, connection: ConnectionManager, tail: &Tail) {
    tokio::spawn(tell(connection, tail.clone()));
    tokio::spawn(listen(client, tail.clone()));
}

async fn tell(mut connection: ConnectionManager, tail: Tail) {
    loop {
        tail.told_abroad().await;
        let told: redis::RedisResult<i64> = redis::cmd("PUBLISH")
            .arg(CHANNEL)
            .arg("")
            .query_async(&mut connection)
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "redis: other replicas were not woken");
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

async fn listen(client: Client, tail: Tail) {
    loop {
        match subscribe(&client, &tail).await {
            Ok(()) => tracing::debug!("redis: the subscription ended"),
            Err(error) => tracing::warn!(%error, "redis: not listening to other replicas"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn subscribe(client: &Client, tail: &Tail) -> redis::RedisResult<()> {
    let mut subscription = client.get_async_pubsub().await?;
    subscription.subscribe(CHANNEL).await?;
    let mut messages = subscription.on_message();
    while messages.next().await.is_some() {
        tail.wake_from_abroad();
    }
    Ok(())
}
