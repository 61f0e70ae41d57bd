//! `sewa login`, `sewa call`, `sewa token`, `sewa logout`: the API from a terminal, without anybody pasting tokens.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::TryStreamExt;
use sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient;
use sewa_sdk::sewa::identity::v1::{LoginRequest, LogoutRequest, RefreshTokenRequest, Tokens};
use sewa_sdk::{Client, Credentials, Error, RawMethod};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use uuid::Uuid;

use super::profile::{self, Profile, Store};

/// Where `sewa dev` serves.
const ENDPOINT: &str = "http://127.0.0.1:7070";
/// The profile of whoever names none.
const DEFAULT: &str = "default";
/// A token with less left than this is renewed before it is used.
const RENEW_AHEAD: chrono::TimeDelta = chrono::TimeDelta::seconds(30);

/// `sewa login`.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// E-mail address.
    #[arg(long)]
    email: String,
    /// The server.
    #[arg(long, default_value = ENDPOINT)]
    endpoint: String,
    /// Name of the profile to keep the session in.
    #[arg(long, default_value = DEFAULT)]
    profile: String,
}

/// `sewa logout`.
#[derive(Debug, clap::Args)]
pub struct Logout {
    /// The profile whose session ends.
    #[arg(long, default_value = DEFAULT)]
    profile: String,
}

/// `sewa token`.
#[derive(Debug, clap::Args)]
pub struct Token {
    /// The profile whose token is wanted.
    #[arg(long, default_value = DEFAULT)]
    profile: String,
}

/// `sewa call`.
#[derive(Debug, clap::Args)]
pub struct Call {
    /// The method, `sewa.wallet.v1.WalletService/GetWallet`; its last words will do: `WalletService/GetWallet`, `GetWallet`.
    method: String,
    /// The request as protobuf JSON; `-` reads it from standard input.
    #[arg(default_value = "{}")]
    request: String,
    /// The profile to call as. Without one: SEWA_API_KEY, SEWA_TOKEN or SEWA_API_KEY_FILE, else the profile `default`, else nobody.
    #[arg(long)]
    profile: Option<String>,
    /// The server; that of the profile if not given.
    #[arg(long)]
    endpoint: Option<String>,
    /// Idempotency key, 1 to 64 characters, to repeat a write safely. A new one if not given.
    #[arg(long)]
    key: Option<String>,
    /// A header to send, `name: value`. Can be given more than once.
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
    /// Seconds the call may take; what the contract says for the method if not given.
    #[arg(long)]
    timeout: Option<u64>,
}

/// Signs in and keeps the session. The password is asked for, and a code where the user has a second factor; where standard input is no terminal, they are its first
/// two lines.
///
/// # Errors
/// If the server refuses, or the profile cannot be written.
pub async fn login(arguments: Login) -> anyhow::Result<()> {
    let store = Store::open(&arguments.profile)?;
    let client = client(&arguments.endpoint, Credentials::None)?;
    let terminal = std::io::stdin().is_terminal();
    let (password, code) = if terminal {
        (ask("password: ")?, None)
    } else {
        given()?
    };
    let request = |code: String| LoginRequest {
        email: arguments.email.clone(),
        password: password.clone(),
        code,
    };
    let mut identity = client.service(IdentityServiceClient::new);
    let mut reply = identity.login(request(code.unwrap_or_default())).await;
    if terminal
        && let Err(status) = &reply
        && Error::from(status.clone()).is("SECOND_FACTOR_REQUIRED")
    {
        reply = identity.login(request(ask("code: ")?)).await;
    }
    let reply = reply.map_err(readable)?;
    let tokens = reply.into_inner().tokens.context("no tokens came")?;
    store.write(&Profile::new(
        arguments.endpoint,
        arguments.email.clone(),
        tokens,
    ))?;
    println!(
        "signed in as {}; profile {}",
        arguments.email, arguments.profile
    );
    Ok(())
}

