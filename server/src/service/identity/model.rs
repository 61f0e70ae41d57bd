//! The rules of people, sessions and keys. No async, no SQL, no wire.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::base::id::{AccountId, ApiKeyId, UserId};
use crate::edge::permissions;

/// How long an access token lives, where the settings do not say.
pub const ACCESS_LIFETIME: Duration = Duration::minutes(15);
/// How long a refresh token lives.
pub const REFRESH_LIFETIME: Duration = Duration::days(7);
/// How long the refresh token before the present one still works, for clients that lost the reply which held the present one.
pub const REFRESH_GRACE: Duration = Duration::seconds(10);
/// API keys of one account that work at the same time.
pub const LIVE_KEYS: i64 = 50;
/// Codes of one user that are looked at within [`CODE_WINDOW`], if none of them is right.
pub const CODE_ATTEMPTS: i16 = 10;
/// How long wrong codes are counted.
pub const CODE_WINDOW: Duration = Duration::minutes(15);
/// `last_used_at` of a key is written at most this often.
pub const KEY_USE_RESOLUTION: Duration = Duration::minutes(1);

/// What an account is for, as the contract numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// Buys for itself.
    Customer = 1,
    /// Buys to sell on.
    Reseller = 2,
}

impl AccountKind {
    /// The kind with that number.
    pub fn from_number(number: i32) -> Option<Self> {
        [Self::Customer, Self::Reseller]
            .into_iter()
            .find(|kind| *kind as i32 == number)
    }

    /// The role of the user who opens such an account.
    pub fn first_role(self) -> &'static str {
        match self {
            Self::Customer => "owner",
            Self::Reseller => "reseller",
        }
    }
}

/// An e-mail address as it is kept: people do not expect its case to matter.
pub fn normal_email(email: &str) -> String {
    email.trim().to_lowercase()
}

/// A user with all that decides what the user may do.
#[derive(Clone, Debug)]
pub struct Person {
    /// The user.
    pub id: UserId,
    /// The account acted for; `None` for staff.
    pub account_id: Option<AccountId>,
    /// Role in the account.
    pub member_role: Option<String>,
    /// Role in the platform.
    pub staff_role: Option<String>,
    /// True for a sandbox account.
    pub sandbox: bool,
    /// True if the user or the account is suspended.
    pub suspended: bool,
}

impl Person {
    /// The one role of this person; `None` if there is none, who then cannot sign in.
    pub fn role(&self) -> Option<&'static str> {
        self.staff_role
            .as_deref()
            .or(self.member_role.as_deref())
            .and_then(permissions::role)
    }
}

/// What happens to a user's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// It is taken away.
    Imposed,
    /// It is given back.
    Lifted,
}

/// The chain of refresh tokens that began with one sign-in.
#[derive(Clone, Debug)]
pub struct Family {
    /// The family.
    pub id: Uuid,
    /// Who signed in.
    pub user_id: UserId,
    /// Number of the valid token.
    pub generation: i32,
    /// When the valid token was made.
    pub rotated_at: DateTime<Utc>,
    /// When the valid token ends.
    pub expires_at: DateTime<Utc>,
    /// When the family was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When the person last confirmed: at sign-in, or later.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Whether a code of the second factor was part of it.
    pub second_factor: bool,
}

/// What a session has confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation {
    /// When.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Whether a code of the second factor was part of it.
    pub second_factor: bool,
    /// Whether the person has a second factor, so that a password is not enough.
    pub needs_code: bool,
}

impl Confirmation {
    /// Whether it was enough, and no longer ago than `max_age`.
    pub fn holds(&self, max_age: Duration, now: DateTime<Utc>) -> bool {
        self.confirmed_at.is_some_and(|at| now - at < max_age)
            && (self.second_factor || !self.needs_code)
    }
}

/// How far a user's second factor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondFactor {
    /// There is none.
    None,
    /// A secret was made, and no code of it was seen yet.
    Pending,
    /// Signing in needs a code.
    Active {
        /// When a first code was seen.
        confirmed_at: DateTime<Utc>,
        /// Recovery codes not used yet.
        codes_left: i32,
    },
}

/// What to do with a refresh token of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It is the valid one: replace it.
    Rotate,
    /// It was replaced a moment ago, so the reply was lost or another tab was faster: give the present token once more. The family does not fork.
    Again,
    /// It was replaced long ago: somebody kept a copy. Revoke the family.
    Reused,
    /// The family has ended.
    Invalid,
}

impl Family {
    /// A new family.
    pub fn new(user_id: UserId, now: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::now_v7(),
            user_id,
            generation: 1,
            rotated_at: now,
            expires_at: now + REFRESH_LIFETIME,
            revoked_at: None,
            confirmed_at: Some(now),
            second_factor: false,
        }
    }

    /// Judges token number `generation`.
    pub fn judge(&self, generation: i32, now: DateTime<Utc>) -> Refresh {
        if self.revoked_at.is_some() || self.expires_at <= now || generation > self.generation {
            Refresh::Invalid
        } else if generation == self.generation {
            Refresh::Rotate
        } else if generation == self.generation - 1 && now - self.rotated_at <= REFRESH_GRACE {
            Refresh::Again
        } else {
            Refresh::Reused
        }
    }
}

