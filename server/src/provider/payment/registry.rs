//! The gateways this server is set up with. Each stands behind a circuit breaker: one that fails several times in a row is left alone for a while, and then tried
//! by a single call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sewa_sdk::sewa::wallet::v1::deposit::Method;

use crate::base::fault::{self, Step};
use crate::base::money::Rupiah;
use crate::provider::payment::bank::Bank;
use crate::provider::payment::midtrans::Midtrans;
use crate::provider::payment::settings::PaymentSettings;
use crate::provider::payment::tripay::Tripay;
use crate::provider::payment::xendit::Xendit;
use crate::provider::payment::{Channel, Gateway, GatewayError};

/// Failures in a row after which a gateway is left alone.
const PATIENCE: u32 = 3;
/// How long channels are remembered.
const CHANNELS_LAST: Duration = Duration::from_secs(60);

/// The gateways, by method.
#[derive(Clone, Default)]
pub struct Gateways(Arc<Vec<Entry>>);

/// A gateway behind its breaker.
pub struct Entry {
    /// Its method in the contract.
    pub method: Method,
    /// Its name in the path of its callbacks.
    pub name: &'static str,
    /// The gateway, for what calls nobody.
    pub gateway: Box<dyn Gateway>,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
    channels: Option<(Instant, Vec<Channel>)>,
}

impl Gateways {
    /// Those that have a section in the settings.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: &PaymentSettings) -> anyhow::Result<Self> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let mut entries: Vec<(Method, &'static str, Box<dyn Gateway>)> = Vec::new();
        if let Some(tripay) = settings.tripay.clone() {
            let gateway = Box::new(Tripay::new(tripay, timeout)?);
            entries.push((Method::Tripay, "tripay", gateway));
        }
        if let Some(midtrans) = settings.midtrans.clone() {
            let gateway = Box::new(Midtrans::new(midtrans, timeout)?);
            entries.push((Method::Midtrans, "midtrans", gateway));
        }
        if let Some(xendit) = settings.xendit.clone() {
            let gateway = Box::new(Xendit::new(xendit, timeout)?);
            entries.push((Method::Xendit, "xendit", gateway));
        }
        if let Some(bank) = settings.bank_transfer.clone() {
            let gateway = Box::new(Bank::new(bank.accounts));
            entries.push((Method::BankTransfer, "bank_transfer", gateway));
        }
        let rest = Duration::from_millis(settings.rest_ms);
        let entry = |(method, name, gateway)| Entry {
            method,
            name,
            gateway,
            rest,
            state: Mutex::default(),
        };
        Ok(Self(Arc::new(entries.into_iter().map(entry).collect())))
    }

    /// All of them.
    pub fn all(&self) -> &[Entry] {
        &self.0
    }

    /// The gateway of a method.
    pub fn of(&self, method: Method) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.method == method)
    }

    /// The gateway whose callbacks come to `/callbacks/<name>`. Staff confirm bank transfers, so nobody calls back about those.
    pub fn called(&self, name: &str) -> Option<&Entry> {
        let mut answering = self.0.iter().filter(|e| e.gateway.capabilities().answers);
        answering.find(|entry| entry.name == name)
    }
}

impl Entry {
    /// Whether the breaker lets a call pass.
    pub fn is_up(&self) -> bool {
        self.state()
            .closed_until
            .is_none_or(|until| until <= Instant::now())
    }

    /// How long the gateway is still left alone.
    pub fn rests(&self) -> Duration {
        let until = self.state().closed_until;
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Makes a call through the breaker.
    ///
    /// # Errors
    /// The gateway's own, or `Unreachable` while it is left alone.
    pub async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, GatewayError>>,
    ) -> Result<T, GatewayError> {
        {
            let mut state = self.state();
            let now = Instant::now();
            if state.closed_until.is_some_and(|until| until > now) {
                return Err(GatewayError::Unreachable("it is left alone".to_owned()));
            }
            if state.failures >= PATIENCE {
                // This call is the trial; until it is back, others find the door closed.
                state.closed_until = Some(now + self.rest);
            }
        }
        let outcome = fault::around(Step::GatewayCall, call).await;
        let mut state = self.state();
        match &outcome {
            Err(error) if error.is_failure() => {
                state.failures = state.failures.saturating_add(1);
                if state.failures >= PATIENCE {
                    state.closed_until = Some(Instant::now() + self.rest);
                }
                tracing::warn!(gateway = self.name, %error, failures = state.failures, "a payment gateway failed");
            }
            _ => (state.failures, state.closed_until) = (0, None),
        }
        outcome
    }

    /// The channels, remembered for a minute. While the gateway fails, those last seen, none of them active.
    pub async fn channels(&self) -> Vec<Channel> {
        let remembered = {
            let state = self.state();
            let known = state.channels.as_ref();
            known
                .filter(|(at, _)| at.elapsed() < CHANNELS_LAST && state.failures == 0)
                .map(|(_, channels)| channels.clone())
        };
        if let Some(channels) = remembered {
            return channels;
        }
        match self.call(self.gateway.channels()).await {
            Ok(channels) => {
                self.state().channels = Some((Instant::now(), channels.clone()));
                channels
            }
            Err(_) => {
                let last = self.state().channels.as_ref().map(|(_, c)| c.clone());
                let mut last = last.unwrap_or_default();
                last.iter_mut().for_each(|channel| channel.active = false);
                last
            }
        }
    }

    /// What payers pay on top of an amount; nothing is known of it while the gateway fails.
    pub async fn fees(&self, amount: Rupiah) -> HashMap<String, Rupiah> {
        let fees = self.call(self.gateway.fees(amount)).await;
        fees.unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
