"""Waiting, watching and paging: what is decided between the calls. `wait`, `watch`, `pages` and `items` carry it out for threads; `aio` has their twins."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc

from .api.v1 import operation_pb2 as operations
from .call import log
from .client import Client
from .errors import Clock, Error
from .event.v1 import event_pb2, event_pb2_grpc
from .operation.v1 import operation_pb2, operation_pb2_grpc
from .retry import RetryPolicy, chance
from .rules import RetryClass

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")

SILENCE = 60.0
"""The server sends a checkpoint about every 15 s, so a stream silent for so many seconds is dead, whatever the connection says."""

# One long poll: short enough for proxies that cut idle connections after a minute. With progress, a server answers when the operation is final or the time is
# over, not at every step.
_POLL = 30.0
_PROGRESS_POLL = 1.0
# What the answer may take on top.
_SLACK = 5.0
# Ids remembered to recognise repeats. A server repeats at most what it sent around the moment of a cut.
_REMEMBERED = 4096
_INCURABLE = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.DATA_LOSS,
)


class Waiting:
    """An operation that is waited for."""

    def __init__(
        self, policy: RetryPolicy, operation_id: str, timeout: float | None, progress: Callable[[operations.Operation], None] | None
    ) -> None:
        self._policy, self._id, self._progress = policy, operation_id, progress
        self._end = None if timeout is None else time.monotonic() + timeout
        self._span = _POLL if progress is None else 0.0
        self._seen: tuple[int, int, str] | None = None
        self._idle = 0
        self._asked = self._now = 0.0

    def _left(self) -> float | None:
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def poll(self) -> tuple[operation_pb2.WaitOperationRequest, float]:
        """The next look, and the seconds it may take. Raises `Error` when the time is over."""
        left = self._left()
        if left == 0.0:
            raise Error.expired(Clock.CALLER)
        self._now = self._span if left is None else min(self._span, left)
        self._asked = time.monotonic()
        request = operation_pb2.WaitOperationRequest(operation_id=self._id)
        request.timeout.FromMicroseconds(int(self._now * 1e6))
        return request, self._now + _SLACK

    def answered(self, operation: operations.Operation) -> bool:
        """Whether the operation has succeeded. Raises its own `Error` if it failed or was cancelled."""
        mark = (operation.state, operation.progress_percent, operation.step)
        if self._seen != mark:
            if self._progress is not None:
                self._progress(operation)
                self._span = _PROGRESS_POLL
            self._seen = mark
            self._idle = 0
        match operation.state:
            case operations.Operation.STATE_SUCCEEDED:
                return True
            case operations.Operation.STATE_CANCELLED:
                raise Error(grpc.StatusCode.CANCELLED, "the operation was cancelled")
            case operations.Operation.STATE_FAILED:
                raise Error.of_status(operation.error)
            case operations.Operation.STATE_PENDING | operations.Operation.STATE_RUNNING:
                return False
            case _:
                # States of a later contract are final when they have a finish time.
                if operation.HasField("finish_time"):
                    raise Error.of_status(operation.error)
                return False

    def pause(self, error: Error | None) -> float:
        """Seconds to the next look. A server out of reach is waited for, because the operation does not depend on who watches it; any other error is
        raised."""
        if error is not None and error.retry is not RetryClass.CALL:
            raise error
        # A server may answer before the time is over; it is not to be asked in a tight loop for that.
        if error is None and time.monotonic() - self._asked >= min(self._now / 2, 1.0):
            return 0.0
        self._idle += 1
        delay = self._policy.delay(self._idle, error.retry_after if error else None, chance())
        left = self._left()
        return delay if left is None else min(delay, left)


class Following:
    """The event log as far as it was read."""

    def __init__(self, policy: RetryPolicy, resume_cursor: str, types: Iterable[int], subject_id: str) -> None:
        self._policy, self._cursor, self._types, self._subject = policy, resume_cursor, list(types), subject_id
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._cuts = 0
        self._heard = False

    def request(self) -> event_pb2.WatchEventsRequest:
        """Asks for what comes after what was read."""
        self._heard = False
        request = event_pb2.WatchEventsRequest(resume_cursor=self._cursor, subject_id=self._subject, checkpoints=True)
        request.types.extend(self._types)  # type: ignore[arg-type] # numbers this contract does not know yet are allowed
        return request

    def read(self, message: event_pb2.WatchEventsResponse) -> event_pb2.Event | None:
        """The event of a message, unless it has none or was there before."""
        self._heard, self._cuts, self._cursor = True, 0, message.cursor
        if not message.HasField("event") or message.event.id in self._recent:
            return None
        self._recent[message.event.id] = None
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return message.event

    def cut(self, error: Error) -> float:
        """Seconds to wait before going on. Raises the error if a new connection cannot cure it."""
        # Opening renews an expired token. If opening itself ends so, there is nothing to renew it with.
        if error.reason == "TOKEN_EXPIRED":
            curable = self._heard
        else:
            curable = error.code() not in _INCURABLE
        if not curable:
            raise error
        self._cuts += 1
        delay = self._policy.delay(self._cuts, error.retry_after, chance())
        log.debug("the watch is resumed in %.1f s after %s", delay, error)
        return delay


def ended() -> Error:
    """The error of a stream that ended without one."""
    return Error(grpc.StatusCode.UNAVAILABLE, "the stream ended")


def next_token(request: Any, reply: Any) -> str:
    """Token of the next page, empty at the end. Raises `Error` if the server would have the same page read for ever."""
    token: str = reply.next_page_token
    if token and token == request.page_token:
        raise Error(grpc.StatusCode.INTERNAL, "the server answered a page with its own token")
    return token


def wait(
    client: Client, operation_id: str, *, timeout: float | None = None, progress: Callable[[operations.Operation], None] | None = None
) -> operations.Operation:
    """Waits until an operation succeeded, and returns it. If it failed or was cancelled, the `Error` is the operation's own.

    `timeout` is in seconds; when it is over the operation goes on, and can be waited for again by its id. `progress` is shown the operation at once, and again
    when it got further.
    """
    waiting = Waiting(client.policy, operation_id, timeout, progress)
    while True:
        request, span = waiting.poll()
        failure: Error | None = None
        try:
            # A long poll is meant to take long, whatever the client's time for an attempt is.
            stub = client.with_options(attempt_timeout=span).service(operation_pb2_grpc.OperationServiceStub)
            operation = stub.WaitOperation(request, timeout=span).operation
        except Error as error:
            failure = error
        else:
            if waiting.answered(operation):
                return operation
        time.sleep(waiting.pause(failure))


def watch(
    client: Client, *, resume_cursor: str = "", types: Iterable[int] = (), subject_id: str = "", silence: float = SILENCE
) -> Iterator[event_pb2.Event]:
    """Follows the event log without loss and without repeats, across lost connections, restarts of servers and expired tokens.

    Begins after `resume_cursor`, normally that of the last event dealt with, or now. Keep the `cursor` of each event once it is dealt with. It ends only with
    an `Error` that a new connection cannot cure. One of them is `CURSOR_EXPIRED`: list the resources again, then watch from the metadata's `oldest_cursor`.
    """
    following = Following(client.policy, resume_cursor, types, subject_id)
    stub = client.service(event_pb2_grpc.EventServiceStub)
    while True:
        error = ended()
        stream = stub.WatchEvents(following.request())
        guard = _Guard(stream.cancel, silence)
        try:
            for message in stream:
                guard.rest()
                event = following.read(message)
                if event is not None:
                    yield event
                guard.listen()
        except Error as cut:
            error = Error.expired(Clock.ATTEMPT) if guard.silent else cut
        finally:
            guard.stop()
            stream.cancel()
        time.sleep(following.cut(error))


class _Guard:
    """Cancels a stream that has been silent for too long."""

    def __init__(self, cancel: Callable[[], object], silence: float) -> None:
        self.silent = False
        self._cancel, self._silence = cancel, silence
        self._changed = threading.Condition()
        self._until: float | None = time.monotonic() + silence
        self._stopped = False
        threading.Thread(target=self._run, name="sewa-watch", daemon=True).start()

    def _set(self, until: float | None, stopped: bool = False) -> None:
        with self._changed:
            self._until, self._stopped = until, stopped
            self._changed.notify()

    def rest(self) -> None:
        """The reader is busy."""
        # Without waking the thread: it looks at the time when it wakes.
        self._until = None

    def listen(self) -> None:
        """The reader waits for the next message."""
        self._until = time.monotonic() + self._silence

    def stop(self) -> None:
        """The stream has ended."""
        self._set(None, stopped=True)

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                until = self._until
                left = self._silence if until is None else until - time.monotonic()
                if left <= 0:
                    self.silent = True
                    self._cancel()
                    return
                self._changed.wait(left)


def pages(method: Callable[[Q], R], request: Q) -> Iterator[R]:
    """The pages of a list, each asked for when it is wanted: `pages(stub.ListOrders, ListOrdersRequest())`."""
    asked: Any = type(request)()
    asked.CopyFrom(request)
    while True:
        reply = method(asked)
        yield reply
        token = next_token(asked, reply)
        if not token:
            return
        asked.page_token = token


def items(method: Callable[[Q], R], request: Q, pick: Callable[[R], Iterable[T]]) -> Iterator[T]:
    """The items of a list: `items(stub.ListOrders, ListOrdersRequest(), lambda page: page.orders)`."""
    for page in pages(method, request):
        yield from pick(page)
