//! Putting right what a run found, each time after a fresh look: what was true when the machines were listed may not be any more.

use sewa_sdk::sewa::inventory::v1::inventory_finding::{Outcome, Reason, Repair};

use crate::app::App;
use crate::base::id::InstanceId;
use crate::provider::compute::cloud::Cloud;
use crate::provider::compute::{Machine, ProviderError};
use crate::service::instance::model::{Instance, State};
use crate::service::inventory::model::Finding;
use crate::service::provider::model::Account;
use crate::service::{instance, operation, provider};

/// What became of a repair, and in which words.
type Ended = (Outcome, String);

fn skipped(why: &str) -> Ended {
    (Outcome::Skipped, why.to_owned())
}

fn failed(error: &ProviderError) -> Ended {
    (Outcome::Failed, error.to_string())
}

/// Puts a finding right. Holds no transaction while the provider is asked.
///
/// # Errors
/// Of the database.
pub async fn put_right(
    app: &App,
    account: &Account,
    finding: &Finding,
) -> Result<Ended, sqlx::Error> {
    let Some(id) = finding.difference.instance else {
        return Ok(skipped("no instance is named"));
    };
    let Some(instance) = read(app, id).await? else {
        return Ok(skipped("there is no such instance"));
    };
    match (finding.repair, &finding.difference.machine) {
        (Repair::LookAgain, _) => look_again(app, &instance).await,
        (Repair::DestroyMachine, Some((machine, _))) => {
            destroy(app, account, finding.difference.reason, &instance, machine).await
        }
        (Repair::DestroyMachine | Repair::Unspecified, _) => Ok(skipped("nothing is to be done")),
    }
}

async fn read(app: &App, id: InstanceId) -> Result<Option<Instance>, sqlx::Error> {
    match instance::store::account_of(&app.db, id).await? {
        Some(account) => instance::store::get(&app.db, account, id).await,
        None => Ok(None),
    }
}

/// Lets the patrol look, which writes down what it sees, and powers off what runs unpaid.
async fn look_again(app: &App, was: &Instance) -> Result<Ended, sqlx::Error> {
    match instance::patrol::inspect(app, was.account, was.id).await {
        Ok(()) => {}
        Err(error) => match error.downcast::<sqlx::Error>() {
            Ok(database) => return Err(database),
            Err(other) => return Ok((Outcome::Failed, format!("{other:#}"))),
        },
    }
    let now = read(app, was.id).await?;
    Ok(match now {
        Some(now) if now.revision != was.revision => {
            let words = format!(
                "the instance was {}, and is {}",
                was.state.as_str(),
                now.state.as_str()
            );
            (Outcome::Done, words)
        }
        _ => skipped("looked at again, it was as it should be, or somebody is at work on it"),
    })
}

/// Destroys a machine that carries the reference of `instance`, which has ended, or has another machine that lives.
async fn destroy(
    app: &App,
    account: &Account,
    reason: Reason,
    instance: &Instance,
    machine: &str,
) -> Result<Ended, sqlx::Error> {
    let mut connection = app.db.acquire().await?;
    if instance.provider_account != Some(account.id) {
        return Ok(skipped("the instance has its machine in another account"));
    }
    if provider::store::owner_of(&mut connection, account.id, machine)
        .await?
        .is_some()
    {
        return Ok(skipped("an instance has the machine"));
    }
    let open = operation::store::get_open(&mut connection, instance.account, instance.id).await?;
    if open.is_some() {
        return Ok(skipped("somebody is at work on the instance"));
    }
    drop(connection);
    let line = match app.lines.to(account) {
        Ok(line) => line,
        Err(_) => {
            return Ok((
                Outcome::Failed,
                "the account's token does not open".to_owned(),
            ));
        }
    };
    match (reason, instance.state, &instance.provider_ref) {
        (Reason::Remains, State::Deleted | State::Failed, _) => {}
        (Reason::Twin, State::Running | State::Stopped | State::Suspended, Some(own))
            if own != machine =>
        {
            match line.get(own).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Ok(skipped(
                        "the instance's own machine is gone, and this one may be needed",
                    ));
                }
                Err(error) => return Ok(failed(&error)),
            }
        }
        _ => return Ok(skipped("the instance is not what it was")),
    }
    Ok(match line.get(machine).await {
        Ok(Some(seen)) if is_named_after(&seen, instance) => end(line.as_ref(), machine).await,
        Ok(Some(_)) => skipped("the machine does not carry the reference of the instance any more"),
        Ok(None) => skipped("the machine is gone"),
        Err(error) => failed(&error),
    })
}

fn is_named_after(machine: &Machine, instance: &Instance) -> bool {
    machine.reference == instance.id.to_string()
}

async fn end(line: &dyn Cloud, machine: &str) -> Ended {
    match line.delete(machine).await {
        Ok(()) => (Outcome::Done, "the machine was destroyed".to_owned()),
        Err(ProviderError::NotFound) => (Outcome::Done, "the machine was gone".to_owned()),
        Err(ProviderError::Unknown) => (
            Outcome::Begun,
            "the provider did not answer; the next run looks whether it is gone".to_owned(),
        ),
        Err(error) => failed(&error),
    }
}
