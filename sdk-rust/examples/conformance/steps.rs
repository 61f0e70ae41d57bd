//! The steps of a case, each through the public interface of the SDK.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt, future};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost_reflect::{DynamicMessage, Value as Field};
use serde_json::{Map, Value, json};
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::identity::v1::Tokens;
use sewa_sdk::webhook::{self, Rejected, Secret};
use sewa_sdk::{
    CallOptions, Client, Credentials, Error, RetryPolicy, Session, WaitOptions, WatchOptions,
};
use tonic::{Request, Status};

use crate::answer;
use crate::hooks::{self, Gathered};

type Failure = Box<dyn StdError>;

/// A case under way.
struct Stage {
    client: Option<Client>,
    credentials: Credentials,
    observed: Gathered<Value>,
    last_error: Option<Error>,
    /// Removed when the case ends.
    _files: Vec<tempfile::NamedTempFile>,
}

/// Does all steps of a case.
pub(crate) async fn run(request: &Value) -> Result<Value, Failure> {
    let mut stage = Stage::set(request)?;
    let mut results = Vec::new();
    for step in request["steps"].as_array().into_iter().flatten() {
        results.push(stage.take(step).await?);
    }
    Ok(json!({"results": results, "observed": stage.observed.all()}))
}

fn millis(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Stage {
    fn set(request: &Value) -> Result<Self, Failure> {
        let wanted = &request["client"];
        let mut files = Vec::new();
        let credentials = credentials(wanted, &mut files)?;
        let mut policy = RetryPolicy::default();
        if let Some(most) = wanted["max_attempts"].as_u64() {
            policy.max_attempts = u32::try_from(most)?;
        }
        if let Some(budget) = wanted["retry_budget"].as_u64() {
            policy.budget = u32::try_from(budget)?;
        }
        policy.max_hint = millis(&wanted["max_hint_ms"]).unwrap_or(policy.max_hint);
        let backoff = &wanted["backoff"];
        policy.first_delay = millis(&backoff["initial_ms"]).unwrap_or(policy.first_delay);
        policy.max_delay = millis(&backoff["max_ms"]).unwrap_or(policy.max_delay);
        let observed = Gathered::default();
        let kept = observed.clone();
        let mut builder = Client::builder(text(&request["target"]))
            .credentials(credentials.clone())
            .retry(policy)
            .observer(move |attempt: &sewa_sdk::Attempt<'_>| kept.add(hooks::attempt(attempt)));
        if let Some(span) = millis(&wanted["attempt_timeout_ms"]) {
            builder = builder.attempt_timeout(span);
        }
        if let Some(span) = millis(&wanted["timeout_ms"]) {
            builder = builder.timeout(span);
        }
        if let Some(agent) = wanted["user_agent"].as_str() {
            builder = builder.user_agent(agent);
        }
        if let Some(locale) = wanted["locale"].as_str() {
            builder = builder.locale(locale);
        }
        Ok(Self {
            client: Some(builder.build()?),
            credentials,
            observed,
            last_error: None,
            _files: files,
        })
    }

    async fn take(&mut self, step: &Value) -> Result<Value, Failure> {
        if step["close"] == true {
            self.client = None;
            return Ok(json!({"ok": {}}));
        }
        if let Some(what) = step["show"].as_str() {
            return Ok(json!({"text": match what {
                "client" => format!("{:?}", self.client),
                "credentials" => format!("{:?}", self.credentials),
                _ => self.last_error.as_ref().map(|error| format!("{error:?} {error}")).unwrap_or_default(),
            }}));
        }
        if step.get("webhook_verify").is_some() {
            return verify(&step["webhook_verify"]);
        }
        if step.get("webhook_sign").is_some() {
            return sign(&step["webhook_sign"]);
        }
        let Some(client) = self.client.clone() else {
            return Ok(json!({"error": {"code": "CANCELLED", "closed": true}}));
        };
        let (result, error) = if let Some(copies) = step["parallel"].as_u64() {
            let all = future::join_all((0..copies).map(|_| self.call(&client, step))).await;
            let told: Vec<_> = all.into_iter().map(|(told, _)| told).collect();
            (json!({"parallel": told}), None)
        } else if step.get("call").is_some() || step.get("raw").is_some() {
            let before = self.observed.all().len();
            let (mut result, error) = self.call(&client, step).await;
            let path = format!("/{}", text(step.get("call").unwrap_or(&step["raw"])));
            let count = self.observed.all()[before..]
                .iter()
                .filter(|one| one["method"] == path)
                .count();
            match result.get_mut("error") {
                Some(told) => told["attempts"] = json!(count),
                None => result["attempts"] = json!(count),
            }
            (result, error)
        } else if step.get("pages").is_some() {
            self.pages(&client, step).await?
        } else if step.get("wait").is_some() {
            wait(&client, step).await
        } else if step.get("watch").is_some() {
            self.watch(&client, step).await
        } else {
            return Err(format!("no such step: {step}").into());
        };
        self.last_error = error.or(self.last_error.take());
        Ok(result)
    }

    /// One call by name.
    async fn call(&self, client: &Client, step: &Value) -> (Value, Option<Error>) {
        let work = self.attempt(client, step);
        let done = match millis(&step["cancel_after_ms"]) {
            // Dropping a call is how Rust cancels it.
            Some(span) => tokio::time::timeout(span, work)
                .await
                .unwrap_or_else(|_| Err(Status::cancelled("by the caller").into())),
            None => work.await,
        };
        match done {
            Ok(told) => (told, None),
            Err(error) => (json!({"error": answer::error(&error)}), Some(error)),
        }
    }

    async fn attempt(&self, client: &Client, step: &Value) -> Result<Value, Error> {
        let is_raw = step.get("raw").is_some();
        let name = text(if is_raw { &step["raw"] } else { &step["call"] });
        let method = client.raw(&name)?;
        let mut request = Request::new(method.request(&body(&step["request"]))?);
        let headers = step["headers"].as_object();
        let own = step["idempotency_key"].as_str();
        for (name, value) in headers
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .chain(own.map(|key| ("idempotency-key", key)))
        {
            let invalid = |_| Status::invalid_argument("not a header");
            let name: tonic::metadata::AsciiMetadataKey =
                name.parse().map_err(|_| Status::invalid_argument("not a header"))?;
            request
                .metadata_mut()
                .insert(name, value.parse().map_err(invalid)?);
        }
        if let Some(span) = millis(&step["timeout_ms"]) {
            request.set_timeout(span);
        }
        request.extensions_mut().insert(CallOptions {
            max_attempts: step["attempts"].as_u64().map(|most| most as u32),
            attempt_timeout: millis(&step["attempt_timeout_ms"]),
        });
        let reply = method.unary(request).await?;
        let header = |name: &str| reply.metadata().get(name)?.to_str().ok();
        let mut told = json!({
            "ok": printed(reply.get_ref()),
            "replayed": header("idempotency-replayed") == Some("true"),
        });
        if let Some(id) = header("x-request-id") {
            told["request_id"] = json!(id);
        }
        if is_raw {
            let all = reply.metadata().clone().into_headers();
            told["headers"] = all
                .iter()
                .map(|(name, value)| {
                    (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes())))
                })
                .collect::<Map<_, _>>()
                .into();
        }
        Ok(told)
    }

    /// All items of a list.
    async fn pages(&self, client: &Client, step: &Value) -> Result<(Value, Option<Error>), Failure> {
        let method = client.raw(&text(&step["pages"]))?;
        let request = method.request(&body(&step["request"]))?;
        let list = method
            .descriptor()
            .output()
            .fields()
            .find(|field| field.is_list())
            .ok_or("the method lists nothing")?;
        let before = self.observed.all().len();
        let items = sewa_sdk::pages(
            request,
            |request, token| request.set_field_by_name("page_token", Field::String(token)),
            |request| {
                let method = method.clone();
                async move { Ok(method.unary(Request::new(request)).await?) }
            },
            |reply: DynamicMessage| {
                let token = reply.get_field_by_name("next_page_token");
                let token = token.and_then(|token| token.as_str().map(str::to_owned));
                let items = reply.get_field(&list).as_list().map(<[Field]>::to_vec);
                (items.unwrap_or_default(), token.unwrap_or_default())
            },
        );
        let most = step["limit"].as_u64().map_or(usize::MAX, |most| most as usize);
        let mut items = std::pin::pin!(items.take(most));
        let mut got = Vec::new();
        let error = loop {
            match items.try_next().await {
                Ok(Some(item)) => got.extend(item.as_message().map(printed)),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let pages = self.observed.all()[before..]
            .iter()
            .filter(|one| one["code"] == "OK")
            .count();
        let mut told = json!({"items": got, "pages": pages});
        if let Some(error) = &error {
            told["error"] = answer::error(error);
        }
        Ok((told, error))
    }

    async fn watch(&self, client: &Client, step: &Value) -> (Value, Option<Error>) {
        let wanted = &step["watch"];
        let types = wanted["types"].as_array().into_iter().flatten();
        let options = WatchOptions {
            resume_cursor: text(&wanted["resumeCursor"]),
            types: types
                .filter_map(|name| EventType::from_str_name(name.as_str()?))
                .collect(),
            subject_id: text(&wanted["subjectId"]),
            silence: millis(&step["silence_ms"]),
        };
        let most = step["events"].as_u64().unwrap_or(u64::MAX) as usize;
        let before = self.observed.all().len();
        let mut got = Vec::new();
        let mut failed = None;
        let follow = async {
            let mut events = std::pin::pin!(sewa_sdk::watch(client, options));
            while got.len() < most {
                match events.try_next().await {
                    Ok(Some(event)) => got.push(answer::event(&event)),
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        };
        let limit = millis(&step["timeout_ms"]).unwrap_or(Duration::from_secs(60));
        let late = tokio::time::timeout(limit, follow).await.is_err();
        let connects = self.observed.all()[before..]
            .iter()
            .filter(|one| one["method"] == "/sewa.event.v1.EventService/WatchEvents")
            .count();
        let mut told = json!({"events": got, "connects": connects});
        if late {
            told["late"] = json!(true);
        }
        if let Some(error) = &failed {
            told["error"] = answer::error(error);
        }
        (told, failed)
    }
}

async fn wait(client: &Client, step: &Value) -> (Value, Option<Error>) {
    let mut progress = Vec::new();
    let mut options = WaitOptions::default();
    if let Some(span) = millis(&step["timeout_ms"]) {
        options = options.timeout(span);
    }
    if step["progress"] == true {
        options = options.progress(|now| progress.push(now.step.clone()));
    }
    let done = sewa_sdk::wait(client, text(&step["wait"]["operation_id"]), options).await;
    match done {
        Ok(operation) => {
            let mut dynamic = DynamicMessage::new(
                sewa_sdk::pool()
                    .get_message_by_name("sewa.api.v1.Operation")
                    .expect("the contract has operations"),
            );
            let told = dynamic.transcode_from(&operation).map(|()| printed(&dynamic));
            (
                json!({"operation": told.unwrap_or_default(), "progress": progress}),
                None,
            )
        }
        Err(error) => (
            json!({"error": answer::error(&error), "progress": progress}),
            Some(error),
        ),
    }
}

fn verify(wanted: &Value) -> Result<Value, Failure> {
    let keys: Result<Vec<Secret>, Rejected> = wanted["secrets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|secret| Secret::parse(secret.as_str().unwrap_or_default()))
        .collect();
    let mut headers = HeaderMap::new();
    for (name, value) in wanted["headers"].as_object().into_iter().flatten() {
        headers.insert(
            HeaderName::try_from(name.to_lowercase())?,
            HeaderValue::from_str(value.as_str().unwrap_or_default())?,
        );
    }
    let body = text(&wanted["body"]);
    let tolerance = wanted["tolerance_s"]
        .as_u64()
        .map_or(webhook::TOLERANCE, Duration::from_secs);
    let now = moment(&wanted["now"]);
    let verified = keys.and_then(|keys| webhook::verify(&keys, &headers, body.as_bytes(), now, tolerance));
    Ok(json!({"webhook": match verified {
        Ok(delivery) => {
            let mut told = json!({"ok": true, "id": delivery.id});
            if let Ok(read) = webhook::event(body.as_bytes()) {
                told["type"] = json!(read.type_name);
                told["event"] = answer::event(&read.event);
            }
            told
        }
        Err(rejected) => json!({"ok": false, "why": match rejected {
            Rejected::TooOld | Rejected::TooNew => "TIMESTAMP",
            Rejected::Header(_) => "HEADERS",
            Rejected::Signature => "SIGNATURE",
            Rejected::MalformedSecret => "SECRET",
            Rejected::Body => "BODY",
        }}),
    }}))
}

fn sign(wanted: &Value) -> Result<Value, Failure> {
    let secret = Secret::parse(wanted["secret"].as_str().unwrap_or_default())?;
    let body = text(&wanted["body"]);
    let headers = webhook::sign(
        &secret,
        &text(&wanted["id"]),
        moment(&wanted["timestamp"]),
        body.as_bytes(),
    );
    let told: HashMap<_, _> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    Ok(json!({"headers": told}))
}

fn moment(seconds: &Value) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.as_u64().unwrap_or_default())
}

fn credentials(wanted: &Value, files: &mut Vec<tempfile::NamedTempFile>) -> Result<Credentials, Failure> {
    if let Some(key) = wanted["api_key"].as_str() {
        return Ok(Credentials::api_key(key));
    }
    if let Some(session) = wanted.get("session") {
        let left = session["access_expires_in_ms"].as_i64().unwrap_or_default();
        let span = Duration::from_millis(left.unsigned_abs());
        let now = SystemTime::now();
        let ends = if left < 0 { now - span } else { now + span };
        return Ok(Credentials::Session(Session::resume(Tokens {
            access_token: text(&session["access_token"]),
            refresh_token: text(&session["refresh_token"]),
            access_expire_time: Some(ends.into()),
            ..Tokens::default()
        })));
    }
    if let Some(login) = wanted.get("login") {
        return Ok(Credentials::login(text(&login["email"]), text(&login["password"])));
    }
    let mut env: HashMap<String, String> = wanted["env"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    for (name, content) in wanted["files"].as_object().into_iter().flatten() {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text(content))?;
        env.insert(name.clone(), file.path().display().to_string());
        files.push(file);
    }
    Ok(Credentials::chain(|name| env.get(name).cloned())?)
}

fn body(request: &Value) -> String {
    match request {
        Value::Null => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// A message as protobuf JSON, defaults left out.
fn printed(message: &DynamicMessage) -> Value {
    serde_json::to_value(message).unwrap_or_default()
}
