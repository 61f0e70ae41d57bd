//! Snapshots at clouds that have them.
//!
//! A snapshot is a thing of its own at most clouds: it outlives its machine, and somebody pays for it. So it carries our own name, as a machine does, and is looked for by it
//! before another one is taken and before its absence is believed.

mod digitalocean;
mod vultr;

use async_trait::async_trait;

use crate::base::id::SnapshotId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::vendor::Vendor;

/// What a cloud does with snapshots. Every verb returns as soon as the cloud has accepted it; a look at the machine and at the snapshot tells when it is done.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Takes a snapshot of a machine's disk under our name for it. It does not care whether the machine runs.
    async fn create(&self, machine: &str, snapshot: SnapshotId) -> Result<(), ProviderError>;

    /// The snapshots that carry our name, oldest first. More than one means that something was asked for twice. `machine` may be gone.
    async fn find(&self, machine: &str, snapshot: SnapshotId) -> Result<Vec<Found>, ProviderError>;

    /// Puts a machine's disk back to what it was. The machine boots afterwards and keeps its addresses.
    async fn restore(&self, machine: &str, snapshot_ref: &str) -> Result<(), ProviderError>;

    /// Deletes a snapshot. `machine` may be gone.
    async fn delete(&self, machine: &str, snapshot_ref: &str) -> Result<(), ProviderError>;
}

/// A snapshot as a cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cloud's own name for it.
    pub snapshot_ref: String,
    /// Whether it is whole and can be gone back to.
    pub ready: bool,
}

/// Our name for a snapshot at a cloud. Not longer than 40 characters and begun by a letter, as some clouds want.
pub fn name_of(snapshot: SnapshotId) -> String {
    format!("sewa-{}", snapshot.0.simple())
}

/// Whether accounts at a vendor take snapshots that can be deleted one by one. Linode keeps a single one, only within its backup service, and has no call that deletes it.
pub fn has(vendor: Vendor) -> bool {
    matches!(vendor, Vendor::DigitalOcean | Vendor::Vultr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::compute::vendor::Access;

    #[test]
    fn what_is_promised_of_a_vendor_its_adapter_does() {
        for vendor in Vendor::ALL {
            let cloud = vendor.connect(&Access::nowhere()).unwrap();
            assert_eq!(cloud.snapshots().is_some(), has(vendor), "{vendor:?}");
        }
    }

    #[test]
    fn a_name_suits_every_cloud() {
        let name = name_of(SnapshotId::new());
        assert!(name.len() <= 40 && name.starts_with("sewa-"), "{name}");
    }
}
