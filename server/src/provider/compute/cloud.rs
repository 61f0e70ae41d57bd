//! What the platform asks of an account at a real cloud, beyond its machines one by one; and what all adapters read in the same way.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use serde_json::Value;
use uuid::Uuid;

use crate::base::id::InstanceId;
use crate::provider::compute::cluster::Cluster;
use crate::provider::compute::line::Reply;
use crate::provider::compute::{Boot, Compute, Machine, ProviderError};

/// Before the id of an instance in the name of its machine. Some clouds want a letter first.
const PREFIX: &str = "sewa-";
/// Pages of a list that are read at most.
pub const PAGES: usize = 500;
/// Between the parts of a document in MIME. No line of Base64 begins with dashes.
const BOUNDARY: &str = "==sewa-first-boot==";
/// Characters of a line of Base64, as MIME wants.
const LINE: usize = 76;

/// Everything but what never needs an escape.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An account at a real cloud.
#[async_trait]
pub trait Cloud: Compute {
    /// Every machine of the account, ours or not, in no order.
    async fn list(&self) -> Result<Vec<Listed>, ProviderError>;

    /// Who we are there. Also the connection test.
    async fn standing(&self) -> Result<Standing, ProviderError>;

    /// The hypervisors behind it, where they are our own.
    async fn cluster(&self) -> Result<Cluster, ProviderError> {
        Err(ProviderError::Refused(
            "its hypervisors are not our own".to_owned(),
        ))
    }
}

/// A machine as a list of them shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The machine.
    pub machine: Machine,
    /// Its whole name.
    pub name: String,
    /// What it costs a month in millionths of a dollar, if the cloud says so.
    pub monthly_microdollars: Option<i64>,
    /// The cloud's name of its region, if it says so.
    pub region: Option<String>,
    /// The cloud's names of the image it was made from; none if it does not say.
    pub images: Vec<String>,
}

/// An account as its cloud sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Machines it may have, if the cloud says so.
    pub machine_limit: Option<i32>,
    /// What is owed, in the cloud's words.
    pub balance: String,
}

/// The name of an instance's machine.
pub fn name_of(instance: InstanceId) -> String {
    format!("{PREFIX}{instance}")
}

/// The instance a machine's name stands for, if it is one of ours.
pub fn instance_of(name: &str) -> Option<InstanceId> {
    let id = name.strip_prefix(PREFIX)?;
    Uuid::try_parse(id).ok().map(InstanceId)
}

/// Our reference of a machine from its name: the id of the instance, or the name itself if it is not one of ours.
pub fn reference_of(name: &str) -> String {
    instance_of(name).map_or_else(|| name.to_owned(), |id| id.to_string())
}

/// Who gives root its password and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The cloud, by fields of its API.
    ByCloud,
    /// cloud-init in the guest, by what we tell it.
    ByCloudInit,
}

/// What cloud-init does when a machine first boots from a disk: sets the host name and, where the cloud does not, password and keys of root; and what the owner wrote.
///
/// Where there are both, the owner's document comes first and ours is merged into it: lists are joined, and what the owner has set stays.
pub fn user_data(boot: &Boot, root: Root) -> String {
    // A JSON string is a YAML string.
    let quoted = |text: &str| Value::from(text).to_string();
    let mut own = format!("#cloud-config\nhostname: {}\n", quoted(&boot.hostname));
    if root == Root::ByCloudInit {
        own.push_str("ssh_pwauth: true\ndisable_root: false\nchpasswd:\n  expire: false\n  users:\n    - {name: root, type: text, password: ");
        own.push_str(&quoted(boot.password.expose_secret()));
        own.push_str("}\n");
        if !boot.ssh_keys.is_empty() {
            own.push_str("users:\n  - default\n  - name: root\n    lock_passwd: false\n    ssh_authorized_keys:\n");
            for key in &boot.ssh_keys {
                own.push_str(&format!("      - {}\n", quoted(key)));
            }
        }
    }
    let Some(theirs) = &boot.user_data else {
        return own;
    };
    own.push_str("merge_how: \"list(append)+dict(no_replace,recurse_list)+str()\"\n");
    let theirs = theirs.expose_secret();
    let kind = if theirs.starts_with("#!") {
        "text/x-shellscript"
    } else {
        "text/cloud-config"
    };
    let part = |kind: &str, text: &str| {
        let encoded = STANDARD.encode(text);
        let lines: Vec<&str> = (0..encoded.len())
            .step_by(LINE)
            .map(|at| &encoded[at..encoded.len().min(at + LINE)])
            .collect();
        format!(
            "--{BOUNDARY}\r\nContent-Type: {kind}; charset=\"utf-8\"\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            lines.join("\r\n")
        )
    };
    format!(
        "Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\r\nMIME-Version: 1.0\r\n\r\n{}{}--{BOUNDARY}--\r\n",
        part(kind, theirs),
        part("text/cloud-config", &own),
    )
}

