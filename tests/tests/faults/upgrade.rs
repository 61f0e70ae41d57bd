//! Servers are replaced one by one while people work, by a release that brings a migration: nobody loses anything, and nobody is told anything a retry does not
//! cure. [R10]
//!
//! The next release is this one, and its migration adds what a migration may: columns to every table, a table and indexes. The servers that still run are of the old
//! release then, and are stopped as operators stop them.

use std::time::Duration;

use sewa_sdk::{Credentials, Session};
use sewa_tests::{Settings, World, soak};
use sqlx::PgConnection;

use crate::database::nothing_is_left_open;
use crate::load::{as_told, end_leases, people, set_to_work};

/// People who work at the same time; every other one at the other server.
const PEOPLE: usize = 4;
const ROUNDS: u64 = 3;

/// A change of the schema that waits for its lock for a moment only, again and again, so that nobody queues up behind it.
async fn change(database: &mut PgConnection, statement: &str) {
    for setting in ["set lock_timeout = '50ms'", "set deadlock_timeout = '20ms'"] {
        sqlx::raw_sql(setting)
            .execute(&mut *database)
            .await
            .unwrap();
    }
    for _ in 0..1000 {
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&mut *database)
            .await;
        match done {
            Ok(_) => return,
            Err(sqlx::Error::Database(error))
                if ["55P03", "40P01"].contains(&error.code().as_deref().unwrap_or_default()) =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{statement}: {error}"),
        }
    }
    panic!("{statement}: somebody holds a lock all the time");
}

/// What the next release's migration does, table by table.
async fn migrate(database: &mut PgConnection, release: u64) {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> '_sqlx_migrations'
          and not exists (select from pg_inherits i where i.inhrelid = c.oid) order by 1",
    )
    .fetch_all(&mut *database)
    .await
    .unwrap();
    for table in tables {
        change(
            database,
            &format!("alter table {table} add column release_{release} text"),
        )
        .await;
        change(
            database,
            &format!("alter table {table} add column since_{release} bigint not null default 7"),
        )
        .await;
    }
    change(
        database,
        &format!("create table things_{release} (id uuid primary key)"),
    )
    .await;
    for table in ["orders", "writes"] {
        let statement = format!(
            "create index concurrently {table}_{release} on {table} (account_id, release_{release})"
        );
        sqlx::raw_sql("set lock_timeout = 0")
            .execute(&mut *database)
            .await
            .unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut *database)
            .await
            .unwrap();
    }
    let version = 29_990_101_000_000_i64 + i64::try_from(release).unwrap();
    sqlx::query("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values ($1, 'the next release', true, '\\x00', 1)")
        .bind(version)
        .execute(database)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_replaced_one_by_one_while_a_migration_runs_and_people_work() {
    let mut world = World::with(Settings::default()).await;
    let second = tokio::task::block_in_place(|| world.add_server());
    let mut people = people(&world, PEOPLE).await;
    for (number, (person, _)) in people.iter_mut().enumerate() {
        if number % 2 == 1 {
            let session = Credentials::Session(Session::resume(person.tokens.clone()));
            *person = person.through(world.client_of(second, session));
        }
    }
    let (mut told, mut done) = (Vec::new(), 0);
    for release in 0..soak() {
        let mut working = set_to_work(&people, done..done + ROUNDS);
        done += ROUNDS;
        let mut database = world.behind_the_scenes().await;
        migrate(&mut database, release).await;
        // An instance of the old release that looks after the schema before it serves finds nothing to do.
        world.sewa(&["migrate"], "").unwrap();
        for server in [second, 0] {
            let replaced = tokio::task::block_in_place(|| {
                let status = world.servers[server].stop()?;
                world.servers[server].start_again()?;
                anyhow::Ok(status)
            });
            assert_eq!(
                replaced.unwrap(),
                0,
                "a server that was asked to stop ends well"
            );
        }
        while !working.is_empty() {
            tokio::select! {
                ended = working.join_next() => told.extend(ended.map(|ended| ended.unwrap())),
                () = tokio::time::sleep(Duration::from_millis(500)) => end_leases(&world).await,
            }
        }
    }
    as_told(&world, &told).await;
    nothing_is_left_open(&world).await;
}
