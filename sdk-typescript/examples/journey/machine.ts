// The machine: what can be read of it and done to it.
import type { Operation } from "@sewa/sdk/api/v1";
import { Instance_State as State, InstanceService, type Instance } from "@sewa/sdk/instance/v1";
import { given, moment, rupiah, units, until, type Stage } from "./stage.js";

export const service = (stage: Stage) => stage.client.service(InstanceService);

/** The machine as it is now. */
export async function read(stage: Stage, instanceId: string): Promise<Instance> {
  return given((await service(stage).getInstance({ instanceId })).instance, "instance");
}

/** Every machine there is. */
export async function everything(stage: Stage): Promise<Instance[]> {
  return (await service(stage).listInstances({})).instances;
}

/** Waits until a machine is in a state and nothing is under way on it. */
export function settled(stage: Stage, instanceId: string, state: State): Promise<Instance> {
  return until(`the instance as ${State[state]}`, async () => {
    const instance = await read(stage, instanceId);
    return instance.state === state && !instance.operationId ? instance : undefined;
  });
}

/** What a new machine says of itself. */
export async function inspect(stage: Stage, instanceId: string, total: bigint): Promise<void> {
  stage.asks("read the instance");
  const one = await settled(stage, instanceId, State.RUNNING);
  stage.check(one.ipv4Address !== "" && one.autoRenew, "it has no address, or does not renew");
  stage.check(units(one.nextCharge) === total && one.nextStep === "renew", `next comes ${one.nextStep} of ${rupiah(one.nextCharge)}`);
  const size = `${one.vcpus} vCPU, ${one.memoryMib} MiB, ${one.diskGib} GiB`;
  stage.sees(`${one.hostname} is RUNNING at ${one.ipv4Address} and ${one.ipv6Address}, ${size}`);
  stage.sees(`paid until ${moment(one.paidUntil)}; then ${one.nextStep} for ${rupiah(one.nextCharge)}`);
}

/** Shuts down, powers on and reboots. */
export async function powerCycle(stage: Stage, instanceId: string): Promise<void> {
  stage.asks("shut it down");
  await done(stage, instanceId, (await service(stage).shutdownInstance({ instanceId })).operation, State.STOPPED);
  stage.asks("power it on");
  await done(stage, instanceId, (await service(stage).powerOnInstance({ instanceId })).operation, State.RUNNING);
  stage.asks("reboot it");
  await done(stage, instanceId, (await service(stage).rebootInstance({ instanceId })).operation, State.RUNNING);
}

async function done(stage: Stage, instanceId: string, operation: Operation | undefined, state: State): Promise<Instance> {
  const progress = await stage.finish(operation);
  const instance = await settled(stage, instanceId, state);
  stage.sees(`the operation went through ${progress}; the instance is ${State[state]}`);
  return instance;
}

/** Installs another image. */
export async function rebuild(stage: Stage, instanceId: string, imageId: string): Promise<void> {
  const before = await read(stage, instanceId);
  stage.asks("rebuild it with the other image");
  const after = await done(stage, instanceId, (await service(stage).rebuildInstance({ instanceId, imageId })).operation, State.RUNNING);
  stage.check(
    before.imageId !== imageId && after.imageId === imageId && after.ipv4Address === before.ipv4Address,
    `it has image ${after.imageId} and address ${after.ipv4Address}`,
  );
  stage.sees(`image ${after.imageId}, still at ${after.ipv4Address}`);
}

/** Destroys it, which takes its host name, typed correctly. */
export async function remove(stage: Stage, instanceId: string): Promise<void> {
  const { hostname } = await read(stage, instanceId);
  stage.asks(`delete ${hostname}, first with a mistyped host name`);
  const refusal = await stage.refused(() => service(stage).deleteInstance({ instanceId, confirmHostname: "wbe" }), "CONFIRMATION_MISMATCH");
  stage.sees(`refused: ${refusal.message}`);
  const deleted = await service(stage).deleteInstance({ instanceId, confirmHostname: hostname });
  await done(stage, instanceId, deleted.operation, State.DELETED);
  const left = await everything(stage);
  stage.check(
    left.every((one) => one.id !== instanceId),
    "it is still in the list",
  );
  stage.sees(`instances left: ${left.length}`);
}