/// Tokens of a signed-in user.
#[derive(Clone)]
pub struct Tokens {
    /// Access token.
    pub access: String,
    /// Refresh token.
    pub refresh: String,
    /// When the access token ends.
    pub access_expires_at: DateTime<Utc>,
    /// When the refresh token ends.
    pub refresh_expires_at: DateTime<Utc>,
}

/// A user's profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The user.
    pub user_id: UserId,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Phone number, or empty.
    pub phone: String,
    /// Language, or empty.
    pub language: String,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
    /// The account; `None` for staff.
    pub account_id: Option<AccountId>,
    /// Name of the account.
    pub account_name: Option<String>,
    /// Kind of the account, as the contract numbers it.
    pub account_kind: Option<i16>,
    /// True for a sandbox account.
    pub sandbox: bool,
}

/// Fields of a profile that its user may write.
pub const PROFILE_FIELDS: &[&str] = &["name", "phone", "language"];

/// An API key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The key.
    pub id: ApiKeyId,
    /// Name for people.
    pub display_name: String,
    /// Permissions and groups of permissions.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// The first scope that grants nothing of what is held, because it is unknown or out of reach.
pub fn unknown_scope<'s>(scopes: &'s [String], held: &[&'static str]) -> Option<&'s String> {
    scopes
        .iter()
        .find(|scope| permissions::of_scopes(std::slice::from_ref(*scope), held).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
    }

    #[test]
    fn a_refresh_token_is_judged_by_its_number_and_age() {
        let family = Family {
            generation: 5,
            ..Family::new(UserId::new(), at(0))
        };
        let lifetime = REFRESH_LIFETIME.num_seconds();
        let cases = [
            (5, 0, Refresh::Rotate),
            (5, lifetime - 1, Refresh::Rotate),
            (5, lifetime, Refresh::Invalid),
            (4, 0, Refresh::Again),
            (4, 10, Refresh::Again),
            (4, 11, Refresh::Reused),
            (3, 0, Refresh::Reused),
            (i32::MIN, 0, Refresh::Reused),
            (6, 0, Refresh::Invalid),
        ];
        for (generation, seconds, expected) in cases {
            assert_eq!(
                family.judge(generation, at(seconds)),
                expected,
                "generation {generation} after {seconds} s"
            );
        }
        let revoked = Family {
            revoked_at: Some(at(0)),
            ..family
        };
        assert_eq!(revoked.judge(5, at(1)), Refresh::Invalid);
    }

    #[test]
    fn a_confirmation_holds_for_a_while_and_needs_a_code_of_who_has_one() {
        let age = Duration::seconds(600);
        let confirmation = |confirmed_at, second_factor, needs_code| Confirmation {
            confirmed_at,
            second_factor,
            needs_code,
        };
        let cases = [
            (confirmation(Some(at(0)), false, false), 599, true),
            (confirmation(Some(at(0)), false, false), 600, false),
            (confirmation(Some(at(0)), true, false), 0, true),
            (confirmation(Some(at(0)), true, true), 599, true),
            (confirmation(Some(at(0)), false, true), 0, false),
            (confirmation(None, true, true), 0, false),
        ];
        for (confirmation, seconds, holds) in cases {
            assert_eq!(
                confirmation.holds(age, at(seconds)),
                holds,
                "{confirmation:?} after {seconds} s"
            );
        }
    }

    #[test]
    fn a_staff_role_wins_and_an_unknown_one_is_none() {
        let person = |staff: Option<&str>, member: Option<&str>| Person {
            id: UserId::new(),
            account_id: None,
            member_role: member.map(str::to_owned),
            staff_role: staff.map(str::to_owned),
            sandbox: false,
            suspended: false,
        };
        assert_eq!(person(Some("finance"), None).role(), Some("finance"));
        assert_eq!(person(None, Some("owner")).role(), Some("owner"));
        assert_eq!(person(None, Some("emperor")).role(), None);
        assert_eq!(person(None, None).role(), None);
    }

    #[test]
    fn scopes_out_of_reach_are_named() {
        let owner = permissions::of_role("owner");
        let scopes = [
            "orders".to_owned(),
            "wallet.read".to_owned(),
            "wallet.adjust".to_owned(),
        ];
        assert_eq!(unknown_scope(&scopes, &owner), Some(&scopes[2]));
        assert_eq!(unknown_scope(&scopes[..2], &owner), None);
        assert_eq!(
            unknown_scope(&["instance".to_owned()], &owner).map(String::as_str),
            Some("instance")
        );
    }

    #[test]
    fn kinds_have_the_contract_s_numbers() {
        use sewa_sdk::sewa::identity::v1::AccountKind as Wire;
        assert_eq!(
            AccountKind::from_number(Wire::Customer as i32),
            Some(AccountKind::Customer)
        );
        assert_eq!(
            AccountKind::from_number(Wire::Reseller as i32),
            Some(AccountKind::Reseller)
        );
        assert_eq!(AccountKind::from_number(0), None);
    }
}
