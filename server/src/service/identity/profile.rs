//! A user's own profile.

use sqlx::PgConnection;

use crate::base::call::{Caller, CallerKind};
use crate::base::id::UserId;
use crate::service::identity::error::Error;
use crate::service::identity::model::Profile;
use crate::service::identity::store;

/// New values of profile fields.
pub struct Changes<'a> {
    /// Which fields to change.
    pub fields: &'a [&'static str],
    /// Name.
    pub name: String,
    /// Phone number.
    pub phone: String,
    /// Language.
    pub language: String,
}

/// The caller's profile.
///
/// # Errors
/// `ProfileNotFound` for an API key; the database.
pub async fn get(connection: &mut PgConnection, caller: &Caller) -> Result<Profile, Error> {
    if caller.kind != CallerKind::User {
        return Err(Error::ProfileNotFound);
    }
    store::get_profile(connection, UserId(caller.principal))
        .await?
        .ok_or(Error::ProfileNotFound)
}

/// The caller's profile, and it can change only in this transaction.
///
/// # Errors
/// As [`get`].
pub async fn get_for_update(
    connection: &mut PgConnection,
    caller: &Caller,
) -> Result<Profile, Error> {
    store::lock_user(connection, UserId(caller.principal)).await?;
    get(connection, caller).await
}

/// Changes a profile read with [`get_for_update`].
///
/// # Errors
/// `EmptyName`; the database.
pub async fn update(
    connection: &mut PgConnection,
    mut profile: Profile,
    changes: Changes<'_>,
) -> Result<Profile, Error> {
    if changes.fields.contains(&"name") {
        if changes.name.trim().is_empty() {
            return Err(Error::EmptyName);
        }
        profile.name = changes.name;
    }
    if changes.fields.contains(&"phone") {
        profile.phone = changes.phone;
    }
    if changes.fields.contains(&"language") {
        profile.language = changes.language;
    }
    store::update_profile(connection, &profile).await?;
    Ok(profile)
}
