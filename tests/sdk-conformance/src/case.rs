//! What a case says: the client's settings, the server's script, the steps, and what must come of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// One case. Unknown words are errors, so a misspelt expectation cannot pass for one that holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique name.
    pub case: String,
    /// Settings of the client, passed on to the runner as they are.
    #[serde(default)]
    pub client: Value,
    /// What the server does.
    #[serde(default)]
    pub server: Script,
    /// What the runner does, passed on as it is.
    pub steps: Vec<Value>,
    /// What must come of it.
    pub expect: Expect,
}

/// What the server does.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Access tokens that are good; any other gets TOKEN_EXPIRED on methods that are not public, without using up a line. Everything is let in if absent.
    pub tokens: Option<Vec<String>>,
    /// Milliseconds for which a connection that was made gets no word of HTTP/2, as from a server far away or a busy one.
    #[serde(default)]
    pub greets_after_ms: u64,
    /// Lines by method, `package.Service/Method`; each call takes the next, and the last one is repeated.
    #[serde(default)]
    pub methods: BTreeMap<String, Vec<Line>>,
}

/// What one call gets. Of `reply`, `status`, `http_status`, `messages`, `never` exactly one is set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Milliseconds of silence first.
    #[serde(default)]
    pub late_ms: u64,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The reply, as protobuf JSON. `{"$now_plus_s": n}` stands for a timestamp.
    pub reply: Option<Value>,
    /// Bytes in hexadecimal appended to the encoded reply: fields the contract does not know.
    pub extra_hex: Option<String>,
    /// A reply padded to this many bytes by a field the contract does not know.
    pub padded_to: Option<usize>,
    /// A refusal.
    pub status: Option<Refusal>,
    /// An answer of something that speaks no gRPC.
    pub http_status: Option<u16>,
    /// Messages of a stream, as protobuf JSON.
    pub messages: Option<Vec<Value>>,
    /// How the stream ends after its messages.
    #[serde(default)]
    pub then: Then,
    /// No answer at all: the call hangs until the client gives up.
    #[serde(default)]
    pub never: bool,
}

/// A refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// gRPC code, for example `UNAVAILABLE`.
    pub code: String,
    /// Developer text.
    #[serde(default)]
    pub message: String,
    /// `ErrorInfo.reason`; no ErrorInfo if absent.
    pub reason: Option<String>,
    /// `ErrorInfo.metadata`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// `RetryInfo.retry_delay`.
    pub retry_after_ms: Option<u64>,
    /// `BadRequest.field_violations`, pairs of field and reason.
    #[serde(default)]
    pub fields: Vec<(String, String)>,
    /// `RequestInfo.request_id`.
    pub request_id: Option<String>,
    /// Sent in place of the details, as it is.
    pub details_raw: Option<String>,
    /// A detail of a type nobody knows is added.
    #[serde(default)]
    pub foreign_detail: bool,
}

/// How a stream ends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// With OK.
    #[default]
    End,
    /// The connection of the stream breaks without a status.
    Cut,
    /// It stays open and silent.
    Hang,
    /// With this refusal.
    Refuse(Refusal),
}

/// What must come of a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The runner's answer; see [`crate::compare`].
    #[serde(default)]
    pub client: Value,
    /// What the server saw, by method. Methods that are not named must not have been called.
    #[serde(default)]
    pub server: BTreeMap<String, Seen>,
}

/// What the server must have seen of one method.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Attempts: a number or `{"$min":…,"$max":…}`.
    pub attempts: Value,
    /// Header by header what every attempt carried: a pattern for all, or a list with one pattern an attempt. An absent header is `null`.
    #[serde(default)]
    pub headers: BTreeMap<String, Value>,
    /// Headers that are present and equal on all attempts.
    #[serde(default)]
    pub same: Vec<String>,
    /// Headers that are present and different on all attempts.
    #[serde(default)]
    pub different: Vec<String>,
    /// Milliseconds of `grpc-timeout` on every attempt.
    pub deadline_ms: Option<Value>,
    /// What the requests held, one pattern an attempt.
    pub requests: Option<Vec<Value>>,
    /// Least milliseconds between the first and the last attempt.
    pub at_least_ms: Option<u64>,
    /// How many attempts the client gave up while they ran.
    pub abandoned: Option<usize>,
}

/// Reads all cases of a folder, in order of file and place.
///
/// # Errors
/// If a file does not read or parse, a name stands twice, or a method or line is not one the server can play.
pub fn read_all(folder: &Path) -> anyhow::Result<Vec<Case>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        // By way of JSON, in which a variant with content is a plain object and needs no tag of YAML's own.
        let read: Vec<Case> = serde_yaml_ng::from_str(&text)
            .map_err(anyhow::Error::from)
            .and_then(|read: Value| Ok(serde_json::from_value(read)?))
            .with_context(|| format!("reading {}", file.display()))?;
        cases.extend(read);
    }
    let mut names = std::collections::BTreeSet::new();
    for case in &cases {
        anyhow::ensure!(names.insert(&case.case), "{} stands twice", case.case);
        case.check().with_context(|| case.case.clone())?;
    }
    Ok(cases)
}

impl Case {
    /// Whether the script can be played.
    fn check(&self) -> anyhow::Result<()> {
        for (method, lines) in &self.server.methods {
            crate::wire::method(method)?;
            anyhow::ensure!(!lines.is_empty(), "{method} has no lines");
            for line in lines {
                let kinds = [
                    line.reply.is_some(),
                    line.status.is_some(),
                    line.http_status.is_some(),
                    line.messages.is_some(),
                    line.never,
                ];
                anyhow::ensure!(
                    kinds.iter().filter(|set| **set).count() == 1,
                    "a line of {method} is not exactly one thing"
                );
            }
        }
        Ok(())
    }
}
