//! Taking a machine in that was made elsewhere: an instance, and a subscription that is paid until a time and renews then. Nothing is charged for the time before.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, ImageId, InstanceId, OrderId, PlanId, RegionId};
use crate::base::money::Rupiah;
use crate::base::time;
use crate::provider::compute::Machine;
use crate::service::catalog::Snapshot;
use crate::service::instance::NewInstance;
use crate::service::inventory::error::Error;
use crate::service::inventory::store;
use crate::service::lifecycle::model::Start;
use crate::service::provider::model::Account;
use crate::service::{instance, lifecycle, provider};

/// What staff say of a machine.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The provider's name of it.
    pub machine: String,
    /// Whose it becomes.
    pub account: AccountId,
    /// The plan of its size.
    pub plan: PlanId,
    /// The region it is in.
    pub region: RegionId,
    /// The image it was made from.
    pub image: ImageId,
    /// Its host name.
    pub hostname: String,
    /// The span one price pays for.
    pub period: BillingPeriod,
    /// Price of one period; the plan's if `None`.
    pub price: Option<Rupiah>,
    /// Until when it is paid.
    pub paid_until: DateTime<Utc>,
    /// Renews by itself.
    pub auto_renew: bool,
}

/// The machine as its provider shows it now.
///
/// # Errors
/// `MachineNotFound`, `MachineIsBusy`, `MachineIsOurs`; `DoesNotAnswer` of the provider; the database.
pub async fn look(app: &App, account: &Account, machine: &str) -> Result<Machine, Error> {
    let line = app
        .lines
        .to(account)
        .map_err(provider::error::Error::Secret)?;
    let seen = match line.get(machine).await {
        Ok(Some(seen)) if seen.busy => return Err(Error::MachineIsBusy),
        Ok(Some(seen)) => seen,
        Ok(None) => return Err(Error::MachineNotFound),
        Err(error) => return Err(provider::error::Error::DoesNotAnswer(error.to_string()).into()),
    };
    // Its name is of our making: whoever bears the reference is the platform's to deal with.
    if let Ok(named) = seen.reference.parse::<uuid::Uuid>().map(InstanceId)
        && instance::store::account_of(&app.db, named).await?.is_some()
    {
        return Err(Error::MachineIsOurs(named));
    }
    Ok(seen)
}

/// What a machine is recorded as, if it is what staff say.
///
/// # Errors
/// `MachineDoesNotFit`, `PaidUntil`.
pub fn fit(
    catalogue: &Snapshot,
    account: &Account,
    adoption: &Adoption,
    machine: &Machine,
    now: DateTime<Utc>,
) -> Result<NewInstance, Error> {
    let provider = account.vendor.name();
    // On hypervisors of our own a machine has its size, place and address from us, or it is none of ours.
    let sizes = !account.vendor.is_own();
    let plan = catalogue
        .plan(adoption.plan)
        .filter(|plan| sizes && plan.provider == provider && plan.provider_size == machine.size)
        .ok_or(Error::MachineDoesNotFit("plan"))?;
    let region = catalogue
        .region(adoption.region)
        .filter(|region| region.provider == provider)
        .ok_or(Error::MachineDoesNotFit("region"))?;
    let image = catalogue
        .image(adoption.image)
        .filter(|image| image.provider == provider)
        .ok_or(Error::MachineDoesNotFit("image"))?;
    let price = match adoption.price {
        Some(price) => price,
        None => {
            catalogue
                .price(plan.id, adoption.period, now)
                .ok_or(Error::MachineDoesNotFit("plan"))?
                .amount
        }
    };
    let latest = time::period_end(now, adoption.period, 1);
    if adoption.paid_until <= now || latest.is_none_or(|latest| adoption.paid_until > latest) {
        return Err(Error::PaidUntil);
    }
    Ok(NewInstance {
        account: adoption.account,
        id: InstanceId::new(),
        // None made it.
        order: OrderId(uuid::Uuid::nil()),
        provider: provider.to_owned(),
        provider_size: plan.provider_size.clone(),
        plan: plan.id,
        vcpus: plan.vcpus,
        memory_mib: plan.memory_mib,
        disk_gib: plan.disk_gib,
        region: region.id,
        region_code: region.provider_region.clone(),
        image: image.id,
        image_code: image.provider_image.clone(),
        hostname: adoption.hostname.clone(),
        labels: std::collections::BTreeMap::new(),
        price,
        period: adoption.period,
        created_at: now,
    })
}

/// Records an adoption. The provider's account is locked meanwhile, so that a machine is adopted once.
///
/// # Errors
/// `AccountNotFound`, `MachineIsOurs`, `PROVIDER_ACCOUNT_NOT_FOUND`; the database.
pub async fn adopt(
    connection: &mut PgConnection,
    account: &Account,
    adoption: &Adoption,
    machine: &Machine,
    new: NewInstance,
) -> Result<(), Error> {
    provider::store::get_for_update(connection, account.id)
        .await?
        .ok_or(provider::error::Error::NotFound)?;
    if !store::is_real_account(connection, adoption.account.0).await? {
        return Err(Error::AccountNotFound);
    }
    if let Some(owner) =
        provider::store::owner_of(connection, account.id, &machine.provider_ref).await?
    {
        return Err(Error::MachineIsOurs(owner));
    }
    let start = Start {
        account: new.account,
        instance: new.id,
        order: new.order,
        price: new.price,
        paid: Rupiah(0),
        period: new.period,
        auto_renew: adoption.auto_renew,
    };
    let now = new.created_at;
    instance::take_in(connection, new, account.id, machine).await?;
    lifecycle::take_over(connection, start, adoption.paid_until, now).await?;
    Ok(())
}
