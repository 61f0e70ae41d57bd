"""What the contract says about each method and each error reason, read from the descriptors of the generated stubs.

Nothing in here names a method, so an RPC added to the contract is obeyed as soon as its stub is generated.
"""

from __future__ import annotations

import enum
import functools
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.descriptor import EnumDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from . import _contract_pb2
from .api.v1 import options_pb2


class Repeat(enum.Enum):
    """Whether a method may be repeated when it is not known if the first try took effect."""

    UNSAFE = "never: it is no read, takes no key, and is not idempotent"
    FREE = "freely: a read, or a write that is idempotent by itself"
    KEYED = "with the same idempotency key"


class RetryClass(enum.IntEnum):
    """What a client may repeat after an error, from the boldest to the most careful."""

    CALL = 1
    """The same call, with the same idempotency key."""
    UNIT_OF_WORK = 2
    """A new call, after reading the state again."""
    NOTHING = 3
    """Nothing: repeating cannot help until something else changes."""


@dataclass(frozen=True)
class MethodRule:
    """The rule of one method."""

    descriptor: MethodDescriptor
    repeat: Repeat
    public: bool
    """True where the method can be called without credentials."""
    default_timeout: float | None
    """Seconds a call may take when the caller does not say."""


@dataclass(frozen=True)
class ReasonRule:
    """The rule of one error reason."""

    code: str
    retry: RetryClass
    remedy: str
    """What the caller should do, in one sentence."""


@dataclass
class Rules:
    """The rules of a contract: methods by path, `/package.Service/Method`, and error reasons by name."""

    methods: dict[str, MethodRule] = field(default_factory=dict[str, MethodRule])
    reasons: dict[str, ReasonRule] = field(default_factory=dict[str, ReasonRule])

    @classmethod
    def read(cls, files: Iterable[FileDescriptor]) -> Rules:
        """Reads any descriptors that declare their rules with the `sewa.api.v1` options."""
        rules = cls()
        for file in files:
            for service in file.services_by_name.values():
                for method in service.methods:
                    rules.methods[f"/{service.full_name}/{method.name}"] = _method_rule(method)
            for found in file.enum_types_by_name.values():
                if found.name.endswith("ErrorReason"):
                    rules._add_reasons(found)
        return rules

    def _add_reasons(self, reasons: EnumDescriptor) -> None:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", reasons.name).upper() + "_"
        for value in reasons.values:
            if not value.GetOptions().HasExtension(options_pb2.error):
                continue
            declared = value.GetOptions().Extensions[options_pb2.error]
            retry = RetryClass(declared.retry) if 1 <= declared.retry <= 3 else RetryClass.NOTHING
            name = value.name.removeprefix(prefix)
            known = self.reasons.get(name)
            # Two services may use one word; the careful advice wins, because a needless error is cheaper than a wrong repeat.
            if known is None or known.retry < retry:
                self.reasons[name] = ReasonRule(declared.code, retry, declared.remedy)


@functools.cache
def contract() -> Rules:
    """The rules of the contract this package was generated from."""
    return Rules.read(importlib.import_module(name).DESCRIPTOR for name in _contract_pb2.MODULES)


def contract_digest() -> str:
    """SHA-256 of the contract this package was generated from, in hexadecimal: what a server sends as `x-sewa-contract`."""
    return _contract_pb2.DIGEST


def _method_rule(method: MethodDescriptor) -> MethodRule:
    declared = method.GetOptions().Extensions[options_pb2.method]
    level = method.GetOptions().idempotency_level
    if declared.idempotency in (options_pb2.IDEMPOTENCY_MODE_KEY_OPTIONAL, options_pb2.IDEMPOTENCY_MODE_KEY_REQUIRED):
        repeat = Repeat.KEYED
    elif declared.idempotency == options_pb2.IDEMPOTENCY_MODE_NONE and level in (
        MethodOptions.NO_SIDE_EFFECTS,
        MethodOptions.IDEMPOTENT,
    ):
        repeat = Repeat.FREE
    else:
        repeat = Repeat.UNSAFE
    span = declared.deadline.default
    seconds = span.seconds + span.nanos / 1e9
    return MethodRule(method, repeat, declared.public, seconds or None)
