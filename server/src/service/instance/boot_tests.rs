//! First passwords: kept for a time, and sealed anew when the key changes.

use std::collections::BTreeMap;

use crate::base::db::PgPool;

use super::tests::World;
use super::*;
use crate::base::vault::Vault;

async fn password(world: &World, id: InstanceId) -> Option<String> {
    let mut connection = world.app.db.acquire().await.unwrap();
    let taken = store::boot::take_password(&mut connection, world.account, id, world.now()).await;
    taken
        .unwrap()
        .map(|sealed| boot::open_password(world.app.lines.vault(), id, &sealed).unwrap())
}

#[sqlx::test(migrations = "../migrations")]
async fn a_first_password_waits_for_its_time_and_no_longer(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let (asked, late, forgotten) = (
        world.running().await,
        world.running().await,
        world.running().await,
    );
    assert_eq!(boot::forget_passwords(&world.app).await.unwrap(), 0);
    sqlx::query!(
        "update instances set first_password_until = now() - interval '1 second' where id = any($1)",
        &[late.0, forgotten.0][..]
    )
    .execute(&world.app.db)
    .await
    .unwrap();
    assert_eq!(
        password(&world, late).await,
        None,
        "also before the sweep, which finds nothing of it to forget"
    );
    let before = world.get(forgotten).await;
    assert_eq!(boot::forget_passwords(&world.app).await.unwrap(), 1);
    let after = world.get(forgotten).await;
    assert!(after.first_password_until.is_none() && after.revision > before.revision);
    assert!(password(&world, asked).await.is_some_and(|p| p.len() == 20));
    assert_eq!(password(&world, asked).await, None, "it was taken");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_machine_that_ends_takes_its_first_password_along(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    world.impose(Kind::Delete, id).await;
    assert_eq!(password(&world, id).await, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_sealed_is_sealed_anew_under_another_key(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let (waiting, made) = (world.ordered().await, world.running().await);
    let wish = boot::Wish {
        ssh_keys: vec!["ssh-ed25519 AAAA".to_owned()],
        user_data: "#!/bin/sh\n".to_owned(),
    };
    let mut connection = world.app.db.acquire().await.unwrap();
    boot::keep(&world.app, &mut connection, world.account, waiting, &wish)
        .await
        .unwrap();
    drop(connection);
    let keys = BTreeMap::from([("k".to_owned(), [1; 32]), ("l".to_owned(), [2; 32])]);
    let vault = Vault::new(keys, "l").unwrap();
    assert_eq!(boot::reseal(&world.app.db, &vault).await.unwrap(), 2);
    assert_eq!(boot::reseal(&world.app.db, &vault).await.unwrap(), 0);
    let names = sqlx::query_scalar!(
        r#"select first_password_key as "key!" from instances where id = $1 union all select sealed_key from first_boots"#,
        made.0
    );
    assert_eq!(names.fetch_all(&world.app.db).await.unwrap(), ["l", "l"]);
    let mut connection = world.app.db.acquire().await.unwrap();
    let now = world.now();
    let sealed = store::boot::take_password(&mut connection, world.account, made, now).await;
    let sealed = sealed.unwrap().unwrap();
    assert_eq!(
        boot::open_password(&vault, made, &sealed).unwrap().len(),
        20
    );
}
