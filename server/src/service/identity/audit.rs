//! The audit list: accepted writes, newest first, as JSON that people can read.
//!
//! `writes` is on the path of every write, so it has no index by time and account. An account with few rows is read by its primary key and sorted. For all others
//! the block-range index on `recorded_at` is walked backwards in windows, which grow while they are read quickly; a walk that has used up its time hands out a page
//! that may be short, with a token that goes on from where it stopped.

use std::str::FromStr;

use chrono::{DateTime, Duration, Utc};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use sewa_sdk::sewa::identity::v1::AuditEntry;
use sqlx::PgConnection;
use tonic::Status;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::base::clock::Clock;
use crate::base::contract::Contract;
use crate::base::db::PgPool;
use crate::base::id::AccountId;
use crate::base::page::Page;
use crate::base::{status, time};
use crate::service::identity::store;
use crate::service::identity::store::audit::{Filter, Position, Row};

/// An account with at most so many rows is read whole.
const FEW: i64 = 2_000;
/// The first window of a walk.
const FIRST_WINDOW: Duration = Duration::seconds(4);
/// A window that took longer to read is followed by a narrower one.
const QUICK: Duration = Duration::milliseconds(200);
/// Walking stops after this time, if the page is not full by then.
const PATIENCE: Duration = Duration::seconds(2);
/// Clocks of replicas may differ; windows reach this much further at both ends.
const SKEW: Duration = Duration::minutes(1);
/// Keys that the edge makes for calls that bring none begin so.
const MADE_KEY: &str = "auto-";

impl Position {
    /// Before every row of that time or later, as the list is read.
    fn at(at: DateTime<Utc>) -> Self {
        Self {
            at,
            account: Uuid::nil(),
            principal: Uuid::nil(),
            method: String::new(),
            key: String::new(),
        }
    }

    fn of(row: &Row) -> Self {
        Self {
            at: row.recorded_at,
            account: row.account_id,
            principal: row.principal_id,
            method: row.method.clone(),
            key: row.key.clone(),
        }
    }

    /// Text for a page token. The idempotency key comes last, because it alone may hold any character.
    fn to_text(&self) -> String {
        format!(
            "{} {} {} {} {}",
            self.at.timestamp_micros(),
            self.account,
            self.principal,
            self.method,
            self.key
        )
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(5, ' ');
        let mut next = || parts.next().ok_or(());
        let at = next()?
            .parse()
            .ok()
            .and_then(DateTime::from_timestamp_micros)
            .ok_or(())?;
        let account = next()?.parse().map_err(|_| ())?;
        let principal = next()?.parse().map_err(|_| ())?;
        Ok(Self {
            at,
            account,
            principal,
            method: next()?.to_owned(),
            key: next()?.to_owned(),
        })
    }
}

/// One page of the audit list, and the token of the next.
///
/// # Errors
/// INVALID_PAGE_TOKEN; UNAVAILABLE if the database is away.
pub async fn list(
    db: &PgPool,
    clock: &Clock,
    filter: &Filter,
    size: i32,
    token: &str,
    now: DateTime<Utc>,
) -> Result<(Vec<AuditEntry>, String), Status> {
    let account = filter.account.map(|id| id.to_string()).unwrap_or_default();
    let binding = ["audit", &account, &filter.method];
    let page = Page::read(size, token, &binding)?;
    let from = page
        .after_as::<Position>()?
        .unwrap_or_else(|| Position::at(now + SKEW));
    let mut connection = db.acquire().await.map_err(|e| status::database(&e))?;
    let (mut rows, stopped) = read(&mut connection, clock, filter, from, page.limit())
        .await
        .map_err(|e| status::database(&e))?;
    let next = match stopped {
        Some(position) => go_on(&binding, &position)?,
        None => page.finish(&mut rows, |row| Position::of(row).to_text()),
    };
    Ok((rows.iter().map(entry).collect(), next))
}

/// A token that goes on from a position with no row: that of a page of one, of two, whose last item is there.
fn go_on(binding: &[&str], position: &Position) -> Result<String, Status> {
    Ok(Page::read(1, "", binding)?.finish(&mut vec![position; 2], |position| position.to_text()))
}

