"""What the runtime costs over the bare stub on a call that does nothing, as a ratio of medians. Usage: `python overhead.py`."""

import statistics
import time
from collections.abc import Callable

import grpc
from sewa.fake import Fake
from sewa.meta.v1 import GetServerInfoRequest, GetServerInfoResponse, MetaServiceStub

ROUNDS, CALLS = 20, 200


def span(call: Callable[[GetServerInfoRequest], object]) -> float:
    """Seconds of some calls."""
    request = GetServerInfoRequest()
    begun = time.perf_counter()
    for _ in range(CALLS):
        call(request)
    return time.perf_counter() - begun


with Fake() as fake, fake.client() as client, grpc.insecure_channel(fake.endpoint.removeprefix("http://")) as channel:
    fake.on("sewa.meta.v1.MetaService/GetServerInfo", lambda request, context: GetServerInfoResponse())
    calls = [MetaServiceStub(channel).GetServerInfo, client.service(MetaServiceStub).GetServerInfo]
    for call in calls:
        span(call)
    # In turns, so that both see the same machine.
    spans = [[span(call) for call in calls] for _ in range(ROUNDS)]
    bare, ours = (statistics.median(column) for column in zip(*spans, strict=True))
    print(f"python overhead of the runtime over the bare stub: {ours / bare:.2f}")
