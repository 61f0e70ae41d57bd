//! Transfers to the operator's own bank accounts. No computer tells when money came; staff read the statement and confirm.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::TimeDelta;
use http::HeaderMap;

use crate::base::money::Rupiah;
use crate::provider::payment::settings::BankAccount;
use crate::provider::payment::{
    BadCallback, Capabilities, Channel, ChannelKind, Gateway, GatewayError, Instruction, Notice,
    Terms, Transaction, TransactionState, Wish,
};

/// The operator's bank accounts.
pub struct Bank {
    accounts: Vec<BankAccount>,
}

impl Bank {
    /// One channel for each account.
    pub fn new(accounts: Vec<BankAccount>) -> Self {
        Self { accounts }
    }
}

#[async_trait]
impl Gateway for Bank {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            answers: false,
            lists: false,
            life: TimeDelta::days(3),
            lookup_delay: TimeDelta::zero(),
        }
    }

    async fn channels(&self) -> Result<Vec<Channel>, GatewayError> {
        let channel = |account: &BankAccount| Channel {
            code: account.code.clone(),
            name: account.bank.clone(),
            kind: ChannelKind::BankTransfer,
            active: true,
            minimum: None,
            maximum: None,
            fee_flat: Some(Rupiah::ZERO),
            fee_percent: "0".to_owned(),
        };
        Ok(self.accounts.iter().map(channel).collect())
    }

    async fn fees(&self, _amount: Rupiah) -> Result<HashMap<String, Rupiah>, GatewayError> {
        let free = |account: &BankAccount| (account.code.clone(), Rupiah::ZERO);
        Ok(self.accounts.iter().map(free).collect())
    }

    async fn open(&self, wish: &Wish) -> Result<Transaction, GatewayError> {
        let account = self
            .accounts
            .iter()
            .find(|account| account.code == wish.channel)
            .ok_or_else(|| GatewayError::Rejected("no such bank account".to_owned()))?;
        // The end of an id of version 7 is random, and short enough to type.
        let short: String = wish.reference.chars().rev().take(8).collect();
        let short: String = short.chars().rev().collect();
        Ok(Transaction {
            gateway_ref: String::new(),
            reference: wish.reference.clone(),
            state: TransactionState::Unpaid,
            total: wish.amount,
            refunded: Rupiah::ZERO,
            paid_at: None,
            gateway_fee: None,
            terms: Terms {
                pay_code: account.number.clone(),
                instructions: vec![Instruction {
                    title: format!("Transfer {}", account.bank),
                    steps: vec![
                        format!(
                            "Transfer exactly {} to {} account {} of {}.",
                            wish.amount, account.bank, account.number, account.holder
                        ),
                        format!("Write {short} as the message of the transfer."),
                        "Your balance grows when our staff have seen the money.".to_owned(),
                    ],
                }],
                expires_at: Some(wish.expires_at),
                ..Terms::default()
            },
        })
    }

    async fn find(&self, _reference: &str) -> Result<Vec<Transaction>, GatewayError> {
        Ok(Vec::new())
    }

    async fn get(&self, _gateway_ref: &str) -> Result<Option<Transaction>, GatewayError> {
        Ok(None)
    }

    fn read_callback(&self, _headers: &HeaderMap, _body: &[u8]) -> Result<Notice, BadCallback> {
        Err(BadCallback::Forged)
    }

    fn acknowledgement(&self) -> &'static str {
        "{}"
    }
}
