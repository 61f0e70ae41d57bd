//! Making the machine of an instance, one look and at most one call at a time, so that whoever repeats it goes on where the last one stopped.
//!
//! The danger is a creation whose answer is lost. So a claim is written before the call, with the time until which a machine may exist that nobody knows of; every
//! look begins by asking for machines under our own reference, and adopts what it finds; and nobody creates, or concludes that there is nothing to clean up,
//! before that time is over.

use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId};
use crate::provider::compute::vendor::Vendor;
use crate::provider::compute::{Compute, CreateMachine, Machine, Power, ProviderError};
use crate::service::instance::model::{Instance, State};
use crate::service::instance::{cloud, password, store};

/// How long a creation may take to be answered before it counts as lost. Shorter than the lease of whoever calls.
const CREATE_SECONDS: i64 = 15;
const CREATE_TIMEOUT: Duration = Duration::from_secs(CREATE_SECONDS.unsigned_abs());
/// How long any other call may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How far a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provisioned {
    /// It runs and has its address.
    Running,
    /// It is under way; look again soon.
    Waiting {
        /// The present step in a word.
        step: &'static str,
        /// 0 to 100.
        progress: i16,
    },
    /// It failed.
    Failed(ProvisionFailure),
}

/// Why a machine is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvisionFailure {
    /// There is no room for it. Trying again at once does not help.
    NoCapacity,
    /// The provider refuses it for good.
    Refused(String),
    /// The provider could not do it now; try again later.
    Unavailable(String),
}

const CREATING: Provisioned = Provisioned::Waiting {
    step: "creating",
    progress: 20,
};
const BOOTING: Provisioned = Provisioned::Waiting {
    step: "booting",
    progress: 50,
};
const ADDRESSED: Provisioned = Provisioned::Waiting {
    step: "booting",
    progress: 75,
};

/// Takes the making of a machine one step further. Holds no transaction, and repeats safely, on several replicas at once as well.
///
/// # Errors
/// Of the database.
pub async fn provision(
    app: &App,
    account: AccountId,
    id: InstanceId,
) -> Result<Provisioned, sqlx::Error> {
    let Some(instance) = store::get(&app.db, account, id).await? else {
        return Ok(Provisioned::Failed(ProvisionFailure::Refused(
            "there is no such instance".to_owned(),
        )));
    };
    match instance.state {
        State::Provisioning => {}
        State::Running | State::Stopped | State::Suspended => return Ok(Provisioned::Running),
        State::Deleting | State::Deleted | State::Failed | State::Lost => {
            return Ok(Provisioned::Failed(ProvisionFailure::Refused(format!(
                "the instance is {}",
                instance.state.as_str()
            ))));
        }
    }
    let instance = match cloud::assign(app, instance).await? {
        Ok(instance) => instance,
        Err(ProviderError::Busy) => return Ok(CREATING),
        Err(error) => return Ok(failed(error)),
    };
    let provider = match cloud::of(app, &instance).await? {
        Ok(provider) => provider,
        Err(error) => return Ok(failed(error)),
    };
    match look(app, provider.as_ref(), &instance).await? {
        Ok(Some(machine)) => watch(app, provider.as_ref(), instance, &machine).await,
        Ok(None) => create(app, provider.as_ref(), &instance).await,
        Err(error) => Ok(failed(error)),
    }
}

