//! Instances: the wire.

pub mod backups;
pub mod consoles;
pub mod firewall;
pub mod metrics;
pub mod reverse_dns;
pub mod snapshots;
pub mod ssh_keys;

use prost::Message;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_sdk::sewa::instance::v1::instance_service_server::InstanceService;
use sewa_sdk::sewa::instance::v1::{
    DeleteInstanceRequest, DeleteInstanceResponse, GetInstanceRequest, GetInstanceResponse,
    Instance, ListInstancesRequest, ListInstancesResponse, PowerOffInstanceRequest,
    PowerOffInstanceResponse, PowerOnInstanceRequest, PowerOnInstanceResponse,
    RebootInstanceRequest, RebootInstanceResponse, RebuildInstanceRequest, RebuildInstanceResponse,
    ResetInstancePasswordRequest, ResetInstancePasswordResponse, ShowFirstPasswordRequest,
    ShowFirstPasswordResponse, ShutdownInstanceRequest, ShutdownInstanceResponse,
    UpdateInstanceRequest, UpdateInstanceResponse,
};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, ImageId, InstanceId};
use crate::base::mask;
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim};
use crate::service::instance::ask::{self, Rebuild, Target, Update};
use crate::service::instance::error::Error;
use crate::service::instance::model::{self, View};
use crate::service::instance::{boot, convert, store};
use crate::service::{catalog, operation};

/// Fields of an instance that its owner may write.
const WRITABLE: &[&str] = &["display_name", "labels"];

/// Serves `InstanceService`.
pub struct Instances {
    /// The parts.
    pub app: App,
}

/// The account of an instance that the caller may see.
async fn holder(app: &App, call: &Call, id: InstanceId) -> Result<AccountId, Status> {
    let holding = store::account_of(&app.db, id);
    let account = call.caller.account_holding(holding).await?;
    Ok(account.ok_or(Error::InstanceNotFound)?)
}

/// An instance that the caller may see.
async fn visible(app: &App, call: &Call, text: &str) -> Result<model::Instance, Status> {
    let id = InstanceId::parse("instance_id", text)?;
    let account = holder(app, call, id).await?;
    let found = store::get(&app.db, account, id).await;
    Ok(found
        .map_err(|e| status::database(&e))?
        .ok_or(Error::InstanceNotFound)?)
}

impl Instances {
    fn show(&self, view: &View) -> Instance {
        convert::instance(view, &self.app.providers, self.app.clock.now())
    }

    /// Records a power operation.
    async fn power<R: Message + Default>(
        &self,
        call: &Call,
        kind: Kind,
        instance_id: &str,
        etag: &str,
        reply: fn(Option<Operation>) -> R,
    ) -> Result<Response<R>, Status> {
        let id = InstanceId::parse("instance_id", instance_id)?;
        let target = Target {
            account: holder(&self.app, call, id).await?,
            id,
            etag,
        };
        let mut write = match writes::begin(&self.app.db, call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(call),
        };
        write.about(target.account);
        let outcome = ask::power(
            &self.app.providers,
            &mut write.tx,
            target,
            kind,
            self.app.clock.now(),
        )
        .await;
        let outcome = outcome
            .map(|o| reply(Some(operation::convert::new_to_proto(&o))))
            .map_err(Status::from);
        let reply = write.finish(outcome).await;
        self.app.tail.wake();
        reply
    }
}

async fn view(connection: &mut PgConnection, call: &Call, id: InstanceId) -> Result<View, Status> {
    let found = match call.caller.account {
        Some(account) => store::get_view(connection, account, id).await,
        // The contract lets only staff come here without an account.
        None => store::get_any_view(connection, id).await,
    };
    Ok(found
        .map_err(|e| status::database(&e))?
        .ok_or(Error::InstanceNotFound)?)
}

/// The fields an update names. Without a mask those that are not empty are meant, as AIP-134 asks; to clear a field, name it.
fn masked(request: &UpdateInstanceRequest, sent: &Instance) -> Result<Update, Error> {
    let fields = mask::fields(
        request.update_mask.as_ref(),
        WRITABLE,
        |field| match field {
            "display_name" => !sent.display_name.is_empty(),
            _ => !sent.labels.is_empty(),
        },
    )
    .map_err(Error::FieldNotWritable)?;
    let named = |field| fields.contains(&field);
    Ok(Update {
        display_name: named("display_name").then(|| sent.display_name.clone()),
        labels: named("labels").then(|| sent.labels.clone().into_iter().collect()),
    })
}

