"""What every step needs: who calls, how far the log of events was read, and how to wait for what is promised."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import sewa
from google.type.money_pb2 import Money
from sewa.api.v1 import Operation
from sewa.event.v1 import Event, EventServiceStub, EventType, WatchEventsRequest

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds anything may take. A server that was killed has to start, and the leases it held have to end, within this."""


class Broken(Exception):
    """A promise that was not kept."""


class Stage:
    """The demonstration under way."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client = connect(endpoint, sewa.Credentials())
        self._cursor = ""
        self._steps = 0

    def enter(self, client: sewa.Client) -> None:
        """The rest is played as somebody else, whose events are followed from here on."""
        self.client.close()
        self.client = client
        stream = client.service(EventServiceStub).WatchEvents(WatchEventsRequest(checkpoints=True))
        self._cursor = next(iter(stream)).cursor
        stream.cancel()

    def asks(self, what: str) -> None:
        """Begins a step: says what is asked for."""
        self._steps += 1
        print(f"{self._steps:>3}. {what}")

    def sees(self, what: str) -> None:
        """Ends a step: says what was observed."""
        print(f"     seen: {what}")

    def check(self, holds: bool, otherwise: str) -> None:
        """Fails the step unless what was promised holds."""
        if not holds:
            self._fail(otherwise)

    def _fail(self, what: str) -> NoReturn:
        raise Broken(f"step {self._steps}: {what}")

    def refused(self, call: Callable[[], object], reason: str) -> sewa.Error:
        """Fails the step unless the call is refused for this reason, and returns the refusal."""
        try:
            call()
        except sewa.Error as error:
            self.check(error.reason == reason, f"refused with {error} instead of {reason}")
            return error
        self._fail(f"allowed instead of refused with {reason}")

    def follow(self, subject_id: str, last: EventType.ValueType) -> list[Event]:
        """Reads the log on until something happens to a subject. Returns what happened to it up to then."""
        read: list[Event] = []
        for event in sewa.watch(self.client, resume_cursor=self._cursor, subject_id=subject_id):
            read.append(event)
            if event.type == last:
                break
        self._cursor = read[-1].cursor
        return read

    def finish(self, operation: Operation) -> str:
        """Waits until an operation has succeeded, and tells through which steps it went."""
        steps: list[str] = []
        sewa.wait(
            self.client, operation.id, timeout=PATIENCE, progress=lambda now: steps.append(f"{now.step} {now.progress_percent} %")
        )
        return ", ".join(steps)


def connect(endpoint: str, credentials: sewa.Credentials) -> sewa.Client:
    """A client that outlasts a restart of the server: calls are repeated until their time is over."""
    policy = sewa.RetryPolicy(max_attempts=10_000, max_delay=0.5, budget=10_000)
    return sewa.Client(endpoint, credentials, retry=policy, timeout=PATIENCE, attempt_timeout=10)


def until(what: str, look: Callable[[], T | None]) -> T:
    """Looks again and again until there is something to see."""
    end = time.monotonic() + PATIENCE
    while (seen := look()) is None:
        if time.monotonic() > end:
            raise Broken(f"{what} was not seen")
        time.sleep(0.1)
    return seen


def names(events: list[Event]) -> str:
    """The names of events in the contract, without their prefix."""
    return ", ".join(EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in events)


def idr(units: int) -> Money:
    """Whole rupiah."""
    return Money(currency_code="IDR", units=units)


def rupiah(money: Any) -> str:
    """Rupiah for people: `Rp1.234.567`."""
    units = money if isinstance(money, int) else money.units
    return f"{'-' if units < 0 else ''}Rp{abs(units):,}".replace(",", ".")
