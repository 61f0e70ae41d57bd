package main

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
	instancev1 "github.com/sewa-project/sewa/sdk-go/instance/v1"
	lifecyclev1 "github.com/sewa-project/sewa/sdk-go/lifecycle/v1"
	sandboxv1 "github.com/sewa-project/sewa/sdk-go/sandbox/v1"
)

func clock(s *stage) *sandboxv1.TestClock {
	return must(sandbox(s).GetTestClock(ctx, &sandboxv1.GetTestClockRequest{})).GetClock()
}

// createClock gives the account a clock of its own.
func createClock(s *stage) {
	s.asks("give the account a test clock")
	must(sandbox(s).CreateTestClock(ctx, &sandboxv1.CreateTestClockRequest{}))
	shown := clock(s)
	s.check(shown.GetState() == sandboxv1.TestClock_STATE_READY, "the clock is %s", shown.GetState())
	s.sees("the clock stands still at %s", shown.GetNowTime().AsTime().Format(time.RFC3339))
}

// passTime lets time pass until the next thing the instance announces, and waits until everything due by then has happened.
func passTime(s *stage, machine *instancev1.Instance) {
	target := machine.GetNextStepTime().AsTime()
	ahead := target.Sub(clock(s).GetNowTime().AsTime())
	s.check(ahead > 0, "there is no step to come")
	s.asks("let %.1f days pass, to %s, when it is to %s", ahead.Hours()/24, target.Format(time.RFC3339), machine.GetNextStep())
	// Clocks move by whole milliseconds; what is due between two of them is due at the later one.
	must(sandbox(s).AdvanceTestClock(ctx, &sandboxv1.AdvanceTestClockRequest{Duration: durationpb.New(ahead + time.Millisecond)}))
	until(s, "the clock at its target", func() (*sandboxv1.TestClock, bool) {
		now := clock(s)
		return now, !now.GetNowTime().AsTime().Before(target) && now.GetState() == sandboxv1.TestClock_STATE_READY
	})
}

// renew sees the month end, and the machine renewed from the wallet.
func renew(s *stage, id string) {
	before := read(s, id)
	charge := before.GetNextCharge().GetUnits()
	available, _ := balance(s)
	passTime(s, before)
	events := s.follow(id, eventv1.EventType_EVENT_TYPE_RENEWED)
	after, paid := read(s, id), newestRenewal(s, id)
	left, _ := balance(s)
	s.check(charge > 0 && left == available-charge, "%s became %s by a renewal of %s", rupiah(available), rupiah(left), rupiah(charge))
	s.check(paid.GetState() == lifecyclev1.Renewal_STATE_PAID && paid.GetPeriodNumber() == 2 &&
		proto.Equal(paid.GetPeriodEndTime(), after.GetPaidUntil()) && !proto.Equal(after.GetPaidUntil(), before.GetPaidUntil()), "the renewal is %v", paid)
	s.sees("%s; the balance fell by exactly %s; paid until %s", names(events[len(events)-1:]), rupiah(charge), paidUntil(after))
}

// runOutOfMoney sees the next month end with too little in the wallet.
func runOutOfMoney(s *stage, id string) {
	before := read(s, id)
	available, _ := balance(s)
	s.check(available < before.GetNextCharge().GetUnits(), "%s pay another month", rupiah(available))
	passTime(s, before)
	events := s.follow(id, eventv1.EventType_EVENT_TYPE_RENEWAL_FAILED)
	after := read(s, id)
	left, _ := balance(s)
	s.check(after.GetState() == instancev1.Instance_STATE_RUNNING && after.GetNextStep() == "suspend" && left == available,
		"it is %s and next is %s", word(after.GetState()), after.GetNextStep())
	s.sees("%s with %s left; it runs on until %s", names(events[len(events)-1:]), rupiah(left), after.GetNextStepTime().AsTime().Format(time.RFC3339))
}

// suspend sees the grace end: the platform powers the machine off, and nobody powers it on.
func suspend(s *stage, id string) {
	passTime(s, read(s, id))
	events := s.follow(id, eventv1.EventType_EVENT_TYPE_SUSPENDED)
	after := settled(s, id, instancev1.Instance_STATE_SUSPENDED)
	s.check(after.GetNextStep() == "terminate", "next is %s", after.GetNextStep())
	s.sees("%s; the instance is SUSPENDED, to be terminated at %s", names(events[len(events)-1:]),
		after.GetNextStepTime().AsTime().Format(time.RFC3339))

	s.asks("power it on all the same")
	_, err := instances(s).PowerOnInstance(ctx, &instancev1.PowerOnInstanceRequest{InstanceId: id})
	s.sees("refused: %v", s.refused(err, "INSTANCE_SUSPENDED"))
}

// payAndResume sees money come in, and the platform do the rest.
func payAndResume(s *stage, id string, amount int64) {
	charge := read(s, id).GetNextCharge().GetUnits()
	before, _ := balance(s)
	s.asks("pay in %s, and nothing else", rupiah(amount))
	settle(s, deposit(s, amount).GetId())
	events := s.follow(id, eventv1.EventType_EVENT_TYPE_UNSUSPENDED)
	after := settled(s, id, instancev1.Instance_STATE_RUNNING)
	left, _ := balance(s)
	s.check(charge > 0 && left == before+amount-charge, "%s are available after a renewal of %s", rupiah(left), rupiah(charge))
	s.check(after.GetNextStep() == "renew", "next is %s", after.GetNextStep())
	s.sees("events %s; the instance is RUNNING, %s were charged, paid until %s", names(events), rupiah(charge), paidUntil(after))
}

// payAhead pays the next period before it begins, and returns what is held for it.
func payAhead(s *stage, id string) int64 {
	available, held := balance(s)
	s.asks("pay the next period ahead")
	must(lifecyclev1.NewLifecycleServiceClient(s.client).RenewInstance(ctx, &lifecyclev1.RenewInstanceRequest{InstanceId: id}))
	renewal := newestRenewal(s, id)
	total := renewal.GetTotal().GetUnits()
	availableNow, heldNow := balance(s)
	s.check(renewal.GetState() == lifecyclev1.Renewal_STATE_HELD && total > 0 && heldNow == held+total && availableNow == available-total,
		"%s are held, %s available, and the renewal is %s", rupiah(heldNow), rupiah(availableNow), renewal.GetState())
	s.sees("renewal %d is HELD: %s held, %s available", renewal.GetPeriodNumber(), rupiah(heldNow), rupiah(availableNow))
	return total
}

// release sees what was paid ahead for a machine that was deleted come back by itself.
func release(s *stage, id string, paid int64) {
	s.asks("read what became of the money paid ahead")
	freed := until(s, "the money paid ahead, released", func() (int64, bool) {
		available, held := balance(s)
		return available, held == 0
	})
	renewal := newestRenewal(s, id)
	s.check(renewal.GetState() == lifecyclev1.Renewal_STATE_RELEASED && renewal.GetTotal().GetUnits() == paid, "the renewal is %s", renewal.GetState())
	s.sees("the renewal is RELEASED: nothing held, %s available", rupiah(freed))
}

func newestRenewal(s *stage, id string) *lifecyclev1.Renewal {
	request := &lifecyclev1.ListRenewalsRequest{InstanceId: id, PageSize: 1}
	renewals := must(lifecyclev1.NewLifecycleServiceClient(s.client).ListRenewals(ctx, request)).GetRenewals()
	s.check(len(renewals) == 1, "there are %d renewals", len(renewals))
	return renewals[0]
}
