//! The lines to accounts, kept by each replica.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use secrecy::SecretString;

use crate::base::id::ProviderAccountId;
use crate::base::vault::Vault;
use crate::provider::compute::cloud::Cloud;
use crate::provider::compute::vendor::Access;
use crate::service::provider::model::Account;

/// This replica's lines, by account and the revision of it they were made from. Clones share them.
#[derive(Clone)]
pub struct Lines {
    vault: Vault,
    known: Arc<Mutex<HashMap<ProviderAccountId, Known>>>,
}

/// A line, and the revision of its account.
type Known = (i64, Arc<dyn Cloud>);

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

/// What a sealed token is bound to.
pub fn context(id: ProviderAccountId) -> String {
    format!("provider_accounts/{id}")
}

impl Lines {
    /// No lines yet.
    pub fn new(vault: Vault) -> Self {
        Self {
            vault,
            known: Arc::default(),
        }
    }

    /// What seals tokens.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The line to an account, the same one while staff do not change it: it knows the provider's limits.
    ///
    /// # Errors
    /// If the token does not open.
    pub fn to(&self, account: &Account) -> anyhow::Result<Arc<dyn Cloud>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, line)) = known.get(&account.id)
            && *revision == account.revision
        {
            return Ok(Arc::clone(line));
        }
        let token = self.vault.open(&account.token, &context(account.id))?;
        let token = String::from_utf8(token).context("a token that is no text")?;
        let line = account.vendor.connect(&Access {
            base_url: account.base_url.clone(),
            token: SecretString::from(token),
            calls: usize::try_from(account.call_limit).unwrap_or_default(),
            trust: account.trust.clone(),
        })?;
        known.insert(account.id, (account.revision, Arc::clone(&line)));
        Ok(line)
    }
}
