//! Who plays: a reseller who registers, and the API key a program of hers works with.

use sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient;
use sewa_sdk::sewa::identity::v1::{
    AccountKind, CreateApiKeyRequest, GetCallerRequest, GetProfileRequest, ListApiKeysRequest,
    RegisterRequest,
};
use sewa_sdk::{Client, Credentials, Error};

use super::stage::{Stage, call, connect, given, until};

/// What the key may do; neither making keys nor anything of the staff's.
const SCOPES: [&str; 9] = [
    "events",
    "instances",
    "instances.delete",
    "lifecycle",
    "operations",
    "orders",
    "profile",
    "sandbox",
    "wallet",
];

/// Registers, makes an API key, and goes on as that key.
pub(crate) async fn register(stage: &mut Stage, endpoint: &str) -> Result<(), Error> {
    let id = uuid::Uuid::now_v7().simple();
    let email = format!("reseller-{id}@example.com");
    let password = format!("Rahasia-{id}");
    stage.asks(format!(
        "register the reseller {email} with a sandbox account"
    ));
    let request = RegisterRequest {
        email: email.clone(),
        password: password.clone(),
        name: "Sari".to_owned(),
        account_name: "Toko Sari".to_owned(),
        account_kind: AccountKind::Reseller.into(),
        sandbox: true,
        referral_code: String::new(),
    };
    let registered = stage
        .client
        .service(IdentityServiceClient::new)
        .register(call(request))
        .await?
        .into_inner();

    // The reply holds tokens as well, but a repeat of it would not: signing in always works.
    let user = connect(endpoint, Credentials::login(&email, password))?;
    let identity = user.service(IdentityServiceClient::new);
    let profile = until("the profile", async || {
        let reply = identity
            .clone()
            .get_profile(call(GetProfileRequest {}))
            .await?;
        Ok(reply.into_inner().profile)
    })
    .await?;
    let as_asked = profile.email == email
        && profile.account_id == registered.account_id
        && profile.account_kind() == AccountKind::Reseller
        && profile.sandbox;
    stage.check(
        as_asked,
        format!("the profile is not what was registered: {profile:?}"),
    )?;
    stage.sees(format!(
        "signed in as {} of {}, account {}",
        profile.name, profile.account_name, profile.account_id
    ));

    let key = api_key(stage, &user).await?;
    stage
        .enter(connect(endpoint, Credentials::api_key(key))?)
        .await
}

async fn api_key(stage: &mut Stage, user: &Client) -> Result<String, Error> {
    stage.asks(format!("make an API key for {}", SCOPES.join(", ")));
    let mut identity = user.service(IdentityServiceClient::new);
    let secret = loop {
        let request = CreateApiKeyRequest {
            display_name: "journey".to_owned(),
            scopes: SCOPES.map(str::to_owned).to_vec(),
            lifetime_days: 1,
        };
        let made = identity.create_api_key(call(request)).await?.into_inner();
        // If the reply was lost on its way, so is the secret: the repeat comes without it.
        if !made.secret.is_empty() {
            break made.secret;
        }
    };

    let listed = identity
        .list_api_keys(call(ListApiKeysRequest::default()))
        .await?
        .into_inner()
        .api_keys;
    let mut as_key = tonic::Request::new(GetCallerRequest {});
    let bearer = format!("Bearer {secret}").parse();
    as_key.metadata_mut().insert(
        "authorization",
        given(bearer.ok(), "secret that fits a header")?,
    );
    let caller = identity.get_caller(as_key).await?.into_inner().caller;
    let caller = given(caller, "caller")?;
    stage.check(
        listed.iter().any(|key| key.id == caller.api_key_id),
        "the key is not in the list of keys",
    )?;
    stage.check(
        caller.permissions.iter().any(|held| held == "orders.place")
            && !caller.permissions.iter().any(|held| held == "keys.write"),
        format!("the key may do {:?}", caller.permissions),
    )?;
    stage.sees(format!(
        "key {} as {}, {} permissions, keys.write not among them",
        caller.api_key_id,
        caller.role,
        caller.permissions.len()
    ));
    Ok(secret)
}
