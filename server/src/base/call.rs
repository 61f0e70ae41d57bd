//! One call as the edge admits it: who makes it, and how it is to be recorded. The edge puts it into the request; handlers take it out.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::base::contract::Method;
use crate::base::id::AccountId;
use crate::base::status::{self, Invalid};

/// Who makes a call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account acted for; `None` for staff and for anonymous calls.
    pub account: Option<AccountId>,
    /// The user or API key; nil for an anonymous call.
    pub principal: Uuid,
    /// The session of a signed-in user: one refresh family.
    pub session: Option<Uuid>,
    /// What the principal is.
    pub kind: CallerKind,
    /// The role, for example `owner`.
    pub role: &'static str,
    /// The permissions held, sorted.
    pub permissions: Arc<[&'static str]>,
    /// True for a sandbox account.
    pub sandbox: bool,
    /// When the credentials end by themselves.
    pub until: Option<DateTime<Utc>>,
}

/// What makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// Nobody known; public methods only.
    Anonymous,
    /// A signed-in user of an account, or staff.
    User,
    /// An API key of an account.
    ApiKey,
}

impl Caller {
    /// Somebody without credentials.
    pub fn anonymous() -> Self {
        Self {
            account: None,
            principal: Uuid::nil(),
            session: None,
            kind: CallerKind::Anonymous,
            role: "anonymous",
            permissions: Arc::from([]),
            sandbox: false,
            until: None,
        }
    }

    /// Whether the caller holds a permission.
    pub fn holds(&self, permission: &str) -> bool {
        self.permissions.binary_search(&permission).is_ok()
    }

    /// The account this caller acts for.
    ///
    /// # Errors
    /// PERMISSION_DENIED for staff, who have none.
    pub fn account(&self) -> Result<AccountId, Status> {
        self.account.ok_or_else(|| {
            status::refuse(
                CommonErrorReason::PermissionDenied,
                "the caller belongs to no account",
            )
            .status()
        })
    }

    /// The account to read: the caller's own, or the one named by staff. A customer who names a foreign account sees nothing there, as if it did not exist.
    ///
    /// # Errors
    /// INVALID_REQUEST for staff who name none, and for a malformed id.
    pub fn account_or(&self, named: &str) -> Result<AccountId, Status> {
        match self.account {
            Some(own) => Ok(own),
            None if named.is_empty() => Err(status::invalid(Invalid::new(
                "account_id",
                "REQUIRED",
                "staff must name the account",
            ))),
            None => AccountId::parse("account_id", named),
        }
    }

    /// The account that something named by its id alone belongs to: the caller's own, or the one `find` says for staff, who see all accounts. What `find` does not
    /// know is `None`; whether the caller's own account has it, the caller's own query tells.
    ///
    /// # Errors
    /// UNAVAILABLE or INTERNAL if the database fails.
    pub async fn account_holding(
        &self,
        find: impl Future<Output = Result<Option<AccountId>, sqlx::Error>>,
    ) -> Result<Option<AccountId>, Status> {
        match self.account {
            Some(own) => Ok(Some(own)),
            // The contract lets only staff come here without an account.
            None => find.await.map_err(|e| status::database(&e)),
        }
    }

    /// The actor as histories show it.
    pub fn actor(&self) -> String {
        match self.kind {
            CallerKind::Anonymous => "anonymous".to_owned(),
            CallerKind::User => format!("user:{}", self.principal),
            CallerKind::ApiKey => format!("key:{}", self.principal),
        }
    }
}

/// One admitted call.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: &'static Method,
    /// Who makes it.
    pub caller: Caller,
    /// The caller's idempotency key, or one made for this call.
    pub key: String,
    /// True if the caller sent the key, so that the outcome must be kept for a repeat.
    pub keyed: bool,
    /// Keyed digest of the request.
    pub fingerprint: [u8; 16],
    /// The request as the audit trail keeps it: encoded, secrets cleared.
    pub request: bytes::Bytes,
    /// `x-request-id`.
    pub request_id: String,
    /// Network address of the caller.
    pub ip: String,
    /// When it arrived.
    pub now: DateTime<Utc>,
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Call {
    /// Takes the call out of a request.
    ///
    /// # Errors
    /// INTERNAL if the edge did not admit it, which the router makes impossible.
    pub fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        request
            .extensions()
            .get::<Arc<Self>>()
            .cloned()
            .ok_or_else(|| status::internal("a request reached a handler without passing the edge"))
    }

    /// The account the row of this write belongs to.
    pub fn account_of_record(&self) -> AccountId {
        self.caller.account.unwrap_or(AccountId::PLATFORM)
    }
}