/// Ends the session at the server, then forgets it. A session that is over already is only forgotten.
///
/// # Errors
/// If there is no such profile, or the server cannot be reached: then the session is kept, so that it can still be ended.
pub async fn logout(arguments: Logout) -> anyhow::Result<()> {
    let store = Store::open(&arguments.profile)?;
    let profile = store
        .read()?
        .with_context(|| format!("there is no profile {}", arguments.profile))?;
    let client = client(&profile.endpoint, Credentials::None)?;
    let request = LogoutRequest {
        refresh_token: profile.refresh_token,
    };
    let ended = client
        .service(IdentityServiceClient::new)
        .logout(request)
        .await;
    if let Err(status) = ended
        && status.code() != tonic::Code::Unauthenticated
    {
        return Err(readable(status));
    }
    store.delete()?;
    println!("signed out; profile {} is gone", arguments.profile);
    Ok(())
}

/// Prints an access token that is good for at least half a minute.
///
/// # Errors
/// If there is no such profile, or its session is over.
pub async fn token(arguments: Token) -> anyhow::Result<()> {
    print(&session(&arguments.profile, None).await?.access_token);
    Ok(())
}

/// Calls a method and prints the reply, or each message of a stream, as JSON.
///
/// # Errors
/// What the server says, with what can be done about it.
pub async fn call(arguments: Call) -> anyhow::Result<()> {
    let request = match arguments.request.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()).context("standard input")?,
        text => text.to_owned(),
    };
    // The method is looked up before anything is sent, so that a misspelt name costs nothing.
    method(&client(ENDPOINT, Credentials::None)?, &arguments.method)?;
    let environment = Credentials::from_env()?;
    let chosen = match &arguments.profile {
        Some(name) => Some(name.as_str()),
        None if matches!(environment, Credentials::None) && profile::exists(DEFAULT) => {
            Some(DEFAULT)
        }
        None => None,
    };
    let key = arguments
        .key
        .clone()
        .unwrap_or_else(|| Uuid::now_v7().to_string());
    let mut begun = false;
    let Some(name) = chosen else {
        let endpoint = arguments.endpoint.as_deref().unwrap_or(ENDPOINT);
        let called = perform(
            &arguments,
            endpoint,
            environment,
            &request,
            &key,
            &mut begun,
        );
        return called.await.map_err(explained);
    };
    let session = session(name, None).await?;
    if let Some(own) = &arguments.endpoint {
        ensure!(
            session.endpoint == *own,
            "the session of this profile is of {}, and its tokens are not shown to another server",
            session.endpoint
        );
    }
    let credentials = |session: &Profile| Credentials::token(session.access_token.as_str());
    let endpoint = &session.endpoint;
    let first = perform(
        &arguments,
        endpoint,
        credentials(&session),
        &request,
        &key,
        &mut begun,
    );
    match first.await {
        // Not in the middle of a stream: it would begin anew, with a gap or with what was printed already.
        Err(error) if error.is("TOKEN_EXPIRED") && !begun => {
            let renewed = self::session(name, Some(&session.access_token)).await?;
            let credentials = credentials(&renewed);
            let again = perform(
                &arguments,
                endpoint,
                credentials,
                &request,
                &key,
                &mut begun,
            );
            again.await.map_err(explained)
        }
        other => other.map_err(explained),
    }
}

/// The session of a profile, renewed if it ends soon or its token was refused. The profile is locked no longer than that takes: a call may last for hours.
#[expect(
    clippy::disallowed_methods,
    reason = "on the caller's side of the API there is no database to hold the time"
)]
async fn session(name: &str, refused: Option<&str>) -> anyhow::Result<Profile> {
    let store = Store::open(name)?;
    let mut profile = store.read()?.with_context(|| {
        format!("there is no profile {name}; sewa login --profile {name} makes it")
    })?;
    let is_stale = profile.access_expire_time - RENEW_AHEAD < chrono::Utc::now();
    if is_stale || refused == Some(profile.access_token.as_str()) {
        renew(&store, &mut profile).await?;
    }
    Ok(profile)
}

