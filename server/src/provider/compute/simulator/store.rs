//! The SQL of the simulated cloud.

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::crypto;
use crate::base::id::AccountId;
use crate::provider::compute::simulator::model::{Action, Faults, Row};
use crate::provider::compute::{Boot, CreateMachine};

/// Room of a region that is asked for the first time.
const CAPACITY: i32 = 100_000;
/// Addresses tried before the pool counts as full.
const PROBES: usize = 64;
/// Machines gone that give their room up when a new one is made. More than one, so that rows which are gone do not pile up.
const REAPED: i64 = 16;

struct Stored {
    id: Uuid,
    account: AccountId,
    reference: String,
    size: String,
    address: i32,
    powered_on: bool,
    action: String,
    settles_at: DateTime<Utc>,
    powered_at: Option<DateTime<Utc>>,
    address_at: DateTime<Utc>,
    vanishes: bool,
    gone_at: Option<DateTime<Utc>>,
}

impl From<Stored> for Row {
    fn from(r: Stored) -> Self {
        Self {
            id: r.id,
            account: r.account,
            reference: r.reference,
            size: r.size,
            address: r.address,
            powered_on: r.powered_on,
            action: Action::parse(&r.action).expect("sim_machines_action_known allows no other"),
            settles_at: r.settles_at,
            powered_at: r.powered_at,
            address_at: r.address_at,
            vanishes: r.vanishes,
            gone_at: r.gone_at,
        }
    }
}

/// When the parts of a new machine are ready.
pub struct Times {
    /// Ordered.
    pub now: DateTime<Utc>,
    /// Addresses show.
    pub address_at: DateTime<Utc>,
    /// Boots no longer.
    pub settles_at: DateTime<Utc>,
}

/// Writes a machine. `None` if the region or the address pool is full; the transaction must be rolled back then.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    wish: &CreateMachine,
    password_digest: &[u8],
    times: &Times,
    vanishes: bool,
) -> Result<Option<Row>, sqlx::Error> {
    reap(connection, &wish.region, times.now).await?;
    let id = Uuid::now_v7();
    let user_data = user_data_digest(&wish.boot);
    for _ in 0..PROBES {
        let inserted = sqlx::query_as!(
            Stored,
            r#"insert into sim_machines (id, account_id, reference, region, size, image, hostname, password_digest, address, powered_on, action, began_at,
                settles_at, address_at, vanishes, created_at, ssh_keys, user_data_digest, powered_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, nextval('sim_addresses_seq'), true, 'CREATE', $9, $10, $11, $12, $9, $13, $14, $10)
            on conflict (address) do nothing
            returning id, account_id as "account: AccountId", reference, size, address, powered_on, action, settles_at, powered_at, address_at, vanishes, gone_at"#,
            id,
            wish.reference.account.0,
            wish.reference.instance.to_string(),
            wish.region,
            wish.size,
            wish.image,
            wish.boot.hostname,
            password_digest,
            times.now,
            times.settles_at,
            times.address_at,
            vanishes,
            &wish.boot.ssh_keys,
            user_data.as_ref().map(<[u8; 32]>::as_slice),
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = inserted {
            return Ok(take_room(connection, &wish.region)
                .await?
                .then(|| row.into()));
        }
    }
    Ok(None)
}

fn user_data_digest(boot: &Boot) -> Option<[u8; 32]> {
    let text = boot.user_data.as_ref()?;
    Some(crypto::digest(text.expose_secret().as_bytes()))
}

