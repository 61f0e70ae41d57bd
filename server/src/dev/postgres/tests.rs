//! Against a real server, because what is at stake is how real processes die.

use std::io::{BufRead, BufReader};

use sqlx::Row;

use super::*;

/// The folder itself goes to user nobody when root runs the tests; its parents are open.
fn options(dir: &tempfile::TempDir) -> Options {
    Options {
        data_dir: dir.path().to_owned(),
        durable: true,
        bin_dir: None,
    }
}

async fn run(postgres: &Postgres, database: &str, statement: &'static str) -> Vec<String> {
    let mut connection = PgConnection::connect(&postgres.url(database))
        .await
        .unwrap();
    let rows = sqlx::raw_sql(statement)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn shop_with_one_note(options: &Options) -> Postgres {
    let postgres = Postgres::start(options.clone()).await.unwrap();
    postgres.create_database("shop").await.unwrap();
    let statement = "create table notes (text text); insert into notes values ('kept')";
    run(&postgres, "shop", statement).await;
    postgres
}

async fn assert_note_is_kept(options: &Options) {
    let postgres = Postgres::start(options.clone()).await.unwrap();
    let notes = run(&postgres, "shop", "select text from notes").await;
    assert_eq!(notes, ["kept"]);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn data_outlives_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = shop_with_one_note(&options(&dir)).await;
    // Twice is once: `sewa dev` creates its database on every start.
    postgres.create_database("shop").await.unwrap();
    postgres.copy_database("shop", "copy").await.unwrap();
    let notes = run(&postgres, "copy", "select text from notes").await;
    assert_eq!(notes, ["kept"]);
    postgres.stop().await.unwrap();
    assert_note_is_kept(&options(&dir)).await;
}

#[tokio::test]
async fn a_server_is_durable_unless_told_otherwise() {
    for durable in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            durable,
            ..options(&dir)
        };
        let postgres = Postgres::start(options).await.unwrap();
        let expected = if durable { "on" } else { "off" };
        for setting in [
            "show fsync",
            "show synchronous_commit",
            "show full_page_writes",
        ] {
            assert_eq!(
                run(&postgres, "postgres", setting).await,
                [expected],
                "{setting}"
            );
        }
        let encoding = run(&postgres, "postgres", "show server_encoding").await;
        assert_eq!(encoding, ["UTF8"]);
        let network = run(&postgres, "postgres", "show listen_addresses").await;
        assert_eq!(network, [""]);
    }
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(options(&dir)).await.unwrap();
    let error = Postgres::start(options(&dir)).await.unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(postgres);
    Postgres::start(options(&dir)).await.unwrap();
}

#[tokio::test]
async fn a_folder_with_other_contents_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let error = Postgres::start(options(&dir)).await.unwrap_err();
    assert!(error.to_string().contains("something else"), "{error}");
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        data_dir: dir.path().join("a".repeat(60)).join("b, \"c\"".repeat(10)),
        durable: false,
        bin_dir: None,
    };
    let postgres = Postgres::start(options).await.unwrap();
    let socket_dir = postgres.place.socket_dir().to_owned();
    assert!(socket_dir.starts_with("/tmp"), "{}", socket_dir.display());
    assert_eq!(run(&postgres, "postgres", "select 'here'").await, ["here"]);
    postgres.stop().await.unwrap();
    assert!(!socket_dir.exists());
}

/// Only root meets this: everybody else reaches their own folders.
#[tokio::test]
async fn data_that_user_nobody_cannot_reach_lies_elsewhere() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(closed.path(), private).unwrap();
    let options = Options {
        data_dir: closed.path().join("postgres"),
        durable: false,
        bin_dir: None,
    };
    let postgres = Postgres::start(options).await.unwrap();
    assert_eq!(run(&postgres, "postgres", "select 'here'").await, ["here"]);
    let elsewhere = postgres.place.cluster();
    assert!(elsewhere.starts_with("/var/tmp"), "{}", elsewhere.display());
    postgres.stop().await.unwrap();
    assert!(!elsewhere.exists(), "throwaway data is thrown away");
}

#[tokio::test]
async fn a_broken_configuration_is_reported_with_the_servers_words() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(options(&dir)).await.unwrap();
    let file = postgres.place.cluster().join("postgresql.conf");
    postgres.stop().await.unwrap();
    std::fs::write(file, "no_such_setting = 1\n").unwrap();
    let error = Postgres::start(options(&dir)).await.unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_crashed_server_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = shop_with_one_note(&options(&dir)).await;
    signal(&postgres.server, Signal::KILL).unwrap();
    drop(postgres);
    assert_note_is_kept(&options(&dir)).await;
}

/// Its processes learn one after the other that it is gone, and PostgreSQL starts no other server in the folder before the last one has.
#[tokio::test]
async fn a_start_waits_for_what_is_left_of_a_killed_server() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = shop_with_one_note(&options(&dir)).await;
    let statement =
        "select pid::text from pg_stat_activity where backend_type = 'background writer'";
    let slow = run(&postgres, "shop", statement).await;
    let slow = Pid::from_raw(slow[0].parse().unwrap()).unwrap();
    kill_process(slow, Signal::STOP).unwrap();
    signal(&postgres.server, Signal::KILL).unwrap();
    drop(postgres);
    let learns = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        kill_process(slow, Signal::CONT).unwrap();
    });
    assert_note_is_kept(&options(&dir)).await;
    learns.await.unwrap();
}

/// Neither owner nor watchdog is there to stop the server: the next start does.
#[tokio::test]
async fn an_orphan_is_stopped_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut postgres = shop_with_one_note(&options(&dir)).await;
    let orphan = Pid::from_child(&postgres.server);
    postgres.watchdog.kill().unwrap();
    postgres.watchdog.wait().unwrap();
    postgres.place.unlock();
    let cluster = postgres.place.cluster();
    std::mem::forget(postgres);
    assert!(works_in(orphan, &cluster));
    assert_note_is_kept(&options(&dir)).await;
    assert!(!works_in(orphan, &cluster));
}

const OWNED_DIR: &str = "SEWA_TEST_OWNED_DIR";

/// Not a test of its own: the victim of the next one, which runs it as a process.
#[tokio::test]
#[ignore = "run by a_killed_owner_takes_its_server_along"]
#[expect(clippy::disallowed_methods, reason = "how a test tells its process")]
async fn owner() {
    let Some(dir) = std::env::var_os(OWNED_DIR) else {
        return;
    };
    let options = Options {
        data_dir: dir.into(),
        durable: true,
        bin_dir: None,
    };
    let _postgres = shop_with_one_note(&options).await;
    println!("\nready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_owner_takes_its_server_along() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = dir.path().canonicalize().unwrap().join("cluster");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "dev::postgres::tests::owner",
            "--ignored",
            "--nocapture",
        ])
        .env(OWNED_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(owner.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "ready"));
    let server = read_pid(&cluster).unwrap();
    assert!(works_in(server, &cluster));

    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(wait_until(|| Ok(!works_in(server, &cluster))).unwrap());
    assert_note_is_kept(&options(&dir)).await;
}
