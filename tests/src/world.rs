//! A platform of one's own for each test: a database, a server, and ways to bring people into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient;
use sewa_sdk::sewa::identity::v1::{AccountKind, RegisterRequest};
use sewa_sdk::{Attempt, Client, Credentials, Session};
use sqlx::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::actor::Actor;
use crate::cluster::Cluster;
use crate::database::Database;
use crate::http::Http;
use crate::proxy::Proxy;
use crate::seen::{self, Seen};
use crate::server::{self, Server};

/// Worlds at once. Each has a server with up to six connections, and PostgreSQL takes a hundred.
const WORLDS: usize = 4;
/// Everybody's password.
pub const PASSWORD: &str = "correct horse 9";
/// The same for all, so that replicas and restarts can read each other's secrets.
const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What differs from a server with no limits, no Redis and machines that boot in a moment.
#[derive(Debug, Clone, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Sets `SEWA_<name>`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(format!("SEWA_{name}"), value.to_string());
        self
    }

    /// Leaves `SEWA_<name>` unset, so that the server's own default holds.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        self.with(name, "")
    }
}

/// A platform. Its books are proved when it is dropped.
#[derive(Debug)]
pub struct World {
    /// The servers; the first is the one people talk to.
    pub servers: Vec<Server>,
    settings: BTreeMap<String, String>,
    seen: Seen,
    test: String,
    people: AtomicU32,
    // Dropped after the servers.
    database: Database,
    _place: OwnedSemaphorePermit,
}

impl World {
    /// A platform with one server.
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    /// A platform with one server that has other settings.
    pub async fn with(own: Settings) -> Self {
        Self::build(own, None, None).await
    }

    /// A platform on a PostgreSQL of its own, which its first server reaches by a way that can be broken.
    pub async fn on(cluster: &Cluster, proxy: &Proxy, own: Settings) -> Self {
        Self::build(own, Some(cluster), Some(proxy)).await
    }

    /// A platform whose first server reaches PostgreSQL by a way that can be broken. Other servers, commands and the test itself go directly.
    pub async fn behind(proxy: &Proxy, own: Settings) -> Self {
        Self::build(own, None, Some(proxy)).await
    }

    async fn build(own: Settings, cluster: Option<&Cluster>, proxy: Option<&Proxy>) -> Self {
        static PLACES: std::sync::OnceLock<Arc<Semaphore>> = std::sync::OnceLock::new();
        let places = PLACES.get_or_init(|| Arc::new(Semaphore::new(WORLDS)));
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let database = match cluster {
            Some(cluster) => Database::of(cluster).await,
            None => Database::create().await,
        };
        let database = database.expect("a database for the test");
        let mut settings = BTreeMap::from([
            ("SEWA_DATABASE_URL".to_owned(), database.url()),
            ("SEWA_MASTER_KEY".to_owned(), MASTER_KEY.to_owned()),
        ]);
        settings.extend(Settings::defaults().0);
        settings.extend(own.0);
        settings.retain(|_, value| !value.is_empty());
        let mut first = settings.clone();
        if let Some(proxy) = proxy {
            let url = proxy.postgres_url(&database.url());
            first.insert("SEWA_DATABASE_URL".to_owned(), url);
        }
        // On a thread of its own, because a proxy of the test's has to go on while the server starts.
        let starting = tokio::task::spawn_blocking(move || Server::start(first));
        let server = starting
            .await
            .expect("no panic")
            .unwrap_or_else(|error| panic!("{error:#}"));
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        Self {
            servers: vec![server],
            settings,
            seen: Seen::default(),
            test,
            people: AtomicU32::new(0),
            database,
            _place: place,
        }
    }

    /// Another server on the same database; returns its number.
    pub fn add_server(&mut self) -> usize {
        self.servers
            .push(Server::start(self.settings.clone()).unwrap_or_else(|error| panic!("{error:#}")));
        self.servers.len() - 1
    }

