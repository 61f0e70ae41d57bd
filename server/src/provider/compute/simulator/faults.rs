//! The levers: how the simulated cloud is told to misbehave towards an account. The sandbox service calls these.

use sewa_sdk::sewa::sandbox::v1::Fault;
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use sqlx::PgConnection;

use crate::base::id::AccountId;

/// Misbehaves from now on, `times` calls long, or until cleared if 0. Replaces an earlier fault of the kind.
///
/// # Errors
/// Of the database.
pub async fn inject(
    connection: &mut PgConnection,
    account: AccountId,
    kind: Kind,
    times: i32,
) -> Result<Fault, sqlx::Error> {
    sqlx::query!(
        "insert into sim_faults (account_id, kind, times_left) values ($1, $2, $3)
        on conflict on constraint sim_faults_pkey do update set times_left = excluded.times_left",
        account.0,
        kind as i16,
        times,
    )
    .execute(connection)
    .await?;
    Ok(Fault {
        kind: kind as i32,
        times_left: times,
    })
}

/// The faults in force, by kind.
///
/// # Errors
/// Of the database.
pub async fn list(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<Vec<Fault>, sqlx::Error> {
    let rows = sqlx::query!(
        "select kind, times_left from sim_faults where account_id = $1 order by kind",
        account.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Fault {
            kind: i32::from(r.kind),
            times_left: r.times_left,
        })
        .collect())
}

/// Ends all faults.
///
/// # Errors
/// Of the database.
pub async fn clear(connection: &mut PgConnection, account: AccountId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from sim_faults where account_id = $1", account.0)
        .execute(connection)
        .await?;
    Ok(())
}
