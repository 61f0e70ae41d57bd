//! Backups, as far as the platform knows of them.

use chrono::{DateTime, TimeDelta, Utc};

use crate::base::id::{
    AccountId, BackupId, ImageId, InstanceId, OperationId, PlanId, ProviderAccountId,
};
use crate::provider::compute::ProviderError;

/// How often a provider is asked for the backups of a machine.
const ROUND: TimeDelta = TimeDelta::hours(6);
/// How soon, after it was told to begin or end with them.
const SOON: TimeDelta = TimeDelta::seconds(5);
/// How soon, after it did not answer, or would not.
const AGAIN: TimeDelta = TimeDelta::minutes(1);

/// A copy of a machine's disk that its provider took.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: BackupId,
    /// Whose disk it is of.
    pub instance: InstanceId,
    /// The provider's name for it.
    pub backup_ref: String,
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
    /// The image the disk was last built from when the backup was first seen.
    pub image: ImageId,
    /// The provider's name of the image.
    pub image_code: String,
    /// What last asked to go back to it.
    pub operation: Option<OperationId>,
}

/// Whether an instance is backed up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// Whether the provider was last seen to take backups.
    pub enabled: bool,
    /// When it was asked.
    pub checked_at: Option<DateTime<Utc>>,
    /// When the newest was taken.
    pub last_taken_at: Option<DateTime<Utc>>,
}

/// An instance whose backups somebody has leased to look at.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The account.
    pub account: AccountId,
    /// The instance.
    pub instance: InstanceId,
    /// The lease's number.
    pub fence: i64,
    /// False once the instance has no machine any more.
    pub alive: bool,
    /// Who runs it.
    pub provider: String,
    /// The account at the provider.
    pub provider_account: Option<ProviderAccountId>,
    /// The provider's name of the machine.
    pub provider_ref: Option<String>,
    /// The plan.
    pub plan: PlanId,
    /// The image its disk was last built from.
    pub image: ImageId,
    /// The provider's name of the image.
    pub image_code: String,
}

/// What a look at a provider came to, for when the next one is due.
#[derive(Clone, Debug)]
pub enum Looked {
    /// It is as it should be.
    Settled,
    /// The provider was told to begin or end with them.
    Switched,
    /// It did not answer, or would not.
    Failed(ProviderError),
}

impl Looked {
    /// When the provider is asked again.
    pub fn again_after(&self) -> TimeDelta {
        match self {
            Self::Settled => ROUND,
            Self::Switched | Self::Failed(ProviderError::Busy | ProviderError::Unknown) => SOON,
            Self::Failed(ProviderError::RateLimited { after }) => TimeDelta::from_std(*after)
                .unwrap_or(ROUND)
                .clamp(SOON, ROUND),
            Self::Failed(ProviderError::Unauthorized(_)) => ROUND,
            Self::Failed(_) => AGAIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_provider_is_asked_again_the_sooner_the_more_it_has_to_do() {
        let after = |error| Looked::Failed(error).again_after();
        assert_eq!(Looked::Settled.again_after(), ROUND);
        assert_eq!(Looked::Switched.again_after(), SOON);
        assert_eq!(after(ProviderError::Unknown), SOON);
        assert_eq!(after(ProviderError::Refused(String::new())), AGAIN);
        assert_eq!(after(ProviderError::Unauthorized(String::new())), ROUND);
        let limited = |seconds| {
            after(ProviderError::RateLimited {
                after: Duration::from_secs(seconds),
            })
        };
        assert_eq!(limited(1), SOON);
        assert_eq!(limited(1200), TimeDelta::minutes(20));
        assert_eq!(limited(u64::MAX), ROUND);
    }
}
