"""Client of the Sewa platform. `Client` is for threads, `AsyncClient` for asyncio; stubs and messages are in `sewa.<service>.v1`."""

from ._version import VERSION as __version__
from .aio import AsyncClient
from .call import Attempt, Observer
from .client import Client, Reply
from .credentials import Credentials
from .errors import Clock, Error, FieldViolation, QuotaViolation
from .follow import items, pages, wait, watch
from .retry import RetryPolicy
from .rules import MethodRule, ReasonRule, Repeat, RetryClass, contract, contract_digest

__all__ = [
    "AsyncClient",
    "Attempt",
    "Client",
    "Clock",
    "Credentials",
    "Error",
    "FieldViolation",
    "MethodRule",
    "Observer",
    "QuotaViolation",
    "ReasonRule",
    "Repeat",
    "Reply",
    "RetryClass",
    "RetryPolicy",
    "__version__",
    "contract",
    "contract_digest",
    "items",
    "pages",
    "wait",
    "watch",
]
