//! Calls to clouds, which end in time.

use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};

use crate::base::clock::Clock;
use crate::base::fault::{self, Step};
use crate::provider::compute::ProviderError;

/// How long a call may take, unless it makes a machine.
pub(super) const CALL: TimeDelta = TimeDelta::seconds(5);

/// Waits for a provider's answer as long as is reasonable; one that does not come is lost.
pub(super) async fn in_time<T>(
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    by(Clock.now() + CALL, call).await
}

/// Waits for a provider's answer until a moment.
pub(super) async fn by<T>(
    end: DateTime<Utc>,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    fault::around(Step::CloudCall, Clock.until(end, call))
        .await
        .unwrap_or(Err(ProviderError::Unknown))
}
