//! What all verbs are made of: a session, asking, and looking things up by their names.
//!
//! A session is begun with user name and password when there is none, and again when vCenter has ended it. A call that it refuses for want of a session had no effect, so it may be
//! made again.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{escaped, list, text};
use crate::provider::compute::line::{Ask, Dialect, Line, Reply};
use crate::provider::compute::vendor::Access;
use crate::provider::compute::vsphere::Vsphere;
use crate::provider::compute::vsphere::failure::{kind, refused};
use crate::provider::compute::vsphere::machine::{Seen, Template};

/// Every call bears a header of ours, so the line's own is never sent.
const DIALECT: Dialect = Dialect {
    scheme: "",
    remaining: "",
    reset: "",
    explains_failures: true,
};
/// The header of a session.
const SESSION: &str = "vmware-api-session-id";
/// The folder that machines of the platform are in.
pub(super) const FOLDER: &str = "sewa";

/// What vCenter was asked has no effect whatever became of the answer.
fn harmless(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Unknown => {
            ProviderError::Unavailable("vCenter's answer was lost".to_owned())
        }
        error => error,
    }
}

impl Vsphere {
    /// A line to a vCenter. The token is the user's name and password with a colon between.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(access: &Access) -> anyhow::Result<Self> {
        let login = format!("Basic {}", STANDARD.encode(access.token.expose_secret()));
        Ok(Self {
            line: Arc::new(Line::new(access, "", DIALECT)?),
            login: SecretString::from(login),
            session: Mutex::new(None),
        })
    }

    /// The session, begun if there is none, or if it is the one that `ended`.
    async fn session(&self, ended: Option<&SecretString>) -> Result<SecretString, ProviderError> {
        let mut held = self.session.lock().await;
        if let Some(known) = held.as_ref() {
            let over = ended.is_some_and(|e| e.expose_secret() == known.expose_secret());
            if !over {
                return Ok(known.clone());
            }
        }
        *held = None;
        let ask = Ask {
            method: Method::POST,
            ..Ask::get("/session")
        };
        let ask = ask.bearing("authorization", self.login.clone());
        let reply = self.line.ask(&ask).await.map_err(harmless)?;
        if !reply.status.is_success() {
            return Err(refused(&reply, true));
        }
        let begun = reply.body.as_str().ok_or_else(|| {
            ProviderError::Unavailable("vCenter's session cannot be read".to_owned())
        })?;
        let begun = SecretString::from(begun.to_owned());
        *held = Some(begun.clone());
        Ok(begun)
    }

    /// Asks within the session, once more if that was over.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Reply, ProviderError> {
        let session = self.session(None).await?;
        let first = ask.clone().bearing(SESSION, session.clone());
        let reply = self.line.ask(&first).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let renewed = self.session(Some(&session)).await?;
        self.line.ask(&ask.bearing(SESSION, renewed)).await
    }

    /// Reads.
    pub(super) async fn read(&self, path: String) -> Result<Value, ProviderError> {
        let reply = self.ask(Ask::get(path)).await?;
        if reply.status.is_success() {
            Ok(reply.body)
        } else {
            Err(refused(&reply, true))
        }
    }

    /// Sends a change; a refusal is for whoever knows what it means.
    pub(super) async fn say(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<Result<Value, Reply>, ProviderError> {
        let ask = Ask {
            method,
            body,
            ..Ask::get(path)
        };
        let reply = self.ask(ask).await?;
        Ok(if reply.status.is_success() {
            Ok(reply.body)
        } else {
            Err(reply)
        })
    }

    /// Sends a change.
    pub(super) async fn change(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<Value, ProviderError> {
        self.say(method, path, body)
            .await?
            .map_err(|reply| refused(&reply, false))
    }

    /// What vCenter calls the one thing of a list that has this name.
    async fn id_of(
        &self,
        list_path: String,
        field: &str,
        name: &str,
    ) -> Result<String, ProviderError> {
        let found = self.read(list_path).await?;
        match list(&found, "")? {
            [one] => Ok(text(one, &format!("/{field}"))
                .unwrap_or_default()
                .to_owned()),
            found => Err(ProviderError::Unavailable(format!(
                "vCenter shows {} of {field} {name}",
                found.len()
            ))),
        }
    }

    /// The folder of the platform's machines.
    ///
    /// # Errors
    /// `Unauthorized` if the user does not see it: what is in it must not count as gone then.
    pub(super) async fn folder(&self) -> Result<String, ProviderError> {
        let path = format!("/vcenter/folder?names={FOLDER}&type=VIRTUAL_MACHINE");
        let found = self.read(path).await?;
        let folders = list(&found, "")?;
        let [folder] = folders else {
            return Err(ProviderError::Unauthorized(format!(
                "the user sees {} folders of machines named {FOLDER} and needs one",
                folders.len()
            )));
        };
        Ok(text(folder, "/folder").unwrap_or_default().to_owned())
    }

    /// A host by its name.
    pub(super) async fn host(&self, name: &str) -> Result<String, ProviderError> {
        let path = format!("/vcenter/host?names={}", escaped(name));
        self.id_of(path, "host", name).await
    }

    /// Items of content libraries that are templates of machines: those of a name, or all.
    pub(super) async fn items(&self, name: Option<&str>) -> Result<Vec<String>, ProviderError> {
        let mut sought = json!({"type": "vm-template"});
        if let Some(name) = name {
            sought["name"] = json!(name);
        }
        let ask = Ask::post("/content/library/item?action=find", sought);
        let reply = self.ask(ask).await.map_err(harmless)?;
        if !reply.status.is_success() {
            return Err(refused(&reply, true));
        }
        let items = list(&reply.body, "")?.iter();
        Ok(items
            .filter_map(|i| i.as_str().map(str::to_owned))
            .collect())
    }

    /// What machines of an item are made with.
    ///
    /// # Errors
    /// `Unavailable` too if it is not fit for that.
    pub(super) async fn template(&self, item: &str, name: &str) -> Result<Template, ProviderError> {
        let path = format!("/vcenter/vm-template/library-items/{}", escaped(item));
        let shown = self.read(path).await?;
        Template::read(item, &shown)
            .map_err(|why| ProviderError::Unavailable(format!("template {name}: {why}")))
    }

    /// The template of that name.
    pub(super) async fn template_named(&self, name: &str) -> Result<Template, ProviderError> {
        let items = self.items(Some(name)).await?;
        let [item] = &items[..] else {
            return Err(ProviderError::Unavailable(format!(
                "the content libraries have {} templates named {name}",
                items.len()
            )));
        };
        self.template(item, name).await
    }

    /// Machines of a list.
    pub(super) async fn listed(&self, filter: &str) -> Result<Vec<(String, Value)>, ProviderError> {
        let found = self.read(format!("/vcenter/vm?{filter}")).await?;
        let machines = list(&found, "")?.iter();
        Ok(machines
            .filter_map(|vm| Some((text(vm, "/vm")?.to_owned(), vm.clone())))
            .collect())
    }

    /// A machine as it is now; `None` if there is none of that name.
    pub(super) async fn see(&self, id: &str) -> Result<Option<Seen>, ProviderError> {
        let path = path_of(id);
        let reply = self.ask(Ask::get(path)).await?;
        if reply.status.is_success() {
            return Seen::read(id, &reply.body).map(Some);
        }
        match refused(&reply, true) {
            ProviderError::NotFound => {
                // One that is hidden must not count as gone.
                self.folder().await?;
                Ok(None)
            }
            // One that is being made is listed before it can be shown.
            error @ ProviderError::Unavailable(_) if !kind(&reply).is_empty() => {
                let listed = self.listed(&format!("vms={}", escaped(id))).await?;
                let (id, shown) = listed.first().ok_or(error)?;
                Ok(Some(Seen::listed(id, shown)))
            }
            error => Err(error),
        }
    }

    /// A machine that is ours, is there, and can be worked on.
    pub(super) async fn idle(&self, id: &str) -> Result<Seen, ProviderError> {
        let seen = self.see(id).await?.ok_or(ProviderError::NotFound)?;
        if seen.instance().is_none() {
            return Err(ProviderError::Refused(format!(
                "machine {id} does not carry our reference"
            )));
        }
        if seen.busy {
            return Err(ProviderError::Busy);
        }
        Ok(seen)
    }

    /// Takes one of the verbs of power on. What a machine is already is done.
    pub(super) async fn power(&self, id: &str, verb: &str) -> Result<(), ProviderError> {
        let path = format!("{}/power?action={verb}", path_of(id));
        match self.say(Method::POST, path, None).await? {
            Ok(_) => Ok(()),
            Err(reply) if kind(&reply) == "ALREADY_IN_DESIRED_STATE" => Ok(()),
            Err(reply) => Err(refused(&reply, false)),
        }
    }

    /// Asks the guest. False if it has no VMware Tools that would hear it, and nothing happened.
    pub(super) async fn ask_guest(&self, id: &str, verb: &str) -> Result<bool, ProviderError> {
        let path = format!("{}/guest/power?action={verb}", path_of(id));
        match self.say(Method::POST, path, None).await? {
            Ok(_) => Ok(true),
            Err(reply) if kind(&reply) == "SERVICE_UNAVAILABLE" => Ok(false),
            Err(reply) => Err(refused(&reply, false)),
        }
    }
}

impl Drop for Vsphere {
    /// Ends the session, if there is somebody left to do it: vCenter has a limited number of them, and ends what is idle after some minutes.
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) = (
            self.session.get_mut().take(),
            tokio::runtime::Handle::try_current(),
        ) else {
            return;
        };
        let line = Arc::clone(&self.line);
        runtime.spawn(async move {
            let end = Ask::delete("/session").bearing(SESSION, session);
            // Nobody waits for it.
            let _ = line.ask(&end).await;
        });
    }
}

/// Where a machine is in the API.
pub(super) fn path_of(id: &str) -> String {
    format!("/vcenter/vm/{}", escaped(id))
}
