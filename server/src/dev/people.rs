//! Who a new platform knows: a demo reseller with an API key, and one member of staff. Their secrets are kept beside the data, so that they are the same after a
//! restart; a new database gets new people with the old secrets.

use std::path::Path;

use anyhow::Context;
use sqlx::PgConnection;

use crate::base::clock::Clock;
use crate::base::crypto;
use crate::base::db::PgPool;
use crate::dev::kept_secret;
use crate::edge::permissions;
use crate::service::identity::model::AccountKind;
use crate::service::identity::{self, NewAccount, NewKey, password};

/// The reseller's e-mail address.
pub const RESELLER_EMAIL: &str = "reseller@sewa.test";
/// The staff member's e-mail address.
pub const STAFF_EMAIL: &str = "staff@sewa.test";

/// What a developer needs to begin.
pub struct Keys {
    /// API key of the demo reseller.
    pub reseller: String,
    /// Password of the staff member.
    pub staff_password: String,
}

/// Makes whoever is missing.
///
/// # Errors
/// Of the database or the disk.
pub async fn introduce(pool: &PgPool, data: &Path) -> anyhow::Result<Keys> {
    let staff_password = kept_secret(&data.join("staff.password"), || crypto::token(""))?;
    let mut tx = pool.begin().await?;
    let now = Clock.now();
    match identity::add_staff(
        &mut tx,
        STAFF_EMAIL,
        &password::hash(staff_password.clone()).await?,
        "super_admin",
        now,
    )
    .await
    {
        Ok(_) => tx.commit().await?,
        Err(identity::error::Error::EmailTaken) => tx.rollback().await?,
        Err(error) => return Err(error).context("adding staff"),
    }
    let mut tx = pool.begin().await?;
    let file = data.join("reseller.key");
    let reseller = match reseller(&mut tx).await? {
        Some(secret) => {
            let _ = std::fs::remove_file(&file);
            tx.commit().await?;
            kept_secret(&file, || secret)?
        }
        None => std::fs::read_to_string(&file)
            .with_context(|| format!("{} is gone; run with --fresh", file.display()))?,
    };
    Ok(Keys {
        reseller,
        staff_password,
    })
}

/// The key of a reseller made now; `None` if there is one.
async fn reseller(connection: &mut PgConnection) -> anyhow::Result<Option<String>> {
    let now = Clock.now();
    let new = NewAccount {
        email: RESELLER_EMAIL.to_owned(),
        password_hash: password::hash(crypto::token("")).await?,
        user_name: "Demo Reseller".to_owned(),
        account_name: "Toko Demo".to_owned(),
        kind: AccountKind::Reseller,
        sandbox: true,
        referral_code: String::new(),
    };
    let (account, user) = match identity::register(connection, &new, now).await {
        Ok(made) => made,
        Err(identity::error::Error::EmailTaken) => return Ok(None),
        Err(error) => return Err(error).context("making the demo reseller"),
    };
    let held = permissions::of_role("reseller");
    let scopes = [
        "catalog",
        "wallet",
        "orders",
        "instances",
        "lifecycle",
        "metrics",
        "operations",
        "events",
        "sandbox",
        "profile",
        "snapshots",
        "console",
        "ssh_keys",
        "referral",
        "billing",
        "invoices",
    ];
    let scopes = scopes
        .into_iter()
        .filter(|group| held.iter().any(|p| p.starts_with(&format!("{group}."))))
        // A group does not hold what people have to confirm.
        .chain(["instances.delete"])
        .map(str::to_owned)
        .collect();
    let new = NewKey {
        account,
        created_by: user.0,
        role: "reseller",
        display_name: "made by sewa dev".to_owned(),
        scopes,
        lifetime_days: 0,
    };
    let (_, secret) = identity::create_key(connection, new, &held, now).await?;
    Ok(Some(secret))
}
