//! What can go wrong with money.

use std::time::Duration;

use sewa_sdk::sewa::wallet::v1::WalletErrorReason;
use tonic::Status;

use crate::base::money::Rupiah;
use crate::base::{db, status};
use crate::service::wallet::model::Refused;

/// Errors of the wallet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger refuses.
    #[error("the ledger refuses")]
    Refused(#[from] Refused),
    /// No such account.
    #[error("no such account")]
    AccountNotFound,
    /// No such deposit in this account.
    #[error("no such deposit")]
    DepositNotFound,
    /// The deposit ended otherwise.
    #[error("the deposit is {state}")]
    DepositClosed {
        /// How it ended.
        state: &'static str,
    },
    /// The account cannot pay this way.
    #[error("the account cannot use {method}")]
    MethodUnavailable {
        /// The method.
        method: &'static str,
    },
    /// The reference was used before.
    #[error("the client reference was used before")]
    ClientReferenceTaken,
    /// The gateway fails at present.
    #[error("the gateway of {method} fails")]
    GatewayUnavailable {
        /// The method.
        method: &'static str,
        /// How long it is left alone.
        rests: Duration,
    },
    /// The gateway does not offer the channel.
    #[error("no channel {channel}")]
    ChannelUnavailable {
        /// The channel.
        channel: String,
    },
    /// The channel does not take the amount.
    #[error("the channel does not take this amount")]
    AmountOutOfRange {
        /// The least it takes.
        minimum: Option<Rupiah>,
        /// The most it takes.
        maximum: Option<Rupiah>,
    },
    /// A gateway confirms it, and not staff.
    #[error("a deposit by {method} is not confirmed by staff")]
    NotConfirmable {
        /// The method.
        method: &'static str,
    },
    /// The transfer was credited before.
    #[error("the bank reference was credited before")]
    BankReferenceTaken,
    /// The same person confirmed before.
    #[error("somebody else has to confirm")]
    SecondPersonRequired,
    /// The first person saw another amount.
    #[error("{confirmed} was confirmed before")]
    ConfirmedAmountDiffers {
        /// What was confirmed.
        confirmed: Rupiah,
    },
    /// Something differs in the books.
    #[error("{findings} differences, the first in {row}: {rule}")]
    NotProved {
        /// How many.
        findings: usize,
        /// The rule that the first one breaks.
        rule: String,
        /// Its row.
        row: String,
    },
    /// The database failed.
    #[error("database")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match db::broken_constraint(&error) {
            Some("deposits_client_reference_key") => Self::ClientReferenceTaken,
            Some("payments_gateway_ref_key") => Self::BankReferenceTaken,
            _ => Self::Database(error),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use WalletErrorReason as Reason;
        match error {
            Error::Refused(Refused::InsufficientBalance {
                required,
                available,
            }) => status::refuse(
                Reason::InsufficientBalance,
                "the available balance is too small",
            )
            .meta("required", required.0)
            .meta("available", available.0)
            .status(),
            Error::Refused(Refused::Frozen) => status::refuse(
                Reason::WalletFrozen,
                "something differs in the books of this account; no money moves until staff have looked",
            )
            .status(),
            Error::NotProved { findings, rule, row } => status::refuse(
                Reason::LedgerNotProved,
                "something still differs in the books of this account",
            )
            .meta("findings", findings)
            .meta("rule", rule)
            .meta("row", row)
            .status(),
            Error::Refused(
                refused @ (Refused::HoldNotFound | Refused::HoldClosed | Refused::AmountOutOfRange),
            ) => status::internal(refused),
            Error::AccountNotFound => {
                status::refuse(Reason::AccountNotFound, "there is no such account").status()
            }
            Error::DepositNotFound => {
                status::refuse(Reason::DepositNotFound, "there is no such deposit").status()
            }
            Error::DepositClosed { state } => {
                status::internal(format_args!("a deposit that is {state} was settled again"))
            }
            Error::MethodUnavailable { method } => status::refuse(
                Reason::DepositMethodUnavailable,
                "this account cannot use this method here",
            )
            .meta("method", method)
            .status(),
            Error::GatewayUnavailable { method, rests } => status::refuse(
                Reason::PaymentGatewayUnavailable,
                "the payment gateway fails at present",
            )
            .meta("method", method)
            .retry_after(rests.max(Duration::from_secs(1)))
            .status(),
            Error::ChannelUnavailable { channel } => status::refuse(
                Reason::DepositChannelUnavailable,
                "the gateway does not offer this channel",
            )
            .meta("channel", channel)
            .status(),
            Error::AmountOutOfRange { minimum, maximum } => {
                let limit = |limit: Option<Rupiah>| limit.map_or(0, |l| l.0);
                status::refuse(
                    Reason::DepositAmountOutOfRange,
                    "the channel does not take this amount",
                )
                .meta("minimum", limit(minimum))
                .meta("maximum", limit(maximum))
                .status()
            }
            Error::NotConfirmable { method } => status::refuse(
                Reason::DepositNotConfirmable,
                "only bank transfers are confirmed by staff",
            )
            .meta("method", method)
            .status(),
            Error::BankReferenceTaken => status::refuse(
                Reason::BankReferenceTaken,
                "the bank reference was credited before",
            )
            .status(),
            Error::SecondPersonRequired => status::refuse(
                Reason::SecondPersonRequired,
                "somebody else has to confirm this amount too",
            )
            .status(),
            Error::ConfirmedAmountDiffers { confirmed } => status::refuse(
                Reason::ConfirmedAmountDiffers,
                "another amount was confirmed for this transfer",
            )
            .meta("confirmed", confirmed.0)
            .status(),
            Error::ClientReferenceTaken => status::refuse(
                Reason::ClientReferenceTaken,
                "the client reference was used before",
            )
            .status(),
            Error::Database(error) => status::database(&error),
        }
    }
}
