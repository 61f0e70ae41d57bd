//! Model to wire.

use sewa_sdk::sewa::identity::v1 as proto;

use crate::base::call::{self, CallerKind};
use crate::base::time;
use crate::service::identity::model::{ApiKey, Profile, SecondFactor, Tokens};
use crate::service::identity::tokens::PublicKey;

/// Tokens.
pub fn tokens(tokens: Tokens) -> proto::Tokens {
    proto::Tokens {
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        access_expire_time: Some(time::to_proto(tokens.access_expires_at)),
        refresh_expire_time: Some(time::to_proto(tokens.refresh_expires_at)),
    }
}

/// A caller.
pub fn caller(caller: &call::Caller) -> proto::Caller {
    let id_if = |kind: CallerKind| {
        if caller.kind == kind {
            caller.principal.to_string()
        } else {
            String::new()
        }
    };
    proto::Caller {
        account_id: caller.account.map(|id| id.to_string()).unwrap_or_default(),
        user_id: id_if(CallerKind::User),
        api_key_id: id_if(CallerKind::ApiKey),
        role: caller.role.to_owned(),
        permissions: caller.permissions.iter().map(|p| (*p).to_owned()).collect(),
        sandbox: caller.sandbox,
    }
}

/// A profile.
pub fn profile(profile: Profile) -> proto::Profile {
    proto::Profile {
        user_id: profile.user_id.to_string(),
        account_id: profile
            .account_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        email: profile.email,
        name: profile.name,
        phone: profile.phone,
        language: profile.language,
        create_time: Some(time::to_proto(profile.created_at)),
        account_name: profile.account_name.unwrap_or_default(),
        account_kind: profile.account_kind.map_or(0, i32::from),
        sandbox: profile.sandbox,
    }
}

/// A second factor.
pub fn second_factor(factor: SecondFactor) -> proto::SecondFactor {
    use proto::second_factor::State;
    let (state, confirmed_at, recovery_codes_left) = match factor {
        SecondFactor::None => (State::None, None, 0),
        SecondFactor::Pending => (State::Pending, None, 0),
        SecondFactor::Active {
            confirmed_at,
            codes_left,
        } => (State::Active, Some(confirmed_at), codes_left),
    };
    proto::SecondFactor {
        state: state.into(),
        confirm_time: confirmed_at.map(time::to_proto),
        recovery_codes_left,
    }
}

/// An API key, without its secret.
pub fn api_key(key: ApiKey) -> proto::ApiKey {
    proto::ApiKey {
        id: key.id.to_string(),
        display_name: key.display_name,
        scopes: key.scopes,
        create_time: Some(time::to_proto(key.created_at)),
        expire_time: key.expires_at.map(time::to_proto),
        revoke_time: key.revoked_at.map(time::to_proto),
        last_use_time: key.last_used_at.map(time::to_proto),
    }
}

/// A public key as RFC 7517 writes it.
pub fn jwk(key: PublicKey) -> proto::Jwk {
    let text = str::to_owned;
    proto::Jwk {
        kty: text("EC"),
        kid: key.kid,
        alg: text("ES256"),
        r#use: text("sig"),
        crv: text("P-256"),
        x: key.x,
        y: key.y,
    }
}
