"""Errors, messages and events as the driver wants them."""

from __future__ import annotations

from typing import Any

import sewa
from google.protobuf import json_format
from google.protobuf.message import Message
from sewa import webhook
from sewa.event.v1 import Event, EventType

Json = dict[str, Any]


def printed(message: Message) -> Json:
    """Protobuf JSON."""
    told: Json = json_format.MessageToDict(message)
    return told


def told_error(error: sewa.Error) -> Json:
    told: Json = {
        "code": error.code().name,
        "message": error.message,
        "metadata": error.metadata,
        "fields": [{"field": one.field, "reason": one.reason} for one in error.field_violations],
        "own_timeout": error.own_clock is not None,
        "retry": error.retry.name,
        "attempts": error.attempts,
    }
    if error.reason:
        told["reason"] = error.reason
    if error.request_id:
        told["request_id"] = error.request_id
    if error.idempotency_key:
        told["idempotency_key"] = error.idempotency_key
    if error.retry_after is not None:
        told["retry_after_ms"] = round(error.retry_after * 1000)
    return told


def kind(event: Event) -> str:
    """The type by name, or by number if it is of a later contract."""
    return EventType.Name(event.type) if event.type in EventType.values() else str(event.type)


def told_reply(reply: sewa.Reply, *, raw: bool) -> Json:
    told: Json = {"ok": printed(reply.message), "replayed": reply.replayed, "request_id": reply.request_id, "attempts": reply.attempts}
    if raw:
        told["headers"] = {name: value if isinstance(value, str) else value.hex() for name, value in reply.headers}
    return told


def verified(wanted: Json) -> Json:
    try:
        delivery = webhook.verify(
            wanted["secrets"],
            wanted["headers"],
            wanted["body"].encode(),
            now=wanted["now"],
            tolerance=wanted.get("tolerance_s", webhook.TOLERANCE),
        )
    except webhook.Rejected as rejected:
        return {"webhook": {"ok": False, "why": rejected.why.name}}
    told: Json = {"ok": True, "id": delivery.id}
    if delivery.event is not None:
        told["type"] = delivery.type
        told["event"] = printed(delivery.event)
    return {"webhook": told}


def signed(wanted: Json) -> Json:
    return {"headers": webhook.sign(wanted["secret"], wanted["id"], wanted["timestamp"], wanted["body"].encode())}
