"""Checks that a webhook came from Sewa, as <https://www.standardwebhooks.com> describes, and makes signed deliveries for tests of a receiver.

The signature covers `id.timestamp.body`, so a captured delivery cannot be altered, nor replayed after the tolerance. Verify the raw bytes of the body: a parsed
and re-printed body is another text.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf import json_format

from .event.v1 import event_pb2

TOLERANCE = 300
"""Seconds the clocks of sender and receiver may be apart, and a captured delivery stays valid."""


class Why(enum.Enum):
    """Why a delivery is refused."""

    HEADERS = "a header is missing or malformed"
    TIMESTAMP = "the delivery is too old, or from the future"
    SIGNATURE = "no signature matches"


class Rejected(Exception):
    """A delivery that is not genuine."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True)
class Delivery:
    """A delivery whose signature is right."""

    id: str
    """The same for every repeat of one delivery: keep it to ignore repeats."""
    timestamp: int
    """When it was signed, in seconds of the Unix epoch."""
    event: event_pb2.Event | None
    """The event, unless the body is something else."""
    type: str | None
    """Name of the event's type, also of one this package does not know."""


def verify(
    secrets: Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float | None = None,
    tolerance: float = TOLERANCE,
) -> Delivery:
    """Verifies a delivery against shared secrets (`whsec_…`) and public keys (`whpk_…`); several are given while one is being rotated out.

    Raises `Rejected`, and `ValueError` for a malformed secret.
    """
    keys = [_key(secret) for secret in secrets]
    given = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, signatures = (given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not message_id or not signatures or not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 15:
        raise Rejected(Why.HEADERS)
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance:
        raise Rejected(Why.TIMESTAMP)
    signed = f"{message_id}.{timestamp}.".encode() + body
    # Every pair is tried to the end, and each comparison takes the same time wherever the bytes differ.
    genuine = False
    for entry in signatures.split(" "):
        scheme, _, encoded = entry.partition(",")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        for key in keys:
            genuine |= _fits(key, scheme, signature, signed)
    if not genuine:
        raise Rejected(Why.SIGNATURE)
    return Delivery(message_id, int(timestamp), *_event(body))


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Makes the headers of a genuine delivery, with a shared secret (`whsec_…`, scheme v1) or a private key (`whsk_…`, scheme v1a).

    Raises `ValueError` for a malformed secret.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    key = _key(secret)
    if isinstance(key, Ed25519PublicKey):
        raise ValueError("a public key cannot sign")
    scheme, signature = ("v1a", key.sign(signed)) if isinstance(key, Ed25519PrivateKey) else ("v1", _mac(key, signed))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"{scheme},{base64.b64encode(signature).decode()}",
    }


_Key = bytes | Ed25519PublicKey | Ed25519PrivateKey


def _key(secret: str) -> _Key:
    kind, _, encoded = secret.rpartition("_")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    match kind, len(raw):
        case "whsk", 64:
            return Ed25519PrivateKey.from_private_bytes(raw[:32])
        case "whpk", 32:
            return Ed25519PublicKey.from_public_bytes(raw)
        case "whsec" | "", length if length > 0:
            return raw
        case _:
            raise ValueError("the webhook secret is malformed")


def _mac(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, signed, hashlib.sha256).digest()


def _fits(key: _Key, scheme: str, signature: bytes, signed: bytes) -> bool:
    if isinstance(key, bytes):
        return scheme == "v1" and hmac.compare_digest(_mac(key, signed), signature)
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    if scheme != "v1a":
        return False
    try:
        public.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _event(body: bytes) -> tuple[event_pb2.Event | None, str | None]:
    try:
        event = json_format.Parse(body, event_pb2.Event(), ignore_unknown_fields=True)
        kind = json.loads(body).get("type")
    except (json_format.ParseError, ValueError):
        return None, None
    if not event.id:
        return None, None
    return event, kind if isinstance(kind, str) else event_pb2.EventType.Name(event.type) if event.type in event_pb2.EventType.values() else str(kind)