    /// Another server on the same database, with settings of its own; returns its place in `servers`.
    pub fn add_server_with(&mut self, own: Settings) -> anyhow::Result<usize> {
        let mut settings = self.settings.clone();
        settings.extend(own.0);
        self.servers.push(Server::start(settings)?);
        Ok(self.servers.len() - 1)
    }

    /// A server that works in the background and does what `api` ones leave.
    pub fn add_worker(&mut self) -> usize {
        let mut settings = self.settings.clone();
        settings.insert("SEWA_ROLE".to_owned(), "worker".to_owned());
        self.servers
            .push(Server::start(settings).unwrap_or_else(|error| panic!("{error:#}")));
        self.servers.len() - 1
    }

    /// The first server.
    pub fn server(&mut self) -> &mut Server {
        &mut self.servers[0]
    }

    /// URL of the first server.
    pub fn url(&self) -> String {
        self.servers[0].url()
    }

    /// Kills the first server and starts it again in its place.
    pub fn restart(&mut self) {
        self.servers[0].kill();
        self.servers[0]
            .start_again()
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Plain HTTP to the first server.
    pub fn http(&self) -> Http {
        Http::new(self.servers[0].address())
    }

    /// A client of the first server with these credentials, whose every refusal is compared with the contract.
    pub fn client(&self, credentials: Credentials) -> Client {
        self.client_of(0, credentials)
    }

    /// A client of one of the servers.
    pub fn client_of(&self, server: usize, credentials: Credentials) -> Client {
        let seen = self.seen.clone();
        let observer = move |attempt: &Attempt<'_>| {
            if let Some(reason) = attempt.reason {
                seen.note(attempt.method, &reason.0);
            }
        };
        let builder = Client::builder(self.servers[server].url()).credentials(credentials);
        builder
            .connections(1)
            .observer(observer)
            .build()
            .expect("a client")
    }

    /// A client without credentials.
    pub fn nobody(&self) -> Client {
        self.client(Credentials::None)
    }

    /// Remembers a refusal that did not come through a client of this world.
    pub fn saw(&self, path: &str, reason: &str) {
        self.seen.note(path, reason);
    }

    /// A new reseller with a sandbox account.
    pub async fn reseller(&self) -> Actor {
        self.register(AccountKind::Reseller, true, "").await
    }

    /// A new customer with a sandbox account.
    pub async fn customer(&self) -> Actor {
        self.register(AccountKind::Customer, true, "").await
    }

    /// A new reseller whose account is a real one, and who has said who its invoices are made out to.
    pub async fn real_reseller(&self) -> Actor {
        let reseller = self.nameless_reseller().await;
        reseller.name_buyer().await;
        reseller
    }

    /// A new reseller whose account is a real one, and who has not.
    pub async fn nameless_reseller(&self) -> Actor {
        self.register(AccountKind::Reseller, false, "").await
    }

    /// A new reseller who was brought here by whoever has the referral code.
    pub async fn referred(&self, sandbox: bool, code: &str) -> Actor {
        let reseller = self.register(AccountKind::Reseller, sandbox, code).await;
        if !sandbox {
            reseller.name_buyer().await;
        }
        reseller
    }

    async fn register(&self, kind: AccountKind, sandbox: bool, code: &str) -> Actor {
        let email = self.new_email("customer");
        let request = RegisterRequest {
            email: email.clone(),
            password: PASSWORD.to_owned(),
            name: "Budi".to_owned(),
            account_name: "Toko Budi".to_owned(),
            account_kind: kind.into(),
            sandbox,
            referral_code: code.to_owned(),
        };
        let reply = self
            .nobody()
            .service(IdentityServiceClient::new)
            .register(request)
            .await;
        let reply = reply.expect("registering").into_inner();
        let tokens = reply.tokens.expect("a registered user is signed in");
        let credentials = Credentials::Session(Session::resume(tokens.clone()));
        Actor {
            client: self.client(credentials),
            account_id: reply.account_id,
            user_id: reply.user_id,
            email,
            tokens,
        }
    }

