"""Time: what happens to a machine as months pass, played on the account's own clock."""

from sewa.event.v1 import EventType
from sewa.instance.v1 import Instance, PowerOnInstanceRequest
from sewa.lifecycle.v1 import LifecycleServiceStub, ListRenewalsRequest, Renewal, RenewInstanceRequest
from sewa.sandbox.v1 import (
    AdvanceTestClockRequest,
    CreateTestClockRequest,
    GetTestClockRequest,
    SandboxServiceStub,
    TestClock,
)

from . import machine, money
from .machine import read, settled
from .money import balance
from .stage import Stage, names, rupiah, until


def clock(stage: Stage) -> TestClock:
    return stage.client.service(SandboxServiceStub).GetTestClock(GetTestClockRequest()).clock


def create_clock(stage: Stage) -> None:
    """Gives the account a clock of its own."""
    stage.asks("give the account a test clock")
    stage.client.service(SandboxServiceStub).CreateTestClock(CreateTestClockRequest())
    shown = clock(stage)
    stage.check(shown.state == TestClock.STATE_READY, f"the clock is {shown.state}")
    stage.sees(f"the clock stands still at {shown.now_time.ToJsonString()}")


def pass_time(stage: Stage, instance: Instance) -> None:
    """Lets time pass until the next thing the instance announces, and waits until everything due by then has happened."""
    target = instance.next_step_time.ToMicroseconds()
    ahead = target - clock(stage).now_time.ToMicroseconds()
    stage.check(ahead > 0, "there is no step to come")
    stage.asks(
        f"let {ahead / 86_400e6:.1f} days pass, to {instance.next_step_time.ToJsonString()}, when it is to {instance.next_step}"
    )
    # Clocks move by whole milliseconds; what is due between two of them is due at the later one.
    request = AdvanceTestClockRequest()
    request.duration.FromMicroseconds(ahead + 1000)
    stage.client.service(SandboxServiceStub).AdvanceTestClock(request)

    def look() -> TestClock | None:
        now = clock(stage)
        return now if now.now_time.ToMicroseconds() >= target and now.state == TestClock.STATE_READY else None

    until("the clock at its target", look)


def renew(stage: Stage, instance_id: str) -> None:
    """The month ends, and the machine is renewed from the wallet."""
    before = read(stage, instance_id)
    charge, available = before.next_charge.units, balance(stage).available.units
    pass_time(stage, before)
    events = stage.follow(instance_id, EventType.EVENT_TYPE_RENEWED)
    after, left, paid = read(stage, instance_id), balance(stage).available.units, newest_renewal(stage, instance_id)
    stage.check(
        charge > 0 and left == available - charge,
        f"{rupiah(available)} became {rupiah(left)} by a renewal of {rupiah(charge)}",
    )
    stage.check(
        paid.state == Renewal.STATE_PAID
        and paid.period_number == 2
        and paid.period_end_time == after.paid_until
        and after.paid_until != before.paid_until,
        f"the renewal is {paid}",
    )
    stage.sees(
        f"{names(events[-1:])}; the balance fell by exactly {rupiah(charge)}; paid until {after.paid_until.ToJsonString()}"
    )


def run_out_of_money(stage: Stage, instance_id: str) -> None:
    """The next month ends with too little in the wallet."""
    before, available = read(stage, instance_id), balance(stage).available.units
    stage.check(available < before.next_charge.units, f"{rupiah(available)} pay another month")
    pass_time(stage, before)
    events = stage.follow(instance_id, EventType.EVENT_TYPE_RENEWAL_FAILED)
    after, left = read(stage, instance_id), balance(stage).available.units
    stage.check(
        after.state == Instance.STATE_RUNNING and after.next_step == "suspend" and left == available,
        f"it is {machine.word(after.state)} and next is {after.next_step}",
    )
    stage.sees(f"{names(events[-1:])} with {rupiah(left)} left; it runs on until {after.next_step_time.ToJsonString()}")


def suspend(stage: Stage, instance_id: str) -> None:
    """The grace ends: the platform powers the machine off, and nobody powers it on."""
    pass_time(stage, read(stage, instance_id))
    events = stage.follow(instance_id, EventType.EVENT_TYPE_SUSPENDED)
    after = settled(stage, instance_id, Instance.STATE_SUSPENDED)
    stage.check(after.next_step == "terminate", f"next is {after.next_step}")
    stage.sees(
        f"{names(events[-1:])}; the instance is SUSPENDED, to be terminated at {after.next_step_time.ToJsonString()}"
    )

    stage.asks("power it on all the same")
    request = PowerOnInstanceRequest(instance_id=instance_id)
    refusal = stage.refused(lambda: machine.service(stage).PowerOnInstance(request), "INSTANCE_SUSPENDED")
    stage.sees(f"refused: {refusal}")


def pay_and_resume(stage: Stage, instance_id: str, amount: int) -> None:
    """Money comes in, and the platform does the rest."""
    charge, before = read(stage, instance_id).next_charge.units, balance(stage).available.units
    stage.asks(f"pay in {rupiah(amount)}, and nothing else")
    money.settle(stage, money.start(stage, amount).id)
    events = stage.follow(instance_id, EventType.EVENT_TYPE_UNSUSPENDED)
    after = settled(stage, instance_id, Instance.STATE_RUNNING)
    left = balance(stage).available.units
    stage.check(
        charge > 0 and left == before + amount - charge, f"{rupiah(left)} are available after a renewal of {rupiah(charge)}"
    )
    stage.check(after.next_step == "renew", f"next is {after.next_step}")
    stage.sees(
        f"events {names(events)}; the instance is RUNNING, {rupiah(charge)} were charged, paid until "
        f"{after.paid_until.ToJsonString()}"
    )


def pay_ahead(stage: Stage, instance_id: str) -> int:
    """Pays the next period before it begins. Returns what is held for it."""
    before = balance(stage)
    stage.asks("pay the next period ahead")
    stage.client.service(LifecycleServiceStub).RenewInstance(RenewInstanceRequest(instance_id=instance_id))
    renewal, after = newest_renewal(stage, instance_id), balance(stage)
    total = renewal.total.units
    stage.check(
        renewal.state == Renewal.STATE_HELD
        and total > 0
        and after.held.units == before.held.units + total
        and after.available.units == before.available.units - total,
        f"{rupiah(after.held)} are held, {rupiah(after.available)} available, and the renewal is {renewal.state}",
    )
    stage.sees(f"renewal {renewal.period_number} is HELD: {rupiah(after.held)} held, {rupiah(after.available)} available")
    return total


def release(stage: Stage, instance_id: str, held: int) -> None:
    """What was paid ahead for a machine that was deleted comes back by itself."""
    stage.asks("read what became of the money paid ahead")

    def look() -> int | None:
        wallet = balance(stage)
        return wallet.available.units if wallet.held.units == 0 else None

    freed = until("the money paid ahead, released", look)
    renewal = newest_renewal(stage, instance_id)
    stage.check(renewal.state == Renewal.STATE_RELEASED and renewal.total.units == held, f"the renewal is {renewal.state}")
    stage.sees(f"the renewal is RELEASED: nothing held, {rupiah(freed)} available")


def newest_renewal(stage: Stage, instance_id: str) -> Renewal:
    request = ListRenewalsRequest(instance_id=instance_id, page_size=1)
    return stage.client.service(LifecycleServiceStub).ListRenewals(request).renewals[0]
