"""A case a line on stdin, an answer a line on stdout. Usage: `python -m conformance threads|asyncio`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from typing import Any

import sewa
from google.protobuf.timestamp_pb2 import Timestamp
from sewa.identity.v1 import Tokens

from .answers import Json, signed, told_error, verified
from .by_asyncio import ByAsyncio
from .by_threads import ByThreads

UNSUPPORTED = {
    "deadline-shrinks-with-each-attempt": "grpcio tells the server a deadline this long in whole seconds",
    "error-details-are-no-base64": "grpcio itself refuses such an answer, as INTERNAL",
}
WAYS: dict[str, Any] = {"threads": ByThreads, "asyncio": ByAsyncio}


def credentials(wanted: Json) -> sewa.Credentials:
    if "api_key" in wanted:
        return sewa.Credentials.api_key(wanted["api_key"])
    if "login" in wanted:
        return sewa.Credentials.login(wanted["login"]["email"], wanted["login"]["password"])
    if "session" in wanted:
        tokens = wanted["session"]
        end = Timestamp()
        end.FromMilliseconds(int(time.time() * 1000) + tokens["access_expires_in_ms"])
        return sewa.Credentials.session(
            Tokens(access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], access_expire_time=end)
        )
    env = dict(wanted.get("env", {}))
    for name, text in wanted.get("files", {}).items():
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(text)
        env[name] = file.name
    return sewa.Credentials.from_env(env)


def options(wanted: Json, observed: list[Json], notices: list[str]) -> Json:
    def observe(attempt: sewa.Attempt) -> None:
        told: Json = {"method": attempt.method, "attempt": attempt.number, "code": attempt.code.name}
        observed.append(told | ({"reason": attempt.reason} if attempt.reason else {}))

    default = sewa.RetryPolicy()
    backoff = wanted.get("backoff", {})
    policy = sewa.RetryPolicy(
        max_attempts=wanted.get("max_attempts", default.max_attempts),
        budget=wanted.get("retry_budget", default.budget),
        max_hint=wanted["max_hint_ms"] / 1000 if "max_hint_ms" in wanted else default.max_hint,
        first_delay=backoff["initial_ms"] / 1000 if "initial_ms" in backoff else default.first_delay,
        max_delay=backoff["max_ms"] / 1000 if "max_ms" in backoff else default.max_delay,
    )
    chosen: Json = {"retry": policy, "observer": observe, "on_notice": notices.append}
    for name in ("timeout", "attempt_timeout"):
        if f"{name}_ms" in wanted:
            chosen[name] = wanted[f"{name}_ms"] / 1000
    for name in ("locale", "user_agent"):
        if name in wanted:
            chosen[name] = wanted[name]
    return chosen


async def play(way: Any, request: Json) -> Json:
    observed: list[Json] = []
    notices: list[str] = []
    wanted = request.get("client") or {}
    who = credentials(wanted)
    client = way(request["target"], who, options(wanted, observed, notices))
    results: list[Json] = []
    last_error: sewa.Error | None = None
    for step in request["steps"]:
        before = len(observed)
        if "show" in step:
            shown = {"client": client.client, "credentials": who}.get(step["show"], last_error)
            results.append({"text": f"{shown!r} {shown}"})
        elif "webhook_verify" in step:
            results.append(verified(step["webhook_verify"]))
        elif "webhook_sign" in step:
            results.append(signed(step["webhook_sign"]))
        elif "close" in step:
            await client.close()
            results.append({"ok": {}})
        else:
            result: Json = {}
            try:
                if "parallel" in step:
                    result["parallel"] = await asyncio.gather(*(guarded(client, step) for _ in range(step["parallel"])))
                elif "pages" in step:
                    result.update(items=[], pages=0)
                    await client.pages(step, result)
                elif "wait" in step:
                    result["progress"] = []
                    await client.wait(step, result)
                elif "watch" in step:
                    result["events"] = []
                    await client.watch(step, result)
                else:
                    result.update(await client.call(step))
            except sewa.Error as error:
                last_error = error
                result["error"] = told_error(error)
            seen = observed[before:]
            if "pages" in step:
                result["pages"] = sum(one["code"] == "OK" for one in seen)
            if "watch" in step:
                result["connects"] = sum(one["method"] == "/sewa.event.v1.EventService/WatchEvents" for one in seen)
            results.append(result)
    await client.close()
    return {"case": request["case"], "results": results, "observed": observed, "notices": notices}


async def guarded(client: Any, step: Json) -> Json:
    try:
        told: Json = await client.call(step)
    except sewa.Error as error:
        return {"error": told_error(error)}
    return told


def main() -> None:
    way = WAYS[sys.argv[1]]
    for line in sys.stdin:
        request: Json = json.loads(line)
        if request["case"] in UNSUPPORTED:
            answer = {"case": request["case"], "unsupported": UNSUPPORTED[request["case"]]}
        elif request["transport"] == "grpc":
            answer = asyncio.run(play(way, request))
        else:
            answer = {"case": request["case"], "unsupported": "grpcio speaks gRPC over HTTP/2 only"}
        print(json.dumps(answer), flush=True)


main()
