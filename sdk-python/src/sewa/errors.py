"""What went wrong, typed: the reason, the fields at fault, and whether and when to try again.

Everything is taken from the standard details of a `google.rpc.Status`, so an error of a newer server, with a reason this package has never heard of, keeps
all it carries.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from .rules import RetryClass, contract

Headers = tuple[tuple[str, str | bytes], ...]

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class Clock(enum.Enum):
    """A clock of this side that ran out."""

    CALLER = "the time given by the caller is over"
    CONTRACT = "the time the contract allows is over"
    ATTEMPT = "one attempt took too long"


@dataclass(frozen=True)
class FieldViolation:
    """One field of the request that breaks a rule."""

    field: str
    """Path of the field, for example `items[2].plan_id`."""
    reason: str
    """The rule that is broken, for example `STRING_UUID`."""
    description: str
    """English text for the developer."""


@dataclass(frozen=True)
class QuotaViolation:
    """One quota that is used up."""

    subject: str
    metric: str
    limit: int
    description: str


@dataclass
class Details:
    """The standard details of a status. Malformed ones are left out: they must not hide the code and the message."""

    reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    retry_after: float | None = None
    fields: list[FieldViolation] = field(default_factory=list[FieldViolation])
    quotas: list[QuotaViolation] = field(default_factory=list[QuotaViolation])
    localized: str | None = None
    request_id: str | None = None

    @classmethod
    def read(cls, encoded: bytes) -> Details:
        details = cls()
        try:
            status = Status.FromString(encoded)
        except DecodeError:
            return details
        for part in status.details:
            try:
                details._add(part.type_url.rpartition("/")[2], part.value)
            except DecodeError:
                continue
        return details

    def _add(self, name: str, value: bytes) -> None:
        match name:
            case "google.rpc.ErrorInfo":
                info = error_details_pb2.ErrorInfo.FromString(value)
                self.reason = info.reason or None
                self.metadata = dict(info.metadata)
            case "google.rpc.RetryInfo":
                hint = error_details_pb2.RetryInfo.FromString(value)
                if hint.HasField("retry_delay"):
                    span = hint.retry_delay.seconds + hint.retry_delay.nanos / 1e9
                    self.retry_after = span if span >= 0 else None
            case "google.rpc.BadRequest":
                for found in error_details_pb2.BadRequest.FromString(value).field_violations:
                    self.fields.append(FieldViolation(found.field, found.reason, found.description))
            case "google.rpc.QuotaFailure":
                for quota in error_details_pb2.QuotaFailure.FromString(value).violations:
                    self.quotas.append(QuotaViolation(quota.subject, quota.quota_metric, quota.quota_value, quota.description))
            case "google.rpc.LocalizedMessage":
                self.localized = error_details_pb2.LocalizedMessage.FromString(value).message
            case "google.rpc.RequestInfo":
                self.request_id = error_details_pb2.RequestInfo.FromString(value).request_id or None
            case _:
                pass


class Error(grpc.RpcError):
    """An error of a call. Its text and its `repr` hold no secret."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        details: Details | None = None,
        *,
        headers: Headers = (),
        own_clock: Clock | None = None,
        unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self._code = code
        self._details = details or Details()
        self.message = message
        """English text for the developer."""
        self.headers = headers
        """Metadata of the answer. It can carry a session, so it is not printed."""
        self.own_clock = own_clock
        """Which clock of this side ran out; `None` where the server gave the answer, be it `DEADLINE_EXCEEDED`."""
        self.unsent = unsent
        """True if no connection was made, so the call surely never began."""
        self.attempts = 1
        """Attempts that were made."""
        self.idempotency_key: str | None = None
        """The key the call was made with. Repeating with it, even in another process, cannot do the work twice."""
        self._own_request_id: str | None = None

    def code(self) -> grpc.StatusCode:
        """The gRPC status code."""
        return self._code

    def details(self) -> str:
        """The message, under the name grpcio gives it."""
        return self.message

    @property
    def reason(self) -> str | None:
        """The stable reason, for example `INSUFFICIENT_BALANCE`; `None` where the answer did not come from a Sewa server."""
        return self._details.reason

    @property
    def metadata(self) -> dict[str, str]:
        """The facts the reason comes with. The catalogue of errors lists the keys of each reason."""
        return self._details.metadata

    @property
    def field_violations(self) -> list[FieldViolation]:
        """Every field of the request that breaks a rule, not only the first."""
        return self._details.fields

    @property
    def quota_violations(self) -> list[QuotaViolation]:
        """The quotas that are used up."""
        return self._details.quotas

    @property
    def localized_message(self) -> str | None:
        """Text for the end user, in the language asked for with `accept-language`."""
        return self._details.localized

    @property
    def request_id(self) -> str | None:
        """Names the call in the server's logs. Send it with a report."""
        return self._details.request_id or header(self.headers, "x-request-id") or self._own_request_id

    @property
    def retry(self) -> RetryClass:
        """What may be repeated. Calls have been repeated already, as often as the limits allow."""
        known = contract().reasons.get(self.reason or "")
        if known:
            return known.retry
        if self._code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return RetryClass.CALL
        return RetryClass.UNIT_OF_WORK if self._code == grpc.StatusCode.ABORTED else RetryClass.NOTHING

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait first."""
        if self._details.retry_after is not None:
            return self._details.retry_after
        # For answers made by a proxy that knows no RetryInfo.
        text = (header(self.headers, "retry-after") or "").strip()
        return float(text) if text.isascii() and text.isdigit() else None

    @property
    def remedy(self) -> str | None:
        """What the catalogue of errors advises, in one sentence."""
        known = contract().reasons.get(self.reason or "")
        return known.remedy if known else None

    def __str__(self) -> str:
        text = f"{self.reason or self._code.name}: {self.message}"
        for violation in self.field_violations:
            text += f"; {violation.field}: {violation.description}"
        return f"{text} (request {self.request_id})" if self.request_id else text

    def __repr__(self) -> str:
        return f"<sewa.Error {self._code.name} {self}>"

    @classmethod
    def expired(cls, clock: Clock) -> Error:
        """The error of a clock of this side that ran out."""
        return cls(grpc.StatusCode.DEADLINE_EXCEEDED, clock.value, own_clock=clock)

    @classmethod
    def of_status(cls, status: Status) -> Error:
        """The error inside a message, for example that of a failed operation."""
        code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
        code = grpc.StatusCode.UNKNOWN if code == grpc.StatusCode.OK else code
        return cls(code, status.message, Details.read(status.SerializeToString()))


# What grpcio says when no connection was made. It has no other sign of it.
_UNSENT = ("failed to connect to all addresses", "DNS resolution failed", "connections to all backends failing")


def of_answer(code: grpc.StatusCode, message: str | None, headers: Headers) -> Error:
    """Reads what grpcio reports of a failed call."""
    encoded = next((value for name, value in headers if name == "grpc-status-details-bin"), b"")
    details = Details.read(encoded if isinstance(encoded, bytes) else b"")
    text = message or ""
    # grpcio sees in a broken connection anything from CANCELLED to INTERNAL. For a caller it is one thing: the server is out of reach.
    if details.reason is None and "RST_STREAM" in text:
        code, text = grpc.StatusCode.UNAVAILABLE, f"the connection failed: {text}"
    unsent = code == grpc.StatusCode.UNAVAILABLE and details.reason is None and any(sign in text for sign in _UNSENT)
    return Error(code, text, details, headers=headers, unsent=unsent)


def plain(metadata: Iterable[tuple[str, str | bytes]] | None) -> Headers:
    """Metadata as grpcio gives it, as plain pairs."""
    return tuple((name, value) for name, value in metadata or ())


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header that is text."""
    return next((value for found, value in headers if found == name and isinstance(value, str)), None)
