"""One call: the headers it needs, its clocks, and what follows each attempt. Decides everything and does no I/O; `client` and `aio` carry it out."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import grpc

from .errors import Clock, Error, Headers, header
from .retry import Budget, RetryPolicy, chance
from .rules import MethodRule, Repeat, RetryClass, Rules, contract, contract_digest

log = logging.getLogger("sewa")

KEY = "idempotency-key"
REQUEST_ID = "x-request-id"


@dataclass(frozen=True)
class Attempt:
    """One attempt of a call, after it ended."""

    method: str
    """Path of the method, `/package.Service/Method`."""
    request_id: str
    """The id all attempts of one call share."""
    number: int
    """Number of the attempt, from 1."""
    code: grpc.StatusCode
    """How it ended. A stream counts as OK once it is open."""
    reason: str | None
    """The reason, if it failed and the server gave one."""
    elapsed: float
    """Seconds it took."""
    repeat_after: float | None
    """Seconds to the next attempt; `None` after the last one."""


Observer = Callable[[Attempt], None]
"""Receives every attempt, for metrics and traces. Called on the path of the call, so it must not block."""


@dataclass(frozen=True)
class Bearer:
    """Credentials ready to send, and which renewal they came from."""

    header: str = field(repr=False)
    renewal: int = 0


@dataclass(frozen=True)
class CallOptions:
    """What calls may do differently from their client's settings."""

    max_attempts: int | None = None
    attempt_timeout: float | None = None

    def over(self, base: CallOptions) -> CallOptions:
        """These, with the gaps filled from others."""
        return CallOptions(
            base.max_attempts if self.max_attempts is None else self.max_attempts,
            base.attempt_timeout if self.attempt_timeout is None else self.attempt_timeout,
        )


