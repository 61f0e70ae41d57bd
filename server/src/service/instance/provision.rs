//! Making the machine of an instance, one look and at most one call at a time, so that whoever repeats it goes on where the last one stopped.
//!
//! The danger is a creation whose answer is lost. So a claim is written before the call, with the time until which a machine may exist that nobody knows of; every
//! look begins by asking for machines under our own reference, and adopts what it finds; and nobody creates, or concludes that there is nothing to clean up,
//! before that time is over.
//!
//! An account of a provider that refuses is left for another one that serves the plan and region, but only while it is certain that nothing was made there. Once a creation
//! was not answered the instance stays with its account for good.

use chrono::{DateTime, TimeDelta, Utc};

use crate::app::App;
use crate::base::fault::{self, Step};
use crate::base::id::{AccountId, InstanceId};
use crate::provider::compute::vendor::Vendor;
use crate::provider::compute::{Boot, Compute, CreateMachine, Machine, ProviderError};
use crate::service::hypervisor;
use crate::service::instance::calls::in_time;
use crate::service::instance::model::{Instance, State};
use crate::service::instance::plan::{Making, making};
use crate::service::instance::{boot, cloud, store};

/// How long a creation may take to be answered before it counts as lost. Shorter than the lease of whoever calls.
const CREATE: TimeDelta = TimeDelta::seconds(15);
/// How long other accounts are tried in one go, which leaves time for a creation.
const FAILOVER: TimeDelta = TimeDelta::seconds(6);

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
    make(app, instance).await
}

/// Makes the machine in an account that serves it. One that refuses, where it is certain that it made none, is left for another, as long as there is time: whoever calls has a
/// lease, and comes again.
async fn make(app: &App, mut instance: Instance) -> Result<Provisioned, sqlx::Error> {
    let began = app.clock.now();
    let (mut refused, mut first_words) = (Vec::new(), None);
    loop {
        instance = match cloud::assign(app, instance, &refused).await? {
            Ok(assigned) => assigned,
            Err(ProviderError::Busy) => return Ok(CREATING),
            // None is left that was not asked: what they said is the answer.
            Err(error) => return Ok(failed(first_words.unwrap_or(error))),
        };
        let error = match ask(app, &instance).await? {
            Ok(provisioned) => return Ok(provisioned),
            Err(error) => error,
        };
        let Some(left) = cloud::move_away(app, &instance, &error).await? else {
            return Ok(failed(error));
        };
        refused.push(left);
        instance.provider_account = None;
        // One that may have room later speaks louder than one that is full.
        first_words = match first_words {
            Some(known) if known != ProviderError::NoCapacity => Some(known),
            _ => Some(error),
        };
        if app.clock.now() - began > FAILOVER {
            let message = "several provider accounts refused; the next look asks the others";
            return Ok(failed(ProviderError::Unavailable(message.to_owned())));
        }
    }
}

/// Looks for the machine of an instance in its account, and asks for it if there is none. An error is the account's refusal.
async fn ask(
    app: &App,
    instance: &Instance,
) -> Result<Result<Provisioned, ProviderError>, sqlx::Error> {
    let provider = match cloud::of(app, instance).await? {
        Ok(provider) => provider,
        Err(error) => return Ok(Err(error)),
    };
    let looked_at = app.clock.now();
    match look(app, provider.as_ref(), instance).await? {
        Ok(Some(machine)) => {
            let machine = cloud::addressed(app, instance, machine).await?;
            watch(app, provider.as_ref(), instance.clone(), &machine)
                .await
                .map(Ok)
        }
        Ok(None) => create(app, provider.as_ref(), instance, looked_at).await,
        // Looking has no effect, whatever became of the answer.
        Err(ProviderError::Unknown) => Ok(Err(ProviderError::Unavailable(
            "the provider did not answer in time".to_owned(),
        ))),
        Err(error) => Ok(Err(error)),
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
    match making(machine) {
        Making::Done => match alone(provider, &instance, machine).await {
            Ok(true) => Ok(Provisioned::Running),
            Ok(false) => Ok(ADDRESSED),
            Err(error) => Ok(failed(error)),
        },
        Making::Wait if machine.busy && machine.ipv4.is_some() => Ok(ADDRESSED),
        Making::Wait => Ok(BOOTING),
        Making::Prepare => prepare(app, provider, &instance, machine).await,
        Making::PowerOn => match in_time(provider.power_on(&machine.provider_ref)).await {
            Ok(()) | Err(ProviderError::Unknown | ProviderError::Busy) => Ok(BOOTING),
            Err(error) => Ok(failed(error)),
        },
    }
}

/// Makes a bare copy of a template what was ordered, one step at a time.
async fn prepare(
    app: &App,
    provider: &dyn Compute,
    instance: &Instance,
    machine: &Machine,
) -> Result<Provisioned, sqlx::Error> {
    let (account, id) = (instance.account, instance.id);
    let Some(given) = store::boot::given(&app.db, account, id).await? else {
        let message = "what the machine is to be given is not known".to_owned();
        return Ok(Provisioned::Failed(ProvisionFailure::Unavailable(message)));
    };
    let boot = match boot::open(app.lines.vault(), instance, &given) {
        Ok(boot) => boot,
        Err(cause) => return Ok(unsealed(id, &cause)),
    };
    let wish = wish(app, instance, boot).await?;
    match in_time(provider.prepare(&machine.provider_ref, &wish)).await {
        Ok(()) | Err(ProviderError::Unknown | ProviderError::Busy) => Ok(CREATING),
        Err(error) => Ok(failed(error)),
    }
}

/// The machine of an instance, as its provider is asked for it.
async fn wish(app: &App, instance: &Instance, boot: Boot) -> Result<CreateMachine, sqlx::Error> {
    let place = match instance.provider_account {
        Some(cluster) => {
            let mut connection = app.db.acquire().await?;
            hypervisor::place_of(&mut connection, cluster, instance.account, instance.id).await?
        }
        None => None,
    };
    Ok(CreateMachine {
        reference: instance.reference(),
        size: instance.provider_size.clone(),
        region: instance.region_code.clone(),
        image: instance.image_code.clone(),
        boot,
        place,
    })
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
        destroy(provider, instance.id, twin).await?;
    }
    Ok(found.is_empty())
}

