//! How often one may call: the generic cell rate algorithm, a burst of one minute's allowance refilled evenly. Counted in Redis where one is configured, so
//! that replicas share the count; in this process otherwise, and while Redis cannot be reached.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use redis::aio::ConnectionManager;
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use tonic::Status;

use crate::base::status;
use crate::config::Config;

type Local =
    RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// The cell rate of one key, decided inside Redis by Redis's own clock. Returns allowed (1 or 0), remaining calls, and microseconds until the next is allowed
/// (if refused) or until the allowance is full (if allowed).
const GCRA: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local burst = tonumber(ARGV[1])
local interval = 60000000 / burst
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + interval
local earliest = arrival - burst * interval
if earliest > now then return {0, 0, string.format('%.0f', earliest - now)} end
redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'PX', string.format('%.0f', (arrival - now) / 1000 + 1))
return {1, math.floor((now - earliest) / interval), string.format('%.0f', arrival - now)}
";

/// How long Redis may take before this process counts alone.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is left after a call.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Calls a minute.
    pub limit: u32,
    /// Calls left at once.
    pub remaining: u32,
    /// Seconds until all of them are back.
    pub reset: u64,
}

/// Counts calls by rate class and key.
pub struct Limits {
    local: HashMap<String, (u32, Arc<Local>)>,
    redis: Option<(ConnectionManager, redis::Script)>,
    clock: DefaultClock,
}

impl Limits {
    /// One counter for each rate class of the contract.
    pub fn new(config: &Config, redis: Option<ConnectionManager>) -> Self {
        let mut local = HashMap::new();
        for method in crate::base::contract::Contract::get().methods() {
            let limit = config.rate(&method.rate);
            let quota = Quota::per_minute(NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN));
            let limiter = RateLimiter::keyed(quota).with_middleware::<StateInformationMiddleware>();
            local
                .entry(method.rate.clone())
                .or_insert_with(|| (limit, Arc::new(limiter)));
        }
        for (_, limiter) in local.values() {
            tokio::spawn(forget_idle(Arc::downgrade(limiter)));
        }
        Self {
            local,
            redis: redis.map(|r| (r, redis::Script::new(GCRA))),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one call from the allowance.
    ///
    /// # Errors
    /// RATE_LIMITED with the time to wait.
    pub async fn take(&self, class: &str, key: String) -> Result<Allowance, Status> {
        let Some((limit, local)) = self.local.get(class) else {
            return Err(status::internal(format_args!(
                "rate class {class} has no counter"
            )));
        };
        if let Some((connection, script)) = &self.redis {
            match tokio::time::timeout(
                PATIENCE,
                Box::pin(take_shared(connection.clone(), script, class, &key, *limit)),
            )
            .await
            {
                Ok(Ok((true, remaining, micros))) => {
                    return Ok(Allowance {
                        limit: *limit,
                        remaining,
                        reset: micros.div_ceil(1_000_000),
                    });
                }
                Ok(Ok((false, _, micros))) => {
                    return Err(refused(class, Duration::from_micros(micros)));
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "redis failed; counting calls in this process")
                }
                Err(_) => tracing::warn!("redis is slow; counting calls in this process"),
            }
        }
        match local.check_key(&key) {
            Ok(state) => {
                let used = limit.saturating_sub(state.remaining_burst_capacity());
                Ok(Allowance {
                    limit: *limit,
                    remaining: state.remaining_burst_capacity(),
                    reset: u64::from(used) * 60 / u64::from(*limit) + 1,
                })
            }
            Err(until) => Err(refused(class, until.wait_time_from(self.clock.now()))),
        }
    }
}

async fn take_shared(
    mut connection: ConnectionManager,
    script: &redis::Script,
    class: &str,
    key: &str,
    limit: u32,
) -> redis::RedisResult<(bool, u32, u64)> {
    let (allowed, remaining, micros): (u8, u32, String) = script
        .key(format!("sewa:rate:{class}:{key}"))
        .arg(limit)
        .invoke_async(&mut connection)
        .await?;
    Ok((allowed == 1, remaining, micros.parse().unwrap_or(1_000_000)))
}

fn refused(class: &str, wait: Duration) -> Status {
    status::refuse(
        CommonErrorReason::RateLimited,
        format!("too many calls in rate class {class}"),
    )
    .meta("rate_class", class)
    .retry_after(wait.max(Duration::from_millis(1)))
    .status()
}

/// Callers that have not called for a minute are forgotten.
async fn forget_idle(limiter: std::sync::Weak<Local>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let Some(limiter) = limiter.upgrade() else {
            return;
        };
        limiter.retain_recent();
        limiter.shrink_to_fit();
    }
}
