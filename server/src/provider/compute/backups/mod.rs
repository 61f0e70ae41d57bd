//! Backups at clouds that take them by themselves.
//!
//! They are the cloud's own doing: we switch them on or off for a machine, read which there are, and have one put back. To switch them off deletes them. They end with their machine, so
//! nothing is left that somebody pays for.

mod digitalocean;
mod linode;
mod vultr;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::provider::compute::ProviderError;
use crate::provider::compute::vendor::Vendor;

/// When clouds that can be told take them, in UTC: three in the morning in Jakarta.
const HOUR: u8 = 20;

/// What a cloud does with backups. Every verb returns as soon as the cloud has accepted it.
#[async_trait]
pub trait Backups: Send + Sync {
    /// Whether they are taken of a machine, and which there are that it can go back to, in no order.
    async fn read(&self, machine: &str) -> Result<Shown, ProviderError>;

    /// Has them taken of a machine every day, or no more, which deletes those there are. May be repeated.
    async fn switch(&self, machine: &str, on: bool) -> Result<(), ProviderError>;

    /// Puts a machine's disk back to what it was. The machine may be off afterwards; it keeps its addresses.
    async fn restore(&self, machine: &str, backup_ref: &str) -> Result<(), ProviderError>;
}

/// What a cloud shows of a machine's backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whether they are taken every day.
    pub on: bool,
    /// Those that can be gone back to.
    pub copies: Vec<Copy>,
}

/// A backup as a cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The cloud's own name for it.
    pub backup_ref: String,
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
}

/// Whether accounts at a vendor have machines backed up. Hypervisors of our own take no backups by themselves.
pub fn has(vendor: Vendor) -> bool {
    matches!(
        vendor,
        Vendor::DigitalOcean | Vendor::Linode | Vendor::Vultr
    )
}

/// A moment as clouds write it; without a zone it is one of UTC.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    let plain = || text.parse::<NaiveDateTime>().map(|at| at.and_utc());
    zoned.or_else(|_| plain()).ok()
}

fn unreadable() -> ProviderError {
    ProviderError::Unavailable("a backup cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::compute::vendor::Access;

    #[test]
    fn what_is_promised_of_a_vendor_its_adapter_does() {
        for vendor in Vendor::ALL {
            let cloud = vendor.connect(&Access::nowhere()).unwrap();
            assert_eq!(cloud.backups().is_some(), has(vendor), "{vendor:?}");
        }
    }

    #[test]
    fn moments_are_read_as_clouds_write_them() {
        let at = moment("2026-11-21T01:02:03Z");
        assert!(at.is_some());
        for same in [
            "2026-11-21T01:02:03",
            "2026-11-21T01:02:03+00:00",
            "2026-11-21T08:02:03+07:00",
        ] {
            assert_eq!(moment(same), at, "{same}");
        }
        assert_eq!(moment("yesterday"), None);
    }
}