/// The machine of an instance, if there is one; remembers what it finds.
async fn look(
    app: &App,
    provider: &dyn Compute,
    instance: &Instance,
) -> Result<Result<Option<Machine>, ProviderError>, sqlx::Error> {
    if let Some(known) = &instance.provider_ref {
        match in_time(provider.get(known)).await {
            Ok(None) => {}
            seen => return Ok(seen),
        }
    }
    let found = match in_time(provider.find(instance.reference())).await {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    if found.len() > 1 {
        tracing::error!(instance = %instance.id, count = found.len(), "several machines carry one reference; the oldest is used");
    }
    match (found.into_iter().next(), &instance.provider_ref) {
        (Some(machine), None) => {
            tracing::info!(instance = %instance.id, machine = machine.provider_ref, "adopted a machine whose creation was not answered");
            store::adopt(
                &app.db,
                instance.account,
                instance.id,
                &machine.provider_ref,
            )
            .await?;
            Ok(Ok(Some(machine)))
        }
        (None, Some(known)) => {
            tracing::warn!(instance = %instance.id, machine = known, "a machine was gone before it ran");
            store::forget(&app.db, instance, app.clock.now() + provider.lookup_delay()).await?;
            Ok(Ok(None))
        }
        (found, _) => Ok(Ok(found)),
    }
}

/// Waits for a machine to run.
async fn watch(
    app: &App,
    provider: &dyn Compute,
    mut instance: Instance,
    machine: &Machine,
) -> Result<Provisioned, sqlx::Error> {
    if instance.see(machine) {
        store::set_addresses(&app.db, &instance, app.clock.now()).await?;
    }
    if machine.busy {
        return Ok(if machine.ipv4.is_some() {
            ADDRESSED
        } else {
            BOOTING
        });
    }
    match machine.power {
        Power::Running if machine.ipv4.is_some() => match alone(provider, &instance, machine).await
        {
            Ok(true) => Ok(Provisioned::Running),
            Ok(false) => Ok(ADDRESSED),
            Err(error) => Ok(failed(error)),
        },
        Power::Running | Power::Booting | Power::Stopping => Ok(BOOTING),
        Power::Stopped => match in_time(provider.power_on(&machine.provider_ref)).await {
            Ok(()) | Err(ProviderError::Unknown | ProviderError::Busy) => Ok(BOOTING),
            Err(error) => Ok(failed(error)),
        },
    }
}

/// Whether the machine is the only one of its instance. Where a provider would make two, twins are looked for before the first one is handed over, and destroyed:
/// nobody has used them, and somebody would pay for them.
async fn alone(
    provider: &dyn Compute,
    instance: &Instance,
    machine: &Machine,
) -> Result<bool, ProviderError> {
    if Vendor::parse(&instance.provider).is_none() {
        return Ok(true);
    }
    let mut found = in_time(provider.find(instance.reference())).await?;
    found.retain(|twin| twin.provider_ref != machine.provider_ref);
    for twin in &found {
        tracing::error!(instance = %instance.id, machine = twin.provider_ref, "a machine was made twice; the twin is destroyed");
        match in_time(provider.delete(&twin.provider_ref)).await {
            Ok(())
            | Err(ProviderError::NotFound | ProviderError::Busy | ProviderError::Unknown) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found.is_empty())
}

/// Asks for a machine, if nobody else may be doing so.
async fn create(
    app: &App,
    provider: &dyn Compute,
    instance: &Instance,
) -> Result<Provisioned, sqlx::Error> {
    let (account, id, now) = (instance.account, instance.id, app.clock.now());
    let claimed = now + TimeDelta::seconds(CREATE_SECONDS) + provider.lookup_delay();
    if !store::claim(&app.db, account, id, now, claimed).await? {
        return Ok(CREATING);
    }
    let wish = CreateMachine {
        reference: instance.reference(),
        size: instance.provider_size.clone(),
        region: instance.region_code.clone(),
        image: instance.image_code.clone(),
        hostname: instance.hostname.clone(),
        // Nobody is told this one: an owner who wants a password resets it.
        first_password: SecretString::from(password::make()),
    };
    match tokio::time::timeout(CREATE_TIMEOUT, provider.create(&wish)).await {
        Ok(Ok(machine)) => {
            if !store::adopt(&app.db, account, id, &machine.provider_ref).await? {
                tracing::error!(instance = %id, machine = machine.provider_ref, "a second machine was made");
            }
            Ok(BOOTING)
        }
        Ok(Err(ProviderError::Unknown)) | Err(_) => {
            tracing::warn!(instance = %id, "the creation of a machine was not answered");
            store::unclaim(
                &app.db,
                account,
                id,
                claimed,
                Some(app.clock.now() + provider.lookup_delay()),
            )
            .await?;
            Ok(CREATING)
        }
        Ok(Err(error)) => {
            store::unclaim(&app.db, account, id, claimed, None).await?;
            Ok(failed(error))
        }
    }
}

fn failed(error: ProviderError) -> Provisioned {
    Provisioned::Failed(match error {
        ProviderError::NoCapacity => ProvisionFailure::NoCapacity,
        ProviderError::Refused(message) => ProvisionFailure::Refused(message),
        ProviderError::Unknown
        | ProviderError::NotFound
        | ProviderError::Busy
        | ProviderError::RateLimited { .. }
        | ProviderError::Unauthorized(_)
        | ProviderError::Unavailable(_) => ProvisionFailure::Unavailable(error.to_string()),
    })
}

/// Waits for a provider's answer as long as is reasonable; one that does not come is lost.
pub(super) async fn in_time<T>(
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    tokio::time::timeout(CALL_TIMEOUT, call)
        .await
        .unwrap_or(Err(ProviderError::Unknown))
}
