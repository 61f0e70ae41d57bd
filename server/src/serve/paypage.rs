//! `/sandbox/pay/<deposit>/<secret>`: where a person pays a sandbox deposit by hand. Outside the contract, because people use it in a browser. No script, nothing from
//! elsewhere, and nothing but play money.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Form, Path, State};
use axum::response::{IntoResponse, Response as Reply};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde::Deserialize;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use tonic::body::Body;
use tower::ServiceExt;

use crate::app::App;
use crate::base::crypto;
use crate::base::id::DepositId;
use crate::base::money::Rupiah;
use crate::service::sandbox::page;
use crate::service::wallet::error::Error;
use crate::service::wallet::model::Refused;
use crate::service::wallet::play::{self, Act};
use crate::service::wallet::store::payments::{self, KeptCallback};

/// Bytes of a form.
const MAX_FORM: usize = 1 << 10;
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that can be paid at once, as for every deposit.
const MOST: i64 = 1_000_000_000;
/// Only forms to here and the style sheet from here; no scripts, no frames, no other hosts.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Serves the pages.
#[derive(Clone)]
pub struct PayPage {
    router: Router,
}

impl PayPage {
    /// For the deposits of this platform.
    pub fn new(app: App) -> Self {
        let pages = format!("{}/{{id}}/{{secret}}", play::PATH);
        let style = format!("{}.css", play::PATH);
        let router = Router::new()
            .route(&pages, get(show).post(take))
            .route(&style, get(style_sheet))
            .layer(DefaultBodyLimit::max(MAX_FORM))
            .with_state(app);
        Self { router }
    }

    /// Whether a request is for it. Asked of every request there is, so it looks at the path and little else.
    pub fn takes(request: &Request<Body>) -> bool {
        request.uri().path().starts_with(play::PATH)
    }

    /// Answers a request that it takes.
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        let answering = self.router.oneshot(request.map(axum::body::Body::new));
        let mut answer = match tokio::time::timeout(PATIENCE, answering).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(never)) => match never {},
            Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
        };
        protect(answer.headers_mut());
        answer.map(Body::new)
    }
}

fn protect(headers: &mut HeaderMap) {
    let rules = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // The address is the key.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    for (name, value) in rules {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn html(status: StatusCode, page: String) -> Reply {
    (status, axum::response::Html(page)).into_response()
}

async fn style_sheet() -> Reply {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], page::STYLE).into_response()
}

type Address = Path<(String, String)>;

async fn show(State(app): State<App>, Path((id, secret)): Address) -> Reply {
    look(&app, &id, &secret, StatusCode::OK, None).await
}