    /// A new member of staff, as an operator makes one from the command line.
    pub async fn staff(&self, role: &str) -> Actor {
        let email = self.new_email(role);
        self.sewa(
            &["user", "add", "--email", &email, "--role", role],
            PASSWORD,
        )
        .unwrap_or_else(|said| panic!("sewa user add: {said}"));
        self.login(&email).await
    }

    /// Somebody who exists, signed in anew.
    pub async fn login(&self, email: &str) -> Actor {
        use sewa_sdk::sewa::identity::v1::LoginRequest;
        let request = LoginRequest {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            ..Default::default()
        };
        let reply = self
            .nobody()
            .service(IdentityServiceClient::new)
            .login(request)
            .await;
        let reply = reply.expect("signing in").into_inner();
        let (tokens, caller) = (
            reply.tokens.expect("tokens"),
            reply.caller.expect("a caller"),
        );
        let credentials = Credentials::Session(Session::resume(tokens.clone()));
        Actor {
            client: self.client(credentials),
            account_id: caller.account_id,
            user_id: caller.user_id,
            email: email.to_owned(),
            tokens,
        }
    }

    /// An e-mail address nobody has.
    pub fn new_email(&self, who: &str) -> String {
        format!(
            "{who}-{}@example.com",
            self.people.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// Runs a subcommand of the binary with an input, and returns what it printed.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn sewa(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        run(&self.settings, arguments, input)
    }

    /// The same with settings of its own besides.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn sewa_with(&self, arguments: &[&str], own: Settings) -> Result<String, String> {
        let mut settings = self.settings.clone();
        settings.extend(own.0);
        run(&settings, arguments, "")
    }

    /// A superuser's connection to the database, for what no customer can do.
    pub async fn behind_the_scenes(&self) -> PgConnection {
        self.database.connect().await.expect("the test's database")
    }

    /// Recomputes the books of all accounts.
    ///
    /// # Panics
    /// If they do not balance.
    pub fn prove(&self) {
        if let Err(said) = self.sewa(&["prove"], "") {
            panic!("the ledger is not proved:\n{said}");
        }
    }

    fn check(&self) {
        let unlisted = self.seen.unlisted();
        assert!(
            unlisted.is_empty(),
            "errors the contract does not list: {unlisted:?}"
        );
        let seen = self.seen.all();
        for (refusal, test) in seen::promises() {
            assert!(
                test != self.test || seen.contains(&refusal),
                "provoked.txt says that {test} provokes {refusal:?}; it saw {seen:?}"
            );
        }
        self.prove();
    }
}

fn run(
    settings: &BTreeMap<String, String>,
    arguments: &[&str],
    input: &str,
) -> Result<String, String> {
    use std::io::Write;
    let mut sewa = server::sewa(settings).map_err(|e| e.to_string())?;
    sewa.args(arguments);
    sewa.stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = sewa.spawn().map_err(|e| e.to_string())?;
    let mut stdin = child.stdin.take().ok_or("no input")?;
    // A command that reads nothing may have ended already.
    let _ = stdin.write_all(format!("{input}\n").as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(printed)
    } else {
        Err(printed + &String::from_utf8_lossy(&output.stderr))
    }
}

impl Settings {
    fn defaults() -> Self {
        let unlimited = 1_000_000;
        let settings = Self::default()
            .with("DATABASE_CONNECTIONS", 6)
            .with("SIMULATOR_BOOT_MS", 200)
            .with("SELLER__NAME", "PT Sewa Awan Nusantara")
            .with("SELLER__ADDRESS", "Jl. Jenderal Sudirman 1\nJakarta 10220")
            .with("SELLER__NPWP", "01.234.567.8-901.000");
        let classes = ["DEFAULT", "LOGIN", "REGISTER", "ORDER", "CONSOLE"];
        classes.iter().fold(settings, |settings, class| {
            settings.with(&format!("RATES__{class}"), unlimited)
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for server in &self.servers {
                eprintln!(
                    "--- the last words of the server at {} ---\n{}",
                    server.address(),
                    server.last_words()
                );
            }
            return;
        }
        self.check();
    }
}
