//! What the guest of a simulated machine makes of its user data when it first boots, as far as the platform relies on it: what cloud-init would do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a guest has after its first boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guest {
    /// Password of root, if it was set.
    pub password: Option<String>,
    /// Keys that open root, in order.
    pub keys: Vec<String>,
    /// Host name, if it was set.
    pub hostname: Option<String>,
    /// The other documents it was given, in order.
    pub documents: Vec<String>,
}

/// The value of the first line that begins so, a text of JSON.
fn quoted(line: &str, after: &str) -> Option<String> {
    let (_, rest) = line.split_once(after)?;
    let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    texts.next()?.ok()
}

/// Boots with these user data.
pub fn boot(user_data: &str) -> Guest {
    let mut guest = Guest::default();
    for document in documents(user_data) {
        let ours = document.starts_with("#cloud-config\nhostname: ");
        if !ours {
            guest.documents.push(document);
            continue;
        }
        let mut within_keys = false;
        for line in document.lines() {
            within_keys = line.trim() == "ssh_authorized_keys:"
                || (within_keys && line.starts_with("      - "));
            if line.starts_with("hostname: ") {
                guest.hostname = quoted(line, "hostname: ");
            }
            if line.contains("name: root, type: text, password: ") {
                guest.password = quoted(line, "password: ");
            }
            if within_keys {
                guest.keys.extend(quoted(line, "- "));
            }
        }
    }
    guest
}

/// The parts of a document in MIME, or the one there is.
fn documents(user_data: &str) -> Vec<String> {
    let boundary = user_data
        .strip_prefix("Content-Type: multipart/mixed; boundary=\"")
        .and_then(|rest| rest.split_once('"'));
    let Some((boundary, _)) = boundary else {
        return vec![user_data.to_owned()];
    };
    let separator = format!("--{boundary}\r\n");
    user_data
        .split(&separator)
        .skip(1)
        .map(|part| {
            let (head, body) = part.split_once("\r\n\r\n").expect("a head and a body");
            assert!(head.contains("Content-Transfer-Encoding: base64"), "{head}");
            let (body, _) = body.split_once("--").unwrap_or((body, ""));
            let body: String = body.split_whitespace().collect();
            String::from_utf8(STANDARD.decode(body).expect("Base64")).expect("UTF-8")
        })
        .collect()
}
