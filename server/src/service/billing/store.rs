//! The SQL of billing profiles.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::db::PgPool;
use crate::base::id::AccountId;
use crate::service::billing::model::{BillingProfile, TaxNumberKind};

struct Row {
    name: String,
    tax_number_kind: i16,
    tax_number: String,
    branch: String,
    address: String,
    city: String,
    province: String,
    postal_code: String,
    email: String,
    language: String,
    updated_at: DateTime<Utc>,
}

impl From<Row> for BillingProfile {
    fn from(r: Row) -> Self {
        Self {
            name: r.name,
            tax_number_kind: TaxNumberKind::from_number(r.tax_number_kind),
            tax_number: r.tax_number,
            branch: r.branch,
            address: r.address,
            city: r.city,
            province: r.province,
            postal_code: r.postal_code,
            email: r.email,
            language: r.language,
            updated_at: Some(r.updated_at),
        }
    }
}

/// The profile of an account; an empty one if it never was written.
///
/// # Errors
/// Of the database.
pub async fn get(pool: &PgPool, account: AccountId) -> Result<BillingProfile, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select name, tax_number_kind, tax_number, branch, address, city, province, postal_code, email, language, updated_at
        from billing_profiles where account_id = $1",
        account.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Into::into).unwrap_or_default())
}

/// Writes an empty profile unless there is one.
///
/// # Errors
/// Of the database.
pub async fn insert_empty(
    connection: &mut PgConnection,
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into billing_profiles (account_id, updated_at) values ($1, $2) on conflict do nothing",
        account.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks the profile of an account, which is there.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<BillingProfile, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select name, tax_number_kind, tax_number, branch, address, city, province, postal_code, email, language, updated_at
        from billing_profiles where account_id = $1 for no key update",
        account.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(row.into())
}

/// Writes a profile that the caller has locked.
///
/// # Errors
/// Of the database.
pub async fn save(
    connection: &mut PgConnection,
    account: AccountId,
    profile: &BillingProfile,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update billing_profiles set name = $2, tax_number_kind = $3, tax_number = $4, branch = $5, address = $6, city = $7, province = $8,
            postal_code = $9, email = $10, language = $11, updated_at = $12
        where account_id = $1",
        account.0,
        profile.name,
        profile.tax_number_kind as i16,
        profile.tax_number,
        profile.branch,
        profile.address,
        profile.city,
        profile.province,
        profile.postal_code,
        profile.email,
        profile.language,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
