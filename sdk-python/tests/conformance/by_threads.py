"""The steps by the client for threads."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import grpc
import sewa
from google.protobuf import json_format, message_factory
from sewa.event.v1 import EventType

from .answers import Json, kind, printed, told_reply


def seconds(step: Json, name: str) -> float | None:
    return step[name] / 1000 if name in step else None


class ByThreads:
    def __init__(self, target: str, credentials: sewa.Credentials, options: Json) -> None:
        self.client = sewa.Client(target, credentials, **options)

    async def close(self) -> None:
        await asyncio.to_thread(self.client.close)

    def _for(self, step: Json) -> sewa.Client:
        return self.client.with_options(max_attempts=step.get("attempts"), attempt_timeout=seconds(step, "attempt_timeout_ms"))

    async def call(self, step: Json) -> Json:
        if "cancel_after_ms" in step:
            return await asyncio.to_thread(self._cancelled, step)
        name = step.get("raw") or step["call"]
        reply = await asyncio.to_thread(
            self._for(step).call,
            name,
            step.get("request") or {},
            timeout=seconds(step, "timeout_ms"),
            metadata=tuple(step.get("headers", {}).items()),
            idempotency_key=step.get("idempotency_key"),
        )
        return told_reply(reply, raw="raw" in step)

    def _cancelled(self, step: Json) -> Json:
        rule = sewa.contract().methods["/" + step["call"]].descriptor
        request = json_format.ParseDict(step.get("request") or {}, message_factory.GetMessageClass(rule.input_type)())
        reply = message_factory.GetMessageClass(rule.output_type)
        method: Any = self._for(step).channel.unary_unary("/" + step["call"], type(request).SerializeToString, reply.FromString)
        future = method.future(request, timeout=seconds(step, "timeout_ms"))
        try:
            return {"ok": printed(future.result(timeout=step["cancel_after_ms"] / 1000))}
        except grpc.FutureTimeoutError:
            future.cancel()
            return {"ok": printed(future.result(timeout=30))}

    async def pages(self, step: Json, result: Json) -> None:
        await asyncio.to_thread(self._pages, step, result)

    def _pages(self, step: Json, result: Json) -> None:
        rule = sewa.contract().methods["/" + step["pages"]].descriptor
        request = json_format.ParseDict(step.get("request") or {}, message_factory.GetMessageClass(rule.input_type)())
        listed = next(field.name for field in rule.output_type.fields if field.is_repeated)
        limit = step.get("limit", float("inf"))

        def method(request: Any) -> Any:
            return self.client.call(step["pages"], request).message

        if step.get("by") == "page":
            for page in sewa.pages(method, request):
                result["items"].extend(printed(item) for item in getattr(page, listed))
                if len(result["items"]) >= limit:
                    return
            return
        if limit == 0:
            return
        for item in sewa.items(method, request, lambda page: getattr(page, listed)):
            result["items"].append(printed(item))
            if len(result["items"]) >= limit:
                return

    async def wait(self, step: Json, result: Json) -> None:
        show = (lambda now: result["progress"].append(now.step)) if step.get("progress") else None
        wait = sewa.wait
        done = await asyncio.to_thread(
            wait, self.client, step["wait"]["operation_id"], timeout=seconds(step, "timeout_ms"), progress=show
        )
        result["operation"] = printed(done)

    async def watch(self, step: Json, result: Json) -> None:
        wanted = step["watch"]
        silence = seconds(step, "silence_ms") or 60.0
        events = sewa.watch(
            self.client,
            resume_cursor=wanted.get("resumeCursor", ""),
            types=[EventType.Value(name) for name in wanted.get("types", [])],
            subject_id=wanted.get("subjectId", ""),
            silence=silence,
        )

        def follow() -> None:
            for event in events:
                result["events"].append({"id": event.id, "cursor": event.cursor, "type": kind(event)})
                if len(result["events"]) >= step.get("events", float("inf")):
                    break
            events.close()  # type: ignore[attr-defined] # a generator

        ended = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                follow()
            except BaseException as error:
                failure.append(error)
            ended.set()

        # A blocking iterator ends early only with its client; a case that gives a limit is over then.
        threading.Thread(target=run, daemon=True).start()
        limit = time.monotonic() + (seconds(step, "timeout_ms") or 60.0)
        await asyncio.to_thread(ended.wait, limit - time.monotonic())
        if not ended.is_set():
            result["late"] = True
        if failure:
            raise failure[0]
