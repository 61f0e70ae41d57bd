//! Identifiers. Each kind of thing has a type of its own, so that an order's id cannot be taken for an instance's.

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::base::status::{self, Invalid};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id of version 7: sorts by time, which keeps indexes dense.
            #[expect(clippy::new_without_default, reason = "two defaults would differ")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Reads an id from a request field.
            ///
            /// # Errors
            /// INVALID_REQUEST naming `field`, if the text is not a UUID.
            pub fn parse(field: &'static str, text: &str) -> Result<Self, tonic::Status> {
                parse(field, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

ids! {
    /// Owner of a wallet, orders and instances.
    AccountId,
    /// A person who signs in.
    UserId,
    /// An API key.
    ApiKeyId,
    /// A size of machine for sale.
    PlanId,
    /// A place.
    RegionId,
    /// A disk image.
    ImageId,
    /// A journal of the ledger.
    JournalId,
    /// Something that is given with deposits.
    PromotionId,
    /// A discount on orders.
    CouponId,
    /// A lower price of plans for a time.
    PlanPromotionId,
    /// Money on its way in.
    DepositId,
    /// An order.
    OrderId,
    /// A machine.
    InstanceId,
    /// Work under way.
    OperationId,
    /// An account at a cloud.
    ProviderAccountId,
    /// A renewal, or an attempt at one.
    RenewalId,
    /// A public key.
    SshKeyId,
    /// A copy of a machine's disk.
    SnapshotId,
    /// A copy of a machine's disk that its provider took by itself.
    BackupId,
    /// A look at a machine's screen.
    ConsoleId,
    /// An invoice or a credit note.
    InvoiceId,
    /// A run of the proof of a day.
    ReconciliationId,
    /// A comparison of a provider account's machines with ours.
    InventoryRunId,
    /// One thing that it found.
    InventoryFindingId,
}

impl AccountId {
    /// Stands for the platform itself, in rows that belong to no account.
    pub const PLATFORM: Self = Self(Uuid::nil());
}

/// The least id of version 7 made at that time. Ids are made by the wall clock, whatever an account's test clock says.
pub fn first_at(at: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::try_from(at.timestamp_millis()).unwrap_or_default() << 80)
}

fn parse(field: &'static str, text: &str) -> Result<Uuid, tonic::Status> {
    Uuid::try_parse(text)
        .map_err(|_| status::invalid(Invalid::new(field, "STRING_UUID", "must be a UUID")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_are_beyond_the_bound() {
        let id = Uuid::now_v7();
        let (seconds, nanos) = id.get_timestamp().expect("a time").to_unix();
        let seconds = i64::try_from(seconds).expect("a time");
        let made = DateTime::from_timestamp(seconds, nanos).expect("a time");
        assert!(first_at(made) <= id);
        assert!(id < first_at(made + chrono::TimeDelta::milliseconds(1)));
    }
}