#[tonic::async_trait]
impl InstanceService for Instances {
    async fn list_instances(
        &self,
        request: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &[
                "instances",
                &account.to_string(),
                &request.state.to_string(),
                &request.labels.join("\n"),
            ],
        )?;
        let states = convert::state_filter(request.state);
        let labels = convert::label_filter(&request.labels);
        let (before, limit) = (page.after_as::<Uuid>()?, page.limit());
        let mut listed = store::list_views(&self.app.db, account, &states, &labels, before, limit)
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |v| v.instance.id.to_string());
        Ok(Response::new(ListInstancesResponse {
            instances: listed.iter().map(|v| self.show(v)).collect(),
            next_page_token,
        }))
    }

    async fn get_instance(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let id = InstanceId::parse("instance_id", &request.get_ref().instance_id)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let found = view(&mut connection, &call, id).await?;
        Ok(Response::new(GetInstanceResponse {
            instance: Some(self.show(&found)),
        }))
    }

    async fn update_instance(
        &self,
        request: Request<UpdateInstanceRequest>,
    ) -> Result<Response<UpdateInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let sent = request.instance.clone().unwrap_or_default();
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance.id", &sent.id)?,
            etag: &sent.etag,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let update = masked(&request, &sent)?;
            let before = self.show(&view(&mut write.tx, &call, target.id).await?);
            write.keep_before(&before);
            ask::update(&mut write.tx, target, update, self.app.clock.now()).await?;
            Ok(UpdateInstanceResponse {
                instance: Some(self.show(&view(&mut write.tx, &call, target.id).await?)),
            })
        }
        .await;
        write.finish(outcome).await
    }

    async fn power_on_instance(
        &self,
        request: Request<PowerOnInstanceRequest>,
    ) -> Result<Response<PowerOnInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.get_ref();
        self.power(
            &call,
            Kind::PowerOn,
            &request.instance_id,
            &request.etag,
            |operation| PowerOnInstanceResponse { operation },
        )
        .await
    }

    async fn power_off_instance(
        &self,
        request: Request<PowerOffInstanceRequest>,
    ) -> Result<Response<PowerOffInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.get_ref();
        self.power(
            &call,
            Kind::PowerOff,
            &request.instance_id,
            &request.etag,
            |operation| PowerOffInstanceResponse { operation },
        )
        .await
    }

    async fn shutdown_instance(
        &self,
        request: Request<ShutdownInstanceRequest>,
    ) -> Result<Response<ShutdownInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.get_ref();
        self.power(
            &call,
            Kind::Shutdown,
            &request.instance_id,
            &request.etag,
            |operation| ShutdownInstanceResponse { operation },
        )
        .await
    }

    async fn reboot_instance(
        &self,
        request: Request<RebootInstanceRequest>,
    ) -> Result<Response<RebootInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.get_ref();
        self.power(
            &call,
            Kind::Reboot,
            &request.instance_id,
            &request.etag,
            |operation| RebootInstanceResponse { operation },
        )
        .await
    }

    async fn rebuild_instance(
        &self,
        request: Request<RebuildInstanceRequest>,
    ) -> Result<Response<RebuildInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.instance_id)?,
            etag: &request.etag,
        };
        let image = if request.image_id.is_empty() {
            None
        } else {
            Some(ImageId::parse("image_id", &request.image_id)?)
        };
        let rebuild = Rebuild {
            image,
            given: boot::Asked {
                keys: convert::ssh_key_ids(&request.ssh_key_ids)?,
                user_data: request.user_data,
            },
        };
        let catalogue = catalog::snapshot(&self.app).await?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = ask::rebuild(
            &self.app,
            &mut write.tx,
            &catalogue,
            target,
            rebuild,
            self.app.clock.now(),
        )
        .await;
        let outcome = outcome
            .map(|o| RebuildInstanceResponse {
                operation: Some(operation::convert::new_to_proto(&o)),
            })
            .map_err(Status::from);
        let reply = write.finish(outcome).await;
        self.app.tail.wake();
        reply
    }

    async fn reset_instance_password(
        &self,
        request: Request<ResetInstancePasswordRequest>,
    ) -> Result<Response<ResetInstancePasswordResponse>, Status> {
        let call = Call::of(&request)?;
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.get_ref().instance_id)?,
            etag: "",
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome =
            ask::reset_password(&self.app, &mut write.tx, target, self.app.clock.now()).await;
        let shown = |(o, password)| ResetInstancePasswordResponse {
            operation: Some(operation::convert::new_to_proto(&o)),
            password,
        };
        let reply = write.finish(outcome.map(shown).map_err(Status::from)).await;
        self.app.tail.wake();
        reply
    }

    async fn show_first_password(
        &self,
        request: Request<ShowFirstPasswordRequest>,
    ) -> Result<Response<ShowFirstPasswordResponse>, Status> {
        let call = Call::of(&request)?;
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.get_ref().instance_id)?,
            etag: "",
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let now = self.app.clock.now();
        let outcome = ask::show_first_password(&self.app, &mut write.tx, target, now).await;
        let shown = |password| ShowFirstPasswordResponse { password };
        write.finish(outcome.map(shown).map_err(Status::from)).await
    }

    async fn delete_instance(
        &self,
        request: Request<DeleteInstanceRequest>,
    ) -> Result<Response<DeleteInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.instance_id)?,
            etag: &request.etag,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let before = self.show(&view(&mut write.tx, &call, target.id).await?);
            write.keep_before(&before);
            let operation = ask::delete(
                &mut write.tx,
                target,
                &request.confirm_hostname,
                self.app.clock.now(),
            )
            .await?;
            Ok(DeleteInstanceResponse {
                operation: Some(operation::convert::new_to_proto(&operation)),
            })
        }
        .await;
        let reply = write.finish(outcome).await;
        self.app.tail.wake();
        reply
    }
}