async fn destroy(
    provider: &dyn Compute,
    id: InstanceId,
    twin: &Machine,
) -> Result<(), ProviderError> {
    tracing::error!(instance = %id, machine = twin.provider_ref, "a machine was made twice; the twin is destroyed");
    match in_time(provider.delete(&twin.provider_ref)).await {
        Ok(()) | Err(ProviderError::NotFound | ProviderError::Busy | ProviderError::Unknown) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Asks for a machine, if nobody else may be doing so. What nobody may know of yet is reckoned from the moment of the look that found nothing: whoever slept since
/// then, and whose look was too early to find the machine of another, must look again.
async fn create(
    app: &App,
    provider: &dyn Compute,
    instance: &Instance,
    looked_at: DateTime<Utc>,
) -> Result<Result<Provisioned, ProviderError>, sqlx::Error> {
    if let Err(error) = cloud::place(app, instance, looked_at).await? {
        return Ok(match error {
            ProviderError::Busy => Ok(CREATING),
            error => Err(error),
        });
    }
    let (account, id, now) = (instance.account, instance.id, app.clock.now());
    let end = now + CREATE;
    let claimed = end + provider.lookup_delay();
    let vault = app.lines.vault();
    let password = match boot::new_password(vault, id) {
        Ok(password) => password,
        Err(cause) => return Ok(Ok(unsealed(id, &cause))),
    };
    let password_until = now + boot::PASSWORD_KEPT;
    let taken = store::claim(
        &app.db,
        instance,
        looked_at,
        claimed,
        &password,
        password_until,
    );
    let Some(given) = fault::around(Step::MachineClaim, taken).await? else {
        return Ok(Ok(CREATING));
    };
    let boot = match boot::open(vault, instance, &given) {
        Ok(boot) => boot,
        Err(cause) => {
            store::unclaim(&app.db, account, id, claimed, None).await?;
            return Ok(Ok(unsealed(id, &cause)));
        }
    };
    // Read after the claim, while nobody changes it.
    let wish = wish(app, instance, boot).await?;
    let creating = app.clock.until(end, provider.create(&wish));
    match fault::around(Step::MachineCreate, creating).await {
        Some(Ok(machine)) => {
            let adopting = store::adopt(&app.db, account, id, &machine.provider_ref);
            if !fault::around(Step::MachineAdopt, adopting).await? {
                // Somebody else's was adopted, because ours came late.
                return Ok(destroy(provider, id, &machine).await.map(|()| BOOTING));
            }
            Ok(Ok(BOOTING))
        }
        Some(Err(ProviderError::Unknown)) | None => {
            tracing::warn!(instance = %id, "the creation of a machine was not answered");
            store::unclaim(
                &app.db,
                account,
                id,
                claimed,
                Some(app.clock.now() + provider.lookup_delay()),
            )
            .await?;
            Ok(Ok(CREATING))
        }
        Some(Err(error)) => {
            store::unclaim(&app.db, account, id, claimed, None).await?;
            Ok(Err(error))
        }
    }
}

/// Staff can put the key back that it was sealed under.
fn unsealed(id: InstanceId, cause: &anyhow::Error) -> Provisioned {
    tracing::error!(instance = %id, cause = format!("{cause:#}"), "what a machine is given cannot be sealed or opened");
    let message = "what the machine is given does not open".to_owned();
    Provisioned::Failed(ProvisionFailure::Unavailable(message))
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
