//! The machine: what can be read of it and done to it.

use sewa_sdk::Error;
use sewa_sdk::Transport;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::instance_service_client::InstanceServiceClient;
use sewa_sdk::sewa::instance::v1::{
    DeleteInstanceRequest, GetInstanceRequest, Instance, ListInstancesRequest,
    PowerOnInstanceRequest, RebootInstanceRequest, RebuildInstanceRequest, ShutdownInstanceRequest,
};

use super::stage::{Stage, broken, call, given, rupiah, units, until};

/// The service.
pub(crate) fn service(stage: &Stage) -> InstanceServiceClient<Transport> {
    stage.client.service(InstanceServiceClient::new)
}

/// Reads a machine.
pub(crate) async fn read(stage: &Stage, id: &str) -> Result<Instance, Error> {
    let request = GetInstanceRequest {
        instance_id: id.to_owned(),
    };
    let reply = service(stage).get_instance(call(request)).await?;
    given(reply.into_inner().instance, "instance")
}

/// Every machine there is.
pub(crate) async fn list(stage: &Stage) -> Result<Vec<Instance>, Error> {
    let reply = service(stage)
        .list_instances(call(ListInstancesRequest::default()))
        .await?;
    Ok(reply.into_inner().instances)
}

/// Waits until a machine is in a state and nothing is under way on it.
pub(crate) async fn settled(stage: &Stage, id: &str, state: State) -> Result<Instance, Error> {
    let what = format!("the instance as {}", word(state));
    let mut last = State::Unspecified;
    let seen = until(&what, async || {
        let instance = read(stage, id).await?;
        last = instance.state();
        Ok((last == state && instance.operation_id.is_empty()).then_some(instance))
    })
    .await;
    seen.map_err(|error| broken(format!("{error}; it was {} in the end", word(last))))
}

/// What a new machine says of itself.
pub(crate) async fn inspect(stage: &mut Stage, id: &str, total: i64) -> Result<(), Error> {
    stage.asks("read the instance");
    let instance = settled(stage, id, State::Running).await?;
    let charge = units(instance.next_charge.as_ref());
    stage.check(
        !instance.ipv4_address.is_empty() && instance.auto_renew,
        "it has no address, or does not renew",
    )?;
    stage.check(
        charge == total && instance.next_step == "renew",
        format!("next comes {} of {}", instance.next_step, rupiah(charge)),
    )?;
    let paid_until = given(instance.paid_until, "end of the paid time")?;
    stage.sees(format!(
        "{} is RUNNING at {} and {}, {} vCPU, {} MiB, {} GiB",
        instance.hostname,
        instance.ipv4_address,
        instance.ipv6_address,
        instance.vcpus,
        instance.memory_mib,
        instance.disk_gib
    ));
    stage.sees(format!(
        "paid until {paid_until}; then {} for {}",
        instance.next_step,
        rupiah(charge)
    ));
    Ok(())
}

/// Shuts down, powers on and reboots.
pub(crate) async fn power_cycle(stage: &mut Stage, id: &str) -> Result<(), Error> {
    stage.asks("shut it down");
    let request = ShutdownInstanceRequest {
        instance_id: id.to_owned(),
        ..Default::default()
    };
    let reply = service(stage).shutdown_instance(call(request)).await?;
    done(stage, id, reply.into_inner().operation, State::Stopped).await?;

    stage.asks("power it on");
    let request = PowerOnInstanceRequest {
        instance_id: id.to_owned(),
        ..Default::default()
    };
    let reply = service(stage).power_on_instance(call(request)).await?;
    done(stage, id, reply.into_inner().operation, State::Running).await?;

    stage.asks("reboot it");
    let request = RebootInstanceRequest {
        instance_id: id.to_owned(),
        ..Default::default()
    };
    let reply = service(stage).reboot_instance(call(request)).await?;
    done(stage, id, reply.into_inner().operation, State::Running).await?;
    Ok(())
}

async fn done(
    stage: &Stage,
    id: &str,
    operation: Option<Operation>,
    state: State,
) -> Result<Instance, Error> {
    let progress = stage.finish(operation).await?;
    let instance = settled(stage, id, state).await?;
    stage.sees(format!(
        "the operation went through {progress}; the instance is {}",
        word(state)
    ));
    Ok(instance)
}

/// Installs another image.
pub(crate) async fn rebuild(stage: &mut Stage, id: &str, image_id: &str) -> Result<(), Error> {
    let before = read(stage, id).await?;
    stage.asks("rebuild it with the other image");
    let request = RebuildInstanceRequest {
        instance_id: id.to_owned(),
        image_id: image_id.to_owned(),
        ..Default::default()
    };
    let reply = service(stage).rebuild_instance(call(request)).await?;
    let after = done(stage, id, reply.into_inner().operation, State::Running).await?;
    stage.check(
        before.image_id != image_id
            && after.image_id == image_id
            && after.ipv4_address == before.ipv4_address,
        format!(
            "it has image {} and address {}",
            after.image_id, after.ipv4_address
        ),
    )?;
    stage.sees(format!(
        "image {}, still at {}",
        after.image_id, after.ipv4_address
    ));
    Ok(())
}

/// Destroys it, which takes its host name, typed correctly.
pub(crate) async fn delete(stage: &mut Stage, id: &str) -> Result<(), Error> {
    let before = read(stage, id).await?;
    stage.asks(format!(
        "delete {}, first with a mistyped host name",
        before.hostname
    ));
    let request = |typed: &str| DeleteInstanceRequest {
        instance_id: id.to_owned(),
        confirm_hostname: typed.to_owned(),
        ..Default::default()
    };
    let outcome = service(stage).delete_instance(call(request("wbe"))).await;
    let refusal = stage.refused(outcome, "CONFIRMATION_MISMATCH")?;
    stage.sees(format!("refused: {refusal}"));
    let reply = service(stage)
        .delete_instance(call(request(&before.hostname)))
        .await?;
    done(stage, id, reply.into_inner().operation, State::Deleted).await?;
    let left = list(stage).await?;
    stage.check(
        left.iter().all(|instance| instance.id != id),
        "it is still in the list",
    )?;
    stage.sees(format!("instances left: {}", left.len()));
    Ok(())
}

/// The name of a state in the contract, without its prefix.
pub(crate) fn word(state: State) -> &'static str {
    state.as_str_name().trim_start_matches("STATE_")
}