/// Removes some machines of a region that are gone.
async fn reap(
    connection: &mut PgConnection,
    region: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let gone = sqlx::query!(
        "delete from sim_machines where id in (
            select id from sim_machines where region = $1 and gone_at <= $2 order by gone_at limit $3 for update skip locked
        )",
        region,
        now,
        REAPED,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if gone > 0 {
        let gone = i32::try_from(gone).expect("at most REAPED");
        sqlx::query!(
            "update sim_regions set used = used - $2 where code = $1",
            region,
            gone
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// The last thing done in the transaction, since every creation in the region waits for it.
async fn take_room(connection: &mut PgConnection, region: &str) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "insert into sim_regions as r (code, capacity, used) values ($1, $2, 1)
        on conflict on constraint sim_regions_pkey do update set used = r.used + 1 where r.used < r.capacity",
        region,
        CAPACITY,
    )
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// A machine.
///
/// # Errors
/// Of the database.
pub async fn get(connection: &mut PgConnection, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let found = sqlx::query_as!(
        Stored,
        r#"select id, account_id as "account: AccountId", reference, size, address, powered_on, action, settles_at, powered_at, address_at, vanishes, gone_at
        from sim_machines where id = $1"#,
        id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(Into::into))
}

/// A machine, locked.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Row>, sqlx::Error> {
    let found = sqlx::query_as!(
        Stored,
        r#"select id, account_id as "account: AccountId", reference, size, address, powered_on, action, settles_at, powered_at, address_at, vanishes, gone_at
        from sim_machines where id = $1 for no key update"#,
        id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(Into::into))
}

/// Machines by their ids.
///
/// # Errors
/// Of the database.
pub async fn list(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    let found = sqlx::query_as!(
        Stored,
        r#"select id, account_id as "account: AccountId", reference, size, address, powered_on, action, settles_at, powered_at, address_at, vanishes, gone_at
        from sim_machines where id = any($1)"#,
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// The machines of a reference, oldest first.
///
/// # Errors
/// Of the database.
pub async fn find(connection: &mut PgConnection, reference: &str) -> Result<Vec<Row>, sqlx::Error> {
    let found = sqlx::query_as!(
        Stored,
        r#"select id, account_id as "account: AccountId", reference, size, address, powered_on, action, settles_at, powered_at, address_at, vanishes, gone_at
        from sim_machines where reference = $1 order by created_at, id"#,
        reference,
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// What an action makes of a machine.
pub struct Change<'c> {
    /// The action.
    pub action: Action,
    /// Whether the machine is on afterwards.
    pub powered_on: bool,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// When it is done.
    pub settles_at: DateTime<Utc>,
    /// The new image, where there is one.
    pub image: Option<&'c str>,
    /// The new size, where there is one.
    pub size: Option<&'c str>,
    /// Digest of the new password, where there is one.
    pub password_digest: Option<&'c [u8]>,
    /// What the guest boots with, where that is new.
    pub boot: Option<&'c Boot>,
}

/// Records an action.
///
/// # Errors
/// Of the database.
pub async fn begin(
    connection: &mut PgConnection,
    id: Uuid,
    change: &Change<'_>,
) -> Result<(), sqlx::Error> {
    let user_data = change.boot.and_then(user_data_digest);
    sqlx::query!(
        "update sim_machines set action = $2, powered_on = $3, began_at = $4, settles_at = $5, image = coalesce($6, image),
            password_digest = coalesce($7, password_digest), ssh_keys = coalesce($8, ssh_keys),
            user_data_digest = case when $8::text[] is null then user_data_digest else $9 end, size = coalesce($10, size),
            powered_at = case when not $3 then null when $11 then $5 else coalesce(powered_at, settles_at) end
        where id = $1",
        id,
        change.action.as_str(),
        change.powered_on,
        change.began_at,
        change.settles_at,
        change.image,
        change.password_digest,
        change.boot.map(|boot| boot.ssh_keys.as_slice()),
        user_data.as_ref().map(<[u8; 32]>::as_slice),
        change.size,
        change.action.powers_on(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the end of a machine, unless it is set.
///
/// # Errors
/// Of the database.
pub async fn end(
    connection: &mut PgConnection,
    id: Uuid,
    gone_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sim_machines set gone_at = $2 where id = $1 and gone_at is null",
        id,
        gone_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a fault is in force towards an account.
///
/// # Errors
/// Of the database.
pub async fn has_fault(
    connection: &mut PgConnection,
    account: AccountId,
    kind: Kind,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select 1 from sim_faults where account_id = $1 and kind = $2",
        account.0,
        kind as i16
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// The faults in force towards an account, locked: each spoils one call after the other.
///
/// # Errors
/// Of the database.
pub async fn faults_for_update(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<Faults, sqlx::Error> {
    let kinds = sqlx::query_scalar!(
        "select kind from sim_faults where account_id = $1 order by kind for no key update",
        account.0
    )
    .fetch_all(connection)
    .await?;
    Ok(Faults::new(
        kinds
            .into_iter()
            .filter_map(|k| Kind::try_from(i32::from(k)).ok())
            .collect(),
    ))
}

/// Counts the faults that a call fell to.
///
/// # Errors
/// Of the database.
pub async fn count(
    connection: &mut PgConnection,
    account: AccountId,
    faults: &Faults,
) -> Result<(), sqlx::Error> {
    if faults.taken.is_empty() {
        return Ok(());
    }
    let kinds: Vec<i16> = faults.taken.iter().map(|k| *k as i16).collect();
    sqlx::query!(
        "delete from sim_faults where account_id = $1 and kind = any($2) and times_left = 1",
        account.0,
        &kinds
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("update sim_faults set times_left = times_left - 1 where account_id = $1 and kind = any($2) and times_left > 1", account.0, &kinds)
        .execute(connection)
        .await?;
    Ok(())
}