/// Rows in order, and the position where reading stopped for lack of time, if it did.
async fn read(
    connection: &mut PgConnection,
    clock: &Clock,
    filter: &Filter,
    from: Position,
    limit: i64,
) -> sqlx::Result<(Vec<Row>, Option<Position>)> {
    if let Some(account) = filter.account
        && store::audit::has_few(connection, account, FEW).await?
    {
        return Ok((
            store::audit::list_account(connection, account, filter, &from, limit).await?,
            None,
        ));
    }
    let Some(began_at) = store::signing::began_at(connection).await? else {
        return Ok((Vec::new(), None));
    };
    let (floor, give_up_at) = (began_at - SKEW, clock.now() + PATIENCE);
    let (mut rows, mut below, mut width) = (Vec::new(), from, FIRST_WINDOW);
    loop {
        let bottom = (below.at - width).max(floor);
        let wanted = limit - i64::try_from(rows.len()).unwrap_or(limit);
        let started_at = clock.now();
        rows.extend(store::audit::list_window(connection, filter, bottom, &below, wanted).await?);
        if i64::try_from(rows.len()).unwrap_or(limit) >= limit || bottom <= floor {
            return Ok((rows, None));
        }
        below = Position::at(bottom);
        let finished_at = clock.now();
        if finished_at >= give_up_at {
            return Ok((rows, Some(below)));
        }
        let quick = finished_at - started_at < QUICK;
        width = if quick {
            width * 2
        } else {
            (width / 2).max(FIRST_WINDOW)
        };
    }
}

fn entry(row: &Row) -> AuditEntry {
    let method = Contract::get().method_at(&format!("/{}", row.method));
    let reply_json = match method {
        Some(method) if row.code == 0 => json(&method.output, &row.reply),
        _ if row.code == 0 => String::new(),
        _ => refusal(&row.reply),
    };
    AuditEntry {
        account_id: if row.account_id == AccountId::PLATFORM.0 {
            String::new()
        } else {
            row.account_id.to_string()
        },
        actor_id: if row.principal_id.is_nil() {
            String::new()
        } else {
            row.principal_id.to_string()
        },
        method: row.method.clone(),
        record_time: Some(time::to_proto(row.recorded_at)),
        ip_address: row.ip.clone(),
        request_id: row.request_id.clone(),
        idempotency_key: if row.key.starts_with(MADE_KEY) {
            String::new()
        } else {
            row.key.clone()
        },
        code: i32::from(row.code),
        request_json: method
            .map(|method| json(&method.input, &row.request))
            .unwrap_or_default(),
        reply_json,
        subject_account_id: row.about.map(|id| id.to_string()).unwrap_or_default(),
        before_json: row.before.as_deref().map(before).unwrap_or_default(),
    }
}

/// A kept message as JSON; empty if the contract no longer knows how to read it. Secrets were cleared before it was kept, and are cleared again, in case a field
/// was declared a secret since.
fn json(kind: &MessageDescriptor, bytes: &[u8]) -> String {
    let Ok(mut message) = DynamicMessage::decode(kind.clone(), bytes) else {
        return String::new();
    };
    Contract::get().redact(&mut message);
    let mut out = serde_json::Serializer::new(Vec::new());
    match message.serialize_with_options(&mut out, &SerializeOptions::new()) {
        Ok(()) => String::from_utf8(out.into_inner()).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// The state before, which is kept as an Any because its type differs from method to method.
fn before(bytes: &[u8]) -> String {
    let Ok(any) = prost_types::Any::decode(bytes) else {
        return String::new();
    };
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    sewa_sdk::pool()
        .get_message_by_name(name)
        .map(|kind| json(&kind, &any.value))
        .unwrap_or_default()
}

fn refusal(bytes: &[u8]) -> String {
    let Ok(kept) = tonic_types::Status::decode(bytes) else {
        return String::new();
    };
    let details = Status::with_details(
        tonic::Code::from_i32(kept.code),
        kept.message.clone(),
        bytes.to_vec().into(),
    );
    let info = details.get_details_error_info();
    let (reason, metadata) = info
        .map(|info| (info.reason, info.metadata))
        .unwrap_or_default();
    serde_json::json!({ "code": kept.code, "message": kept.message, "reason": reason, "metadata": metadata }).to_string()
}
