package main

import (
	"slices"
	"strings"
	"time"

	apiv1 "github.com/sewa-project/sewa/sdk-go/api/v1"
	instancev1 "github.com/sewa-project/sewa/sdk-go/instance/v1"
)

func instances(s *stage) instancev1.InstanceServiceClient {
	return instancev1.NewInstanceServiceClient(s.client)
}

func read(s *stage, id string) *instancev1.Instance {
	return must(instances(s).GetInstance(ctx, &instancev1.GetInstanceRequest{InstanceId: id})).GetInstance()
}

// everything is every machine there is.
func everything(s *stage) []*instancev1.Instance {
	return must(instances(s).ListInstances(ctx, &instancev1.ListInstancesRequest{})).GetInstances()
}

// word is the name of a state in the contract, without its prefix.
func word(state instancev1.Instance_State) string {
	return strings.TrimPrefix(state.String(), "STATE_")
}

// settled waits until a machine is in a state and nothing is under way on it.
func settled(s *stage, id string, state instancev1.Instance_State) *instancev1.Instance {
	return until(s, "the instance as "+word(state), func() (*instancev1.Instance, bool) {
		now := read(s, id)
		return now, now.GetState() == state && now.GetOperationId() == ""
	})
}

// inspect reads what a new machine says of itself.
func inspect(s *stage, id string, total int64) {
	s.asks("read the instance")
	now := settled(s, id, instancev1.Instance_STATE_RUNNING)
	s.check(now.GetIpv4Address() != "" && now.GetAutoRenew(), "it has no address, or does not renew")
	charge := now.GetNextCharge().GetUnits()
	s.check(charge == total && now.GetNextStep() == "renew", "next comes %s of %s", now.GetNextStep(), rupiah(charge))
	s.sees("%s is RUNNING at %s and %s, %d vCPU, %d MiB, %d GiB", now.GetHostname(), now.GetIpv4Address(), now.GetIpv6Address(), now.GetVcpus(),
		now.GetMemoryMib(), now.GetDiskGib())
	s.sees("paid until %s; then %s for %s", paidUntil(now), now.GetNextStep(), rupiah(charge))
}

func paidUntil(machine *instancev1.Instance) string {
	return machine.GetPaidUntil().AsTime().Format(time.RFC3339)
}

// powerCycle shuts down, powers on and reboots.
func powerCycle(s *stage, id string) {
	s.asks("shut it down")
	stopped := must(instances(s).ShutdownInstance(ctx, &instancev1.ShutdownInstanceRequest{InstanceId: id}))
	done(s, id, stopped.GetOperation(), instancev1.Instance_STATE_STOPPED)
	s.asks("power it on")
	started := must(instances(s).PowerOnInstance(ctx, &instancev1.PowerOnInstanceRequest{InstanceId: id}))
	done(s, id, started.GetOperation(), instancev1.Instance_STATE_RUNNING)
	s.asks("reboot it")
	rebooted := must(instances(s).RebootInstance(ctx, &instancev1.RebootInstanceRequest{InstanceId: id}))
	done(s, id, rebooted.GetOperation(), instancev1.Instance_STATE_RUNNING)
}

func done(s *stage, id string, operation *apiv1.Operation, state instancev1.Instance_State) *instancev1.Instance {
	progress := s.finish(operation)
	now := settled(s, id, state)
	s.sees("the operation went through %s; the instance is %s", progress, word(state))
	return now
}

// rebuild installs another image.
func rebuild(s *stage, id, imageID string) {
	before := read(s, id)
	s.asks("rebuild it with the other image")
	rebuilt := must(instances(s).RebuildInstance(ctx, &instancev1.RebuildInstanceRequest{InstanceId: id, ImageId: imageID}))
	after := done(s, id, rebuilt.GetOperation(), instancev1.Instance_STATE_RUNNING)
	s.check(before.GetImageId() != imageID && after.GetImageId() == imageID && after.GetIpv4Address() == before.GetIpv4Address(),
		"it has image %s and address %s", after.GetImageId(), after.GetIpv4Address())
	s.sees("image %s, still at %s", after.GetImageId(), after.GetIpv4Address())
}

// remove destroys it, which takes its host name, typed correctly.
func remove(s *stage, id string) {
	hostname := read(s, id).GetHostname()
	s.asks("delete %s, first with a mistyped host name", hostname)
	_, err := instances(s).DeleteInstance(ctx, &instancev1.DeleteInstanceRequest{InstanceId: id, ConfirmHostname: "wbe"})
	s.sees("refused: %v", s.refused(err, "CONFIRMATION_MISMATCH"))
	deleted := must(instances(s).DeleteInstance(ctx, &instancev1.DeleteInstanceRequest{InstanceId: id, ConfirmHostname: hostname}))
	done(s, id, deleted.GetOperation(), instancev1.Instance_STATE_DELETED)
	left := everything(s)
	s.check(!slices.ContainsFunc(left, func(other *instancev1.Instance) bool { return other.GetId() == id }), "it is still in the list")
	s.sees("instances left: %d", len(left))
}