async fn perform(
    arguments: &Call,
    endpoint: &str,
    credentials: Credentials,
    json: &str,
    key: &str,
    begun: &mut bool,
) -> Result<(), Error> {
    let client = Client::builder(endpoint).credentials(credentials).build()?;
    let invalid = |what: String| Error::from(tonic::Status::invalid_argument(what));
    let method =
        method(&client, &arguments.method).map_err(|error| invalid(format!("{error:#}")))?;
    let mut request = tonic::Request::new(method.request(json)?);
    let named = arguments.headers.iter().map(|header| {
        let (name, value) = header.split_once(':').unwrap_or((header, ""));
        (name.trim(), value.trim())
    });
    let keyed = sewa_sdk::Rules::contract()
        .method(&format!(
            "/{}/{}",
            method.descriptor().parent_service().full_name(),
            method.descriptor().name()
        ))
        .is_some_and(|rule| rule.repeat == sewa_sdk::Repeat::Keyed);
    let keyed = keyed || arguments.key.is_some();
    for (name, value) in named.chain(keyed.then_some(("idempotency-key", key))) {
        let header: Option<(AsciiMetadataKey, AsciiMetadataValue)> =
            name.parse().ok().zip(value.parse().ok());
        let (name, value) =
            header.ok_or_else(|| invalid(format!("`{name}: {value}` is no header")))?;
        request.metadata_mut().insert(name, value);
    }
    if let Some(seconds) = arguments.timeout {
        request.set_timeout(Duration::from_secs(seconds));
    }
    if method.descriptor().is_server_streaming() {
        let mut messages = std::pin::pin!(method.stream(request).await?);
        while let Some(message) = messages.try_next().await? {
            *begun = true;
            print(&sewa_sdk::to_json(&message)?);
        }
    } else {
        let reply = method.unary(request).await?;
        print(&sewa_sdk::to_json(reply.get_ref())?);
    }
    Ok(())
}

/// One line a message; a reader that went away is no fault.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Finds a method by its name or the end of it.
fn method(client: &Client, name: &str) -> anyhow::Result<RawMethod> {
    let wanted = name.trim_start_matches('/').replace('/', ".");
    let ending = format!(".{wanted}");
    let found: Vec<String> = sewa_sdk::pool()
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| method.full_name().to_owned())
        .filter(|full| full.starts_with("sewa.") && (*full == wanted || full.ends_with(&ending)))
        .collect();
    match found.as_slice() {
        [one] => Ok(client.raw(one)?),
        [] => bail!("the contract has no method {name}; `sewa call ListPermissions` lists all"),
        many => bail!("{name} could be {}", many.join(" or ")),
    }
}

/// Renews the session and keeps the new tokens at once: the old ones work no more.
async fn renew(store: &Store, profile: &mut Profile) -> anyhow::Result<()> {
    let client = client(&profile.endpoint, Credentials::None)?;
    let request = RefreshTokenRequest {
        refresh_token: profile.refresh_token.clone(),
    };
    let mut identity = client.service(IdentityServiceClient::new);
    let reply = identity.refresh_token(request).await.map_err(|status| {
        readable(status).context(format!(
            "the session of {} is over; sewa login --email {0} begins another",
            profile.email
        ))
    })?;
    let tokens: Tokens = reply.into_inner().tokens.context("no tokens came")?;
    *profile = Profile::new(profile.endpoint.clone(), profile.email.clone(), tokens);
    store.write(profile)
}

fn client(endpoint: &str, credentials: Credentials) -> anyhow::Result<Client> {
    let built = Client::builder(endpoint).credentials(credentials).build();
    built.map_err(explained)
}

fn readable(status: tonic::Status) -> anyhow::Error {
    explained(Error::from(status))
}

/// The error with the catalogue's advice.
fn explained(error: Error) -> anyhow::Error {
    match error.remedy() {
        Some(remedy) => anyhow::anyhow!("{error}\n  {remedy}"),
        None => anyhow::anyhow!("{error}"),
    }
}

/// Asks for a secret without showing it.
fn ask(what: &str) -> anyhow::Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let input = std::io::stdin();
    let mut text = String::new();
    eprint!("{what}");
    let shown = tcgetattr(&input)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Now, &hidden)?;
    let read = input.read_line(&mut text);
    tcsetattr(&input, OptionalActions::Now, &shown)?;
    eprintln!();
    read?;
    let secret = text.trim_end_matches(['\r', '\n']);
    ensure!(!secret.is_empty(), "nothing was typed");
    Ok(secret.to_owned())
}

/// Password and code where nobody can be asked: the lines of standard input.
fn given() -> anyhow::Result<(String, Option<String>)> {
    let text = std::io::read_to_string(std::io::stdin()).context("standard input")?;
    let mut lines = text.lines();
    let password = lines.next().unwrap_or_default().to_owned();
    ensure!(!password.is_empty(), "there is no password");
    Ok((password, lines.next().map(str::to_owned)))
}