/// Shows a deposit as it is now. Whatever is wrong with an address, the answer is the same.
async fn look(app: &App, id: &str, secret: &str, status: StatusCode, said: Option<&str>) -> Reply {
    let found = match id.parse().map(DepositId) {
        Ok(id) => play::find(app, id, secret).await,
        Err(_) => Ok(None),
    };
    match found {
        Ok(Some((deposit, known))) => html(status, page::draw(&deposit, &known, said)),
        Ok(None) => {
            let page = page::say(
                "No such payment",
                "There is nothing to pay at this address.",
            );
            html(StatusCode::NOT_FOUND, page)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Reply {
    tracing::warn!(%error, "the page of a sandbox deposit failed");
    let page = page::say("Try again", "The payment page failed. Nothing was paid.");
    html(StatusCode::SERVICE_UNAVAILABLE, page)
}

/// What the forms send.
#[derive(Debug, Deserialize)]
struct Sent {
    action: String,
    amount: Option<i64>,
    number: Option<usize>,
    before: Option<i64>,
}

impl Sent {
    fn act(&self) -> Option<Act> {
        let amount = self.amount.filter(|a| (1..=MOST).contains(a));
        match (self.action.as_str(), amount, self.number) {
            ("pay", Some(amount), Some(number)) => Some(Act::Pay {
                number,
                amount: Rupiah(amount),
            }),
            ("take_back", Some(amount), Some(number)) => {
                let before = self.before.filter(|b| (0..=MOST).contains(b))?;
                let refunded = Rupiah(before + amount);
                Some(Act::TakeBack { number, refunded })
            }
            ("expire", ..) => Some(Act::Expire),
            ("fail", ..) => Some(Act::Fail),
            _ => None,
        }
    }
}

async fn take(
    State(app): State<App>,
    Path((id, secret)): Address,
    peer: Option<Extension<SocketAddr>>,
    form: Result<Form<Sent>, axum::extract::rejection::FormRejection>,
) -> Reply {
    let bad = "Amounts are whole rupiah from 1 to 1,000,000,000.";
    let Some(act) = form.as_ref().ok().and_then(|Form(sent)| sent.act()) else {
        return look(&app, &id, &secret, StatusCode::BAD_REQUEST, Some(bad)).await;
    };
    let found = match id.parse().map(DepositId) {
        Ok(id) => play::find(&app, id, &secret).await,
        Err(_) => Ok(None),
    };
    let deposit = match found {
        Ok(Some((deposit, _))) => deposit,
        Ok(None) => return look(&app, &id, &secret, StatusCode::NOT_FOUND, None).await,
        Err(error) => return failed(&error),
    };
    let ip = peer.map(|Extension(peer)| peer.ip().to_string());
    let ip = ip.unwrap_or_default();
    // A task of its own: a browser that goes away must not stop what it set going.
    let doing = tokio::spawn({
        let app = app.clone();
        async move {
            let named = (deposit.account, deposit.id);
            let outcome = perform(&app, named, act).await;
            keep(&app, deposit.id, act, &outcome, &ip).await;
            outcome
        }
    });
    match doing.await {
        Ok(Ok(())) => {
            let here = format!("{}/{id}/{secret}", play::PATH);
            let here = HeaderValue::from_str(&here);
            let here = here.unwrap_or_else(|_| HeaderValue::from_static(play::PATH));
            (StatusCode::SEE_OTHER, [(header::LOCATION, here)]).into_response()
        }
        Ok(Err(Error::Database(error))) => failed(&error),
        Ok(Err(refused)) => {
            let said = match refused {
                Error::DepositClosed { .. } => "This cannot be done with the payment any more.",
                Error::Refused(Refused::Frozen) => "The wallet is frozen.",
                _ => "The payment was refused.",
            };
            look(&app, &id, &secret, StatusCode::CONFLICT, Some(said)).await
        }
        Err(error) => failed(&error),
    }
}

async fn perform(
    app: &App,
    named: (crate::base::id::AccountId, DepositId),
    act: Act,
) -> Result<(), Error> {
    let mut tx = app.db.begin().await?;
    play::act(app, &mut tx, named, act).await?;
    tx.commit().await?;
    app.tail.wake();
    Ok(())
}

/// Keeps what was sent beside the callbacks of the other gateways.
async fn keep(app: &App, id: DepositId, act: Act, outcome: &Result<(), Error>, ip: &str) {
    let body = format!("{id} {act:?}");
    let number = match act {
        Act::Pay { number, .. } | Act::TakeBack { number, .. } => number,
        Act::Expire | Act::Fail => 0,
    };
    let kept = KeptCallback {
        method: i16::try_from(Method::Sandbox as i32).unwrap_or_default(),
        digest: crypto::digest(body.as_bytes()),
        body: body.as_bytes(),
        verdict: match outcome {
            Ok(()) => "CONFIRMED",
            Err(_) => "REFUSED",
        },
        gateway_ref: &play::reference(id, number),
        ip,
        received_at: app.clock.now(),
    };
    if let Err(error) = payments::insert_callback(&app.db, &kept).await {
        tracing::warn!(%error, "what was sent to a payment page could not be kept");
    }
}