class Notices:
    """Says once what an operator should hear: a method is going away, or the server speaks another contract."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._said: set[str] = set()

    def read(self, path: str, headers: Headers) -> None:
        """Looks at the headers of an answer."""
        for name, value in headers:
            if name == "x-sewa-contract" and value != contract_digest() and self._first("contract"):
                self._say(
                    f"the server's contract {value!r} is not the one this SDK was generated from, {contract_digest()}; "
                    "calls work as far as both know them"
                )
            elif name in ("deprecation", "warning", "warnings") and self._first(path):
                sunset = header(headers, "sunset") or "not announced"
                self._say(f"the server warns about {path}, {name}: {value!r}; sunset: {sunset}")

    def _first(self, what: str) -> bool:
        with self._lock:
            if what in self._said:
                return False
            self._said.add(what)
            return True


@dataclass
class Core:
    """What all calls of a client share."""

    policy: RetryPolicy
    options: CallOptions
    observer: Observer | None
    notices: Notices
    budget: Budget
    headers: Headers = ()
    timeout: float | None = None
    rules: Rules = field(default_factory=contract)

    @classmethod
    def new(
        cls,
        retry: RetryPolicy | None,
        timeout: float | None,
        attempt_timeout: float | None,
        observer: Observer | None,
        on_notice: Callable[[str], None] | None,
        locale: str | None,
    ) -> Core:
        policy = retry or RetryPolicy()
        headers = (("accept-language", locale),) if locale else ()
        return cls(policy, CallOptions(None, attempt_timeout), observer, Notices(on_notice or log.warning), Budget(policy), headers, timeout)

    def with_options(self, options: CallOptions) -> Core:
        """The same, shared, with other options."""
        return replace(self, options=options.over(self.options))


RENEW = "renew"
"""What follows an attempt: the credentials are to be renewed."""


class Plan:
    """A call under way."""

    def __init__(
        self, core: Core, path: str, timeout: float | None, metadata: Iterable[tuple[str, str | bytes]] | None, *, stream: bool = False
    ) -> None:
        self.core = core
        self.path = path
        self._stream = stream
        self.rule: MethodRule | None = core.rules.methods.get(path)
        self.attempts = 0
        self._renewed = False
        given: dict[str, str | bytes] = {}
        headers: list[tuple[str, str | bytes]] = []
        for name, value in (*core.headers, *(metadata or ())):
            headers.append((name, value))
            given[name.lower()] = value
        if REQUEST_ID not in given:
            given[REQUEST_ID] = str(uuid.uuid4())
            headers.append((REQUEST_ID, given[REQUEST_ID]))
        if KEY not in given and self.rule is not None and self.rule.repeat is Repeat.KEYED:
            given[KEY] = str(uuid.uuid4())
            headers.append((KEY, given[KEY]))
        self.has_own_credentials = "authorization" in given
        self._headers = headers
        self.request_id = str(given[REQUEST_ID])
        key = given.get(KEY)
        self.key = None if key is None else str(key)
        now = time.monotonic()
        if timeout is None and not stream:
            timeout = core.timeout
        self._deadline: float | None = None
        self._clock = Clock.CALLER
        if timeout is not None:
            self._deadline = now + timeout
        elif self.rule is not None and self.rule.default_timeout is not None:
            self._deadline, self._clock = now + self.rule.default_timeout, Clock.CONTRACT
        self._started = now
        self._limit: tuple[float, Clock] | None = None

    @property
    def public(self) -> bool:
        """Whether the method works without credentials."""
        return self.rule is not None and self.rule.public

    def begin(self) -> float | None:
        """Begins an attempt; returns the seconds left for the call."""
        self.attempts += 1
        self._started = time.monotonic()
        return self.left()

    def left(self) -> float | None:
        """Seconds left for the call.

        Raises `Error` if there are none.
        """
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.final(Error.expired(self._clock))
        return left

    def head(self, bearer: Bearer | None) -> tuple[Headers, float | None]:
        """Metadata of this attempt, and its seconds."""
        headers = list(self._headers)
        if bearer is not None:
            headers.append(("authorization", bearer.header))
        if self.attempts > 1:
            headers.append(("x-sewa-retry-count", str(self.attempts - 1)))
        now = time.monotonic()
        self._limit = None if self._deadline is None else (self._deadline, self._clock)
        # A stream is meant to last.
        own = None if self._stream else self.core.options.attempt_timeout
        if own is not None and (self._limit is None or now + own < self._limit[0]):
            self._limit = (now + own, Clock.ATTEMPT)
        # grpcio rounds up what it tells the server.
        return tuple(headers), None if self._limit is None else max(self._limit[0] - now - 0.002, 0.0)

    def answered(self, headers: Headers) -> None:
        """The attempt succeeded."""
        self.core.budget.succeeded()
        self._observe(grpc.StatusCode.OK, None, None)
        self.core.notices.read(self.path, headers)

    def failed(self, error: Error, used: Bearer | None) -> float | str:
        """The attempt failed. Returns the seconds to wait before the next one, or `RENEW`; raises the error if it is final."""
        error = self._timed(error)
        following = self._following(error, used)
        self._observe(error.code(), error.reason, 0.0 if following == RENEW else following)
        if following is None:
            raise self.final(error)
        return following

    def opened(self, error: Error | None, used: Bearer | None, headers: Headers) -> bool:
        """A stream was opened, or was not. Whether to renew and open it again: it is not opened twice once it runs, because only its reader knows how far
        it came."""
        if error is None:
            self._observe(grpc.StatusCode.OK, None, None)
            self.core.notices.read(self.path, headers)
            return False
        renew = error.reason == "TOKEN_EXPIRED" and used is not None and not self._renewed
        self._renewed = self._renewed or renew
        self._observe(error.code(), error.reason, 0.0 if renew else None)
        return renew

    def final(self, error: Error) -> Error:
        """Adds to a failure the request id to report and the key to repeat with."""
        error._own_request_id = self.request_id  # pyright: ignore[reportPrivateUsage]
        error.idempotency_key = self.key
        error.attempts = max(self.attempts, 1)
        return error

    def _timed(self, error: Error) -> Error:
        """Tells our own time-out from one of the server, which gives a reason."""
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or error.reason is not None or self._limit is None:
            return error
        end, clock = self._limit
        # A timer may fire a little early by another clock.
        return Error.expired(clock) if time.monotonic() >= end - 0.005 else error

    def _following(self, error: Error, used: Bearer | None) -> float | str | None:
        if error.reason == "TOKEN_EXPIRED":
            # Once: a server that finds a token expired which it has just issued will not change its mind.
            if used is None or self._renewed:
                return None
            self._renewed = True
            return RENEW
        most = self.core.options.max_attempts or self.core.policy.max_attempts
        if not self._repeatable(error) or not self.core.budget.failed() or self.attempts >= most:
            return None
        delay = self.core.policy.delay(self.attempts, error.retry_after, chance())
        # Better the server's own words now than a time-out later.
        if self._deadline is not None and time.monotonic() + delay >= self._deadline:
            return None
        return delay

    def _repeatable(self, error: Error) -> bool:
        if error.own_clock in (Clock.CALLER, Clock.CONTRACT):
            return False
        code = error.code()
        known = self.core.rules.reasons.get(error.reason or "")
        if known is not None:
            advised = known.retry is RetryClass.CALL
        elif code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
            advised = error.retry_after is not None
        else:
            advised = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        if self.rule is None or self.rule.repeat is Repeat.UNSAFE:
            # Only what surely never began: the connection was not made, or the call was turned away at the door.
            return error.unsent or (advised and code is grpc.StatusCode.RESOURCE_EXHAUSTED)
        return advised

    def _observe(self, code: grpc.StatusCode, reason: str | None, repeat_after: float | str | None) -> None:
        if self.core.observer is not None:
            wait = repeat_after if isinstance(repeat_after, float) else None
            elapsed = time.monotonic() - self._started
            self.core.observer(Attempt(self.path, self.request_id, self.attempts, code, reason, elapsed, wait))


def channel_options(user_agent: str | None, version: str, extra: Iterable[tuple[str, object]]) -> list[tuple[str, object]]:
    """Settings of the connections."""
    name = f"sewa-sdk-python/{version}"
    return [
        ("grpc.primary_user_agent", f"{name} {user_agent}" if user_agent else name),
        # Repeats are ours: grpcio knows neither the keys nor the catalogue of errors.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # In spite of its name the time in which a connection has to be made: handshakes with a server far away or busy take a while.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # A connection that died silently is noticed before the next call would hang on it.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        *extra,
    ]


def address_of(endpoint: str) -> tuple[str, bool]:
    """Host and port of `http://…` or `https://…`, and whether the connection is encrypted.

    Raises `ValueError` for anything else.
    """
    scheme, separator, rest = endpoint.partition("://")
    host = rest.rstrip("/")
    if not separator or scheme not in ("http", "https") or not host or "/" in host:
        raise ValueError(f"an endpoint is http:// or https:// with a host, and a port if need be, not {endpoint!r}")
    if ":" not in host.rpartition("]")[2]:
        host += ":443" if scheme == "https" else ":80"
    return host, scheme == "https"
