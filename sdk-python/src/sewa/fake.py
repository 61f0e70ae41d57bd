"""A server in this process for tests of programs that use the SDK: real gRPC over a local port, with answers of your own.

>>> from sewa.fake import Fake
>>> from sewa.wallet.v1 import GetWalletRequest, GetWalletResponse, WalletServiceStub
>>> with Fake() as fake, fake.client() as client:
...     fake.on("sewa.wallet.v1.WalletService/GetWallet", lambda request, context: GetWalletResponse())
...     reply = client.service(WalletServiceStub).GetWallet(GetWalletRequest())
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from types import TracebackType
from typing import Any

import grpc
from google.protobuf import any_pb2, message_factory
from google.rpc import error_details_pb2, status_pb2

from .client import Client
from .credentials import Credentials
from .rules import contract

Answer = Callable[[Any, grpc.ServicerContext], Any]
"""Gets the request and grpcio's context; returns the reply, or for a stream yields replies."""


class Fake:
    """A server whose methods are functions. Methods without one answer UNIMPLEMENTED."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers([_Handler(self._answers)])
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def on(self, method: str, answer: Answer) -> None:
        """Answers a method, `package.Service/Method`. Raises `ValueError` if the contract has no such method."""
        if f"/{method}" not in contract().methods:
            raise ValueError(f"the contract has no method {method}")
        self._answers[f"/{method}"] = answer

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def client(self, credentials: Credentials | None = None, **options: Any) -> Client:
        """A client of this server. The options are those of `sewa.Client`."""
        return Client(self.endpoint, credentials, **options)

    def close(self) -> None:
        """Stops it."""
        self._server.stop(None).wait()

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = answers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        answer = self._answers.get(path)
        if answer is None:
            return None
        descriptor = contract().methods[path].descriptor
        request = message_factory.GetMessageClass(descriptor.input_type)
        reply = message_factory.GetMessageClass(descriptor.output_type)
        make: Any = grpc.unary_stream_rpc_method_handler if descriptor.server_streaming else grpc.unary_unary_rpc_method_handler
        return make(answer, request.FromString, reply.SerializeToString)


def fail(context: grpc.ServicerContext, reason: str, message: str = "", *, retry_after: float | None = None, **metadata: str) -> None:
    """Ends an answer with an error of the catalogue. Raises `ValueError` for a reason the contract does not know."""
    rule = contract().reasons.get(reason)
    if rule is None:
        raise ValueError(f"the contract has no error reason {reason}")
    code: grpc.StatusCode = grpc.StatusCode[rule.code]
    parts: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="sewa", metadata=metadata)]
    if retry_after is not None:
        hint = error_details_pb2.RetryInfo()
        hint.retry_delay.FromMicroseconds(int(retry_after * 1e6))
        parts.append(hint)
    number: Any = code.value
    status = status_pb2.Status(code=number[0], message=message or rule.remedy)
    for part in parts:
        packed = any_pb2.Any()
        packed.Pack(part)
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, status.message)