/// Escapes a part of a path, or a value of a query or a form.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A text of a reply.
pub fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

/// A list of a reply.
///
/// # Errors
/// `Unavailable` if it has none: nothing may be concluded from a reply that is not understood.
pub fn list<'v>(value: &'v Value, pointer: &str) -> Result<&'v [Value], ProviderError> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .ok_or_else(|| ProviderError::Unavailable(format!("the reply has no list at {pointer}")))
}

/// An amount of dollars, a number or a text, in millionths.
pub fn microdollars(value: &Value) -> Option<i64> {
    let dollars = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    let micros = dollars * 1_000_000.0;
    // Beyond 2^53 a float counts no more by ones; nobody pays that.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the bounds are checked just before"
    )]
    (micros.abs() < 9e15).then_some(micros.round() as i64)
}

/// What a refusal means that no adapter knows better: what to tell, and that it had no effect.
pub fn refusal(reply: &Reply, message: Option<&str>) -> ProviderError {
    let message = message.unwrap_or("no reason given");
    let message: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    match reply.status.as_u16() {
        401 | 403 => ProviderError::Unauthorized(message),
        404 => ProviderError::NotFound,
        status => ProviderError::Refused(format!("{status}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_instance_there_and_back() {
        let id = InstanceId(Uuid::from_u128(7));
        assert_eq!(instance_of(&name_of(id)), Some(id));
        assert_eq!(reference_of(&name_of(id)), id.to_string());
        assert_eq!(instance_of("web-1"), None);
        assert_eq!(reference_of("web-1"), "web-1");
    }

    #[test]
    fn dollars_are_read_from_numbers_and_texts() {
        assert_eq!(microdollars(&Value::from(6)), Some(6_000_000));
        assert_eq!(microdollars(&Value::from("23.44")), Some(23_440_000));
        assert_eq!(microdollars(&Value::from(0.00893)), Some(8930));
        assert_eq!(microdollars(&Value::Null), None);
        assert_eq!(microdollars(&Value::from("nothing")), None);
    }

    fn boot(user_data: Option<&str>) -> Boot {
        Boot {
            hostname: "web-1".to_owned(),
            password: "abcDEF23".into(),
            ssh_keys: vec!["ssh-ed25519 AAAA".to_owned()],
            user_data: user_data.map(Into::into),
        }
    }

    #[test]
    fn cloud_init_is_told_what_the_cloud_does_not_do_itself() {
        let all = user_data(&boot(None), Root::ByCloudInit);
        assert!(all.starts_with("#cloud-config\nhostname: \"web-1\"\n"));
        assert!(all.contains("password: \"abcDEF23\"") && all.contains("- \"ssh-ed25519 AAAA\""));
        let name = user_data(&boot(None), Root::ByCloud);
        assert_eq!(name, "#cloud-config\nhostname: \"web-1\"\n");
    }

    #[test]
    fn what_the_owner_wrote_comes_first_and_whole() {
        for (theirs, kind) in [
            ("#cloud-config\npackages: [nginx]\n", "text/cloud-config"),
            ("#!/bin/sh\necho ééé\n", "text/x-shellscript"),
        ] {
            let data = user_data(&boot(Some(theirs)), Root::ByCloudInit);
            let parts: Vec<&str> = data.split(&format!("--{BOUNDARY}")).collect();
            assert_eq!(parts.len(), 4, "a head, two parts and the end");
            assert!(parts[0].starts_with("Content-Type: multipart/mixed; boundary="));
            let decoded = |part: &str| {
                let (_, body) = part.split_once("\r\n\r\n").unwrap();
                let body: String = body.split_whitespace().collect();
                String::from_utf8(STANDARD.decode(body).unwrap()).unwrap()
            };
            assert!(parts[1].contains(kind));
            assert_eq!(decoded(parts[1]), theirs);
            assert!(decoded(parts[2]).contains("abcDEF23"));
            assert!(decoded(parts[2]).contains("merge_how"));
            assert!(data.lines().all(|line| line.len() <= LINE));
        }
    }
}
