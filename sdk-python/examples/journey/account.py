"""Who plays: a reseller who registers, and the API key a program of hers works with."""

import uuid

import sewa
from sewa.identity.v1 import (
    AccountKind,
    CreateApiKeyRequest,
    GetCallerRequest,
    GetProfileRequest,
    IdentityServiceStub,
    ListApiKeysRequest,
    RegisterRequest,
)

from .stage import Stage, connect

# What the key may do; neither making keys nor anything of the staff's.
SCOPES = ("events", "instances", "instances.delete", "lifecycle", "operations", "orders", "profile", "sandbox", "wallet")


def register(stage: Stage) -> None:
    """Registers, makes an API key, and goes on as that key."""
    mark = uuid.uuid4().hex
    email, password = f"reseller-{mark}@example.com", f"Rahasia-{mark}"
    stage.asks(f"register the reseller {email} with a sandbox account")
    registered = stage.client.service(IdentityServiceStub).Register(
        RegisterRequest(
            email=email,
            password=password,
            name="Sari",
            account_name="Toko Sari",
            account_kind=AccountKind.ACCOUNT_KIND_RESELLER,
            sandbox=True,
        )
    )
    # The reply holds tokens as well, but a repeat of it would not: signing in always works.
    with connect(stage.endpoint, sewa.Credentials.login(email, password)) as user:
        profile = user.service(IdentityServiceStub).GetProfile(GetProfileRequest()).profile
        stage.check(
            profile.email == email
            and profile.account_id == registered.account_id
            and profile.account_kind == AccountKind.ACCOUNT_KIND_RESELLER
            and profile.sandbox,
            f"the profile is not what was registered: {profile}",
        )
        stage.sees(f"signed in as {profile.name} of {profile.account_name}, account {profile.account_id}")
        key = api_key(stage, user)
    stage.enter(connect(stage.endpoint, sewa.Credentials.api_key(key)))


def api_key(stage: Stage, user: sewa.Client) -> str:
    stage.asks(f"make an API key for {', '.join(SCOPES)}")
    identity = user.service(IdentityServiceStub)
    secret = ""
    # If the reply was lost on its way, so is the secret: the repeat comes without it.
    while not secret:
        secret = identity.CreateApiKey(CreateApiKeyRequest(display_name="journey", scopes=SCOPES, lifetime_days=1)).secret
    listed = identity.ListApiKeys(ListApiKeysRequest()).api_keys
    caller = identity.GetCaller(GetCallerRequest(), metadata=(("authorization", f"Bearer {secret}"),)).caller
    stage.check(any(key.id == caller.api_key_id for key in listed), "the key is not in the list of keys")
    held = caller.permissions
    stage.check("orders.place" in held and "keys.write" not in held, f"the key may do {held}")
    stage.sees(f"key {caller.api_key_id} as {caller.role}, {len(held)} permissions, keys.write not among them")
    return secret
