"""The machine: what can be read of it and done to it."""

from sewa.api.v1 import Operation
from sewa.instance.v1 import (
    DeleteInstanceRequest,
    GetInstanceRequest,
    Instance,
    InstanceServiceStub,
    ListInstancesRequest,
    PowerOnInstanceRequest,
    RebootInstanceRequest,
    RebuildInstanceRequest,
    ShutdownInstanceRequest,
)

from .stage import Stage, rupiah, until


def service(stage: Stage) -> InstanceServiceStub:
    return stage.client.service(InstanceServiceStub)


def read(stage: Stage, instance_id: str) -> Instance:
    return service(stage).GetInstance(GetInstanceRequest(instance_id=instance_id)).instance


def everything(stage: Stage) -> list[Instance]:
    """Every machine there is."""
    return list(service(stage).ListInstances(ListInstancesRequest()).instances)


def settled(stage: Stage, instance_id: str, state: Instance.State.ValueType) -> Instance:
    """Waits until a machine is in a state and nothing is under way on it."""

    def look() -> Instance | None:
        instance = read(stage, instance_id)
        return instance if instance.state == state and not instance.operation_id else None

    return until(f"the instance as {word(state)}", look)


def inspect(stage: Stage, instance_id: str, total: int) -> None:
    """What a new machine says of itself."""
    stage.asks("read the instance")
    instance = settled(stage, instance_id, Instance.STATE_RUNNING)
    stage.check(bool(instance.ipv4_address) and instance.auto_renew, "it has no address, or does not renew")
    stage.check(
        instance.next_charge.units == total and instance.next_step == "renew",
        f"next comes {instance.next_step} of {rupiah(instance.next_charge)}",
    )
    stage.sees(
        f"{instance.hostname} is RUNNING at {instance.ipv4_address} and {instance.ipv6_address}, {instance.vcpus} vCPU, "
        f"{instance.memory_mib} MiB, {instance.disk_gib} GiB"
    )
    stage.sees(f"paid until {instance.paid_until.ToJsonString()}; then {instance.next_step} for {rupiah(instance.next_charge)}")


def power_cycle(stage: Stage, instance_id: str) -> None:
    """Shuts down, powers on and reboots."""
    stage.asks("shut it down")
    stopped = service(stage).ShutdownInstance(ShutdownInstanceRequest(instance_id=instance_id))
    done(stage, instance_id, stopped.operation, Instance.STATE_STOPPED)
    stage.asks("power it on")
    started = service(stage).PowerOnInstance(PowerOnInstanceRequest(instance_id=instance_id))
    done(stage, instance_id, started.operation, Instance.STATE_RUNNING)
    stage.asks("reboot it")
    rebooted = service(stage).RebootInstance(RebootInstanceRequest(instance_id=instance_id))
    done(stage, instance_id, rebooted.operation, Instance.STATE_RUNNING)


def done(stage: Stage, instance_id: str, operation: Operation, state: Instance.State.ValueType) -> Instance:
    progress = stage.finish(operation)
    instance = settled(stage, instance_id, state)
    stage.sees(f"the operation went through {progress}; the instance is {word(state)}")
    return instance


def rebuild(stage: Stage, instance_id: str, image_id: str) -> None:
    """Installs another image."""
    before = read(stage, instance_id)
    stage.asks("rebuild it with the other image")
    rebuilt = service(stage).RebuildInstance(RebuildInstanceRequest(instance_id=instance_id, image_id=image_id))
    after = done(stage, instance_id, rebuilt.operation, Instance.STATE_RUNNING)
    stage.check(
        before.image_id != image_id and after.image_id == image_id and after.ipv4_address == before.ipv4_address,
        f"it has image {after.image_id} and address {after.ipv4_address}",
    )
    stage.sees(f"image {after.image_id}, still at {after.ipv4_address}")


def delete(stage: Stage, instance_id: str) -> None:
    """Destroys it, which takes its host name, typed correctly."""
    hostname = read(stage, instance_id).hostname
    stage.asks(f"delete {hostname}, first with a mistyped host name")
    mistyped = DeleteInstanceRequest(instance_id=instance_id, confirm_hostname="wbe")
    refusal = stage.refused(lambda: service(stage).DeleteInstance(mistyped), "CONFIRMATION_MISMATCH")
    stage.sees(f"refused: {refusal}")
    deleted = service(stage).DeleteInstance(DeleteInstanceRequest(instance_id=instance_id, confirm_hostname=hostname))
    done(stage, instance_id, deleted.operation, Instance.STATE_DELETED)
    left = everything(stage)
    stage.check(all(instance.id != instance_id for instance in left), "it is still in the list")
    stage.sees(f"instances left: {len(left)}")


def word(state: Instance.State.ValueType) -> str:
    """The name of a state in the contract, without its prefix."""
    return Instance.State.Name(state).removeprefix("STATE_")
