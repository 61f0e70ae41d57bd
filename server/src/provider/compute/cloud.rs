//! What the platform asks of an account at a real cloud, beyond its machines one by one; and what all adapters read in the same way.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use uuid::Uuid;

use crate::base::id::InstanceId;
use crate::provider::compute::line::Reply;
use crate::provider::compute::{Compute, Machine, ProviderError};

/// Before the id of an instance in the name of its machine. Some clouds want a letter first.
const PREFIX: &str = "sewa-";
/// Pages of a list that are read at most.
pub const PAGES: usize = 500;

/// An account at a real cloud.
#[async_trait]
pub trait Cloud: Compute {
    /// Every machine of the account, ours or not, in no order.
    async fn list(&self) -> Result<Vec<Listed>, ProviderError>;

    /// Who we are there. Also the connection test.
    async fn standing(&self) -> Result<Standing, ProviderError>;
}

/// A machine as a list of them shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The machine.
    pub machine: Machine,
    /// Its whole name.
    pub name: String,
    /// The cloud's name of its size.
    pub size: String,
    /// What it costs a month in millionths of a dollar, if the cloud says so.
    pub monthly_microdollars: Option<i64>,
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

/// What a new machine does when it first boots: takes its host name and the password of root.
pub fn user_data(hostname: &str, password: &SecretString) -> String {
    // Both are of letters, digits, dots and dashes alone; a JSON string is a YAML string.
    format!(
        "#cloud-config\nhostname: {}\nssh_pwauth: true\nchpasswd:\n  expire: false\n  users:\n    - {{name: root, password: {}, type: text}}\n",
        Value::from(hostname),
        Value::from(password.expose_secret()),
    )
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

    #[test]
    fn user_data_holds_name_and_password() {
        let data = user_data("web-1", &SecretString::from("abcDEF23"));
        assert!(data.starts_with("#cloud-config\n"));
        assert!(data.contains("hostname: \"web-1\"") && data.contains("password: \"abcDEF23\""));
    }
}
