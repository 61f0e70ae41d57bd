//! What the tests of a whole platform stand on: a [`World`] has a database, one or more servers as real processes, and people who use them through the SDK.
//!
//! Nothing in here knows the server's insides. What is done from behind, by SQL, is only what no customer can do, and is said so where it happens.

pub mod actor;
pub mod buyer;
pub mod cluster;
#[path = "../simulators/compute/mod.rs"]
pub mod compute;
pub mod database;
pub mod http;
pub mod patience;
pub mod postgres_wire;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod seen;
pub mod server;
pub mod settled;
pub mod viewer;
pub mod world;

pub use actor::Actor;
pub use world::{Settings, World};

/// The refusal of a call that had to be refused.
///
/// # Panics
/// If it was not.
#[track_caller]
pub fn refused<T>(result: Result<T, impl Into<sewa_sdk::Error>>) -> sewa_sdk::Error {
    match result {
        Ok(_) => panic!("a call went through that had to be refused"),
        Err(error) => error.into(),
    }
}

/// The stable reason of a call that had to be refused.
///
/// # Panics
/// If it was not, or without a reason.
#[track_caller]
pub fn reason_of<T>(result: Result<T, impl Into<sewa_sdk::Error>>) -> String {
    let error = refused(result);
    error
        .reason()
        .unwrap_or_else(|| panic!("a refusal without a reason: {error:?}"))
        .0
        .clone()
}

/// A request with an idempotency key of the test's own.
pub fn keyed<T>(key: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert(
        "idempotency-key",
        key.parse().expect("a key is a header value"),
    );
    request
}

/// Whether a reply is that of an earlier call with the same key.
pub fn is_replay<T>(reply: &tonic::Response<T>) -> bool {
    reply
        .metadata()
        .get("idempotency-replayed")
        .is_some_and(|value| value == "true")
}

/// An id nothing has.
pub const NOBODYS_ID: &str = "0192f0c1-dead-7000-8000-00000000dead";

/// A request that the SDK makes once, whatever the answer.
pub fn once<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(sewa_sdk::CallOptions {
        max_attempts: Some(1),
        ..Default::default()
    });
    request
}

/// Whether committed tables are to be written anew instead of compared with: `WRITE_TABLES=1`.
pub fn writes_tables() -> bool {
    std::env::var_os("WRITE_TABLES").is_some()
}

/// How many times over a test repeats its short form: `SEWA_SOAK`, 1 if absent. `make soak` sets it.
pub fn soak() -> u64 {
    let asked = std::env::var("SEWA_SOAK").ok();
    asked.and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// The seed of a run, printed: `SEWA_SEED`, or one of this process.
pub fn seed() -> u64 {
    let asked = std::env::var("SEWA_SEED").ok();
    let seed = asked
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) << 8);
    println!("seed {seed}; SEWA_SEED={seed} brings it back");
    seed
}

/// Makes a call again, with the key it carries, until it is answered: while the platform is disturbed the SDK may run out of its few attempts, and what became
/// of the call is not known before an answer comes.
///
/// # Panics
/// If the refusal is any that a disturbance does not excuse, or nothing else comes for too long.
pub async fn until_answered<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let excused = |error: &sewa_sdk::Error| {
        let unknown = [tonic::Code::Unavailable, tonic::Code::DeadlineExceeded];
        unknown.contains(&error.code()) || error.is("IDEMPOTENCY_IN_PROGRESS")
    };
    patience::eventually("the call is answered", || {
        let calling = call();
        async move {
            match calling.await {
                Ok(reply) => Ok(reply.into_inner()),
                Err(status) => {
                    let error = sewa_sdk::Error::from(status);
                    assert!(excused(&error), "{error:?}");
                    Err(error)
                }
            }
        }
    })
    .await
}

/// Makes a call until it is answered with something else than that the first one with its key has not finished: of many at once, some find no gap in the SDK's
/// few attempts.
///
/// # Errors
/// Any other refusal.
pub async fn persist<T, F>(mut call: impl FnMut() -> F) -> Result<T, tonic::Status>
where
    F: Future<Output = Result<T, tonic::Status>>,
{
    loop {
        match call().await {
            Err(status) if sewa_sdk::Error::from(status.clone()).is("IDEMPOTENCY_IN_PROGRESS") => {}
            answer => return answer,
        }
    }
}
