"""The steps by the client for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import sewa
import sewa.aio
from google.protobuf import json_format, message_factory
from sewa.event.v1 import EventType

from .answers import Json, kind, printed, told_reply
from .by_threads import seconds


class ByAsyncio:
    def __init__(self, target: str, credentials: sewa.Credentials, options: Json) -> None:
        self.client = sewa.AsyncClient(target, credentials, **options)

    async def close(self) -> None:
        await self.client.close()

    async def call(self, step: Json) -> Json:
        client = self.client.with_options(max_attempts=step.get("attempts"), attempt_timeout=seconds(step, "attempt_timeout_ms"))
        work = client.call(
            step.get("raw") or step["call"],
            step.get("request") or {},
            timeout=seconds(step, "timeout_ms"),
            metadata=tuple(step.get("headers", {}).items()),
            idempotency_key=step.get("idempotency_key"),
        )
        if "cancel_after_ms" not in step:
            return told_reply(await work, raw="raw" in step)
        try:
            # Cancels the task.
            return told_reply(await asyncio.wait_for(work, step["cancel_after_ms"] / 1000), raw=False)
        except asyncio.TimeoutError:
            raise sewa.Error(grpc.StatusCode.CANCELLED, "by the caller") from None

    async def pages(self, step: Json, result: Json) -> None:
        rule = sewa.contract().methods["/" + step["pages"]].descriptor
        request = json_format.ParseDict(step.get("request") or {}, message_factory.GetMessageClass(rule.input_type)())
        listed = next(field.name for field in rule.output_type.fields if field.is_repeated)
        limit = step.get("limit", float("inf"))

        async def method(request: Any) -> Any:
            return (await self.client.call(step["pages"], request)).message

        if step.get("by") == "page":
            async for page in sewa.aio.pages(method, request):
                result["items"].extend(printed(item) for item in getattr(page, listed))
                if len(result["items"]) >= limit:
                    return
            return
        if limit == 0:
            return
        async for item in sewa.aio.items(method, request, lambda page: getattr(page, listed)):
            result["items"].append(printed(item))
            if len(result["items"]) >= limit:
                return

    async def wait(self, step: Json, result: Json) -> None:
        show = (lambda now: result["progress"].append(now.step)) if step.get("progress") else None
        done = await sewa.aio.wait(
            self.client, step["wait"]["operation_id"], timeout=seconds(step, "timeout_ms"), progress=show
        )
        result["operation"] = printed(done)

    async def watch(self, step: Json, result: Json) -> None:
        wanted = step["watch"]
        events: Any = sewa.aio.watch(
            self.client,
            resume_cursor=wanted.get("resumeCursor", ""),
            types=[EventType.Value(name) for name in wanted.get("types", [])],
            subject_id=wanted.get("subjectId", ""),
            silence=seconds(step, "silence_ms") or 60.0,
        )

        async def follow() -> None:
            async for event in events:
                result["events"].append({"id": event.id, "cursor": event.cursor, "type": kind(event)})
                if len(result["events"]) >= step.get("events", float("inf")):
                    break
            await events.aclose()

        try:
            await asyncio.wait_for(follow(), seconds(step, "timeout_ms") or 60.0)
        except asyncio.TimeoutError:
            result["late"] = True
