//! Which cloud a machine is made in, and the line to it.

use std::sync::Arc;

use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::ProviderAccountId;
use crate::provider::compute::vendor::Vendor;
use crate::provider::compute::{Compute, ProviderError};
use crate::service::instance::model::Instance;
use crate::service::instance::store;
use crate::service::provider;
use crate::service::provider::model::{NoAccount, choose};

/// The cloud that has, or may have, the machine of an instance.
///
/// # Errors
/// The outer one of the database; the inner one if there is no line to it now.
pub async fn of(
    app: &App,
    instance: &Instance,
) -> Result<Result<Arc<dyn Compute>, ProviderError>, sqlx::Error> {
    if let Some(built_in) = app.providers.get(&instance.provider) {
        return Ok(Ok(Arc::clone(built_in)));
    }
    let Some(id) = instance.provider_account else {
        let message = format!("provider {} is not configured", instance.provider);
        return Ok(Err(ProviderError::Unavailable(message)));
    };
    let mut connection = app.db.acquire().await?;
    let Some(account) = provider::store::get(&mut connection, id).await? else {
        let message = format!("there is no provider account {id}");
        return Ok(Err(ProviderError::Unavailable(message)));
    };
    drop(connection);
    Ok(match app.lines.to(&account) {
        Ok(line) => Ok(line),
        Err(error) => {
            tracing::error!(provider_account = %id, error = format!("{error:#}"), "there is no line to an account");
            Err(ProviderError::Unavailable(
                "the provider account's token does not open".to_owned(),
            ))
        }
    })
}

/// Gives an instance whose machine was never asked for an account of its provider, and returns the instance with it. One that needs none stays as it is.
///
/// # Errors
/// The outer one of the database; the inner one if no account takes the machine.
pub async fn assign(
    app: &App,
    mut instance: Instance,
) -> Result<Result<Instance, ProviderError>, sqlx::Error> {
    let Some(vendor) = Vendor::parse(&instance.provider) else {
        return Ok(Ok(instance));
    };
    if instance.provider_account.is_some() {
        return Ok(Ok(instance));
    }
    let mut tx = app.db.begin().await?;
    match chosen(&mut tx, vendor, &instance).await? {
        Ok(id) if store::assign(&mut tx, instance.account, instance.id, id).await? => {
            tx.commit().await?;
            instance.provider_account = Some(id);
            Ok(Ok(instance))
        }
        Ok(_) => Ok(Err(ProviderError::Busy)),
        Err(NoAccount::AllFull) => Ok(Err(ProviderError::NoCapacity)),
        Err(NoAccount::NoneServes) => Ok(Err(ProviderError::Unavailable(
            "no provider account serves this plan and region at present".to_owned(),
        ))),
    }
}

async fn chosen(
    connection: &mut PgConnection,
    vendor: Vendor,
    instance: &Instance,
) -> Result<Result<ProviderAccountId, NoAccount>, sqlx::Error> {
    let accounts = provider::store::list_for_update(connection, vendor).await?;
    let ids: Vec<ProviderAccountId> = accounts.iter().map(|a| a.id).collect();
    let machines = provider::store::count_machines(connection, &ids).await?;
    Ok(choose(
        &accounts,
        &machines,
        instance.plan,
        &instance.region_code,
    ))
}
