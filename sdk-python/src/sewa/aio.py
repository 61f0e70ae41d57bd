"""The client for asyncio: carries out what `call` and `follow` decide. Its names are those of the client for threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from ._version import VERSION
from .api.v1 import operation_pb2 as operations
from .call import RENEW, Bearer, CallOptions, Core, Observer, Plan, address_of, channel_options
from .client import Metadata, Reply, closed, resolve, with_key
from .credentials import Credentials, SessionState
from .errors import Clock, Error, Headers, of_answer, plain
from .event.v1 import event_pb2, event_pb2_grpc
from .follow import SILENCE, Following, Waiting, ended, next_token
from .identity.v1 import identity_pb2, identity_pb2_grpc
from .operation.v1 import operation_pb2_grpc
from .retry import RetryPolicy

S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class AsyncClient:
    """A client of one Sewa server for asyncio. Make it inside the event loop; close it, or use it in an `async with` statement."""

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials | None = None,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        observer: Observer | None = None,
        on_notice: Callable[[str], None] | None = None,
        locale: str | None = None,
        user_agent: str | None = None,
        tls: grpc.ChannelCredentials | None = None,
        options: Iterable[tuple[str, object]] = (),
    ) -> None:
        """Connects when the first call needs it. The arguments are those of `sewa.Client`."""
        address, encrypted = address_of(endpoint)
        arguments: Any = channel_options(user_agent, VERSION, options)
        if encrypted:
            channel = grpc.aio.secure_channel(address, tls or grpc.ssl_channel_credentials(), arguments)
        else:
            channel = grpc.aio.insecure_channel(address, arguments)
        self._core = Core.new(retry, timeout, attempt_timeout, observer, on_notice, locale)
        self._credentials = credentials or Credentials()
        self._connection = _Connection(channel)
        renewable = self._credentials.renewable
        nobody = _Channel(self._core, self._connection, _Nobody(None))
        self._authority: _Nobody | _Session = _Session(renewable, nobody) if renewable else _Nobody(self._credentials.fixed)

    @property
    def channel(self) -> grpc.aio.Channel:
        """What generated stubs are built on."""
        channel: Any = _Channel(self._core, self._connection, self._authority)
        return channel  # type: ignore[no-any-return]

    @property
    def policy(self) -> RetryPolicy:
        """Limits of repeats."""
        return self._core.policy

    def service(self, stub: Callable[[grpc.aio.Channel], S]) -> S:
        """A generated stub of this client: `client.service(WalletServiceStub)`."""
        return stub(self.channel)

    def with_options(self, *, max_attempts: int | None = None, attempt_timeout: float | None = None) -> AsyncClient:
        """A view of this client with other options, which shares its connections, session and limits."""
        view = object.__new__(AsyncClient)
        view.__dict__.update(self.__dict__)
        view._core = self._core.with_options(CallOptions(max_attempts, attempt_timeout))
        return view

    async def call(
        self,
        method: str,
        request: Message | Mapping[str, Any],
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        idempotency_key: str | None = None,
    ) -> Reply:
        """Calls a method by its name, with a message or protobuf JSON, and returns the reply with its headers.

        Raises `Error`, and `ValueError` for a method or a field the contract does not know.
        """
        path, message, reply = resolve(self._core, method, request)
        plan = Plan(self._core, path, timeout, with_key(metadata, idempotency_key))
        inner = self._connection.channel.unary_unary(path, type(message).SerializeToString, reply.FromString)
        answer, headers = await _invoke(plan, self._authority, self._connection, inner, message)
        return Reply(answer, headers, plan.attempts, plan.request_id)

    async def close(self) -> None:
        """Ends calls under way and closes the connections. Calls made later fail."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<sewa.AsyncClient {self._credentials!r}>"


class _Connection:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.ended = False

    async def close(self) -> None:
        self.ended = True
        await self.channel.close()


class _Nobody:
    def __init__(self, bearer: Bearer | None) -> None:
        self._bearer = bearer

    async def bearer(self, public: bool, left: float | None) -> Bearer | None:
        return self._bearer

    async def renewed(self, refused: Bearer, left: float | None) -> bool:
        return False


class _Session:
    """Keeps a session alive, as `client.Session` does."""

    def __init__(self, state: SessionState, channel: Any) -> None:
        self._state = state
        stub: Any = identity_pb2_grpc.IdentityServiceStub
        self._identity = stub(channel)
        self._renewal: asyncio.Task[None] | None = None

    async def bearer(self, public: bool, left: float | None) -> Bearer | None:
        at_hand = self._state.at_hand()
        if public:
            return at_hand
        if at_hand is None:
            return await self._after(left)
        if self._state.ends_soon():
            self._start()
        return at_hand

    async def renewed(self, refused: Bearer, left: float | None) -> bool:
        if self._state.newer_than(refused.renewal) is None:
            await self._after(left)
        return True

    async def _after(self, left: float | None) -> Bearer:
        # Shielded: a refresh token works once, so a renewal is finished even if the call that wanted it is cancelled.
        done, _ = await asyncio.wait([self._start()], timeout=left)
        if not done:
            raise Error.expired(Clock.CALLER)
        return self._state.outcome()

    def _start(self) -> asyncio.Task[None]:
        """The renewal under way, or a new one. Nothing is awaited between the look and the start, so there is never more than one."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew(), name="sewa-session")
        return self._renewal

    async def _renew(self) -> None:
        self._state.renewed(await self._obtain())

    async def _obtain(self) -> identity_pb2.Tokens | Error:
        refused: Error | None = None
        try:
            request = self._state.refresh_request()
            if request is not None:
                try:
                    renewed: identity_pb2.RefreshTokenResponse = await self._identity.RefreshToken(request)
                    return renewed.tokens
                except Error as error:
                    refused = error
            login: identity_pb2.LoginResponse = await self._identity.Login(self._state.login_request(refused))
            return login.tokens
        except Error as error:
            return error


class _Channel:
    """The channel under generated stubs."""

    def __init__(self, core: Core, connection: _Connection, authority: _Nobody | _Session) -> None:
        self._parts = (core, connection, authority)

    def unary_unary(self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any) -> Any:
        core, connection, authority = self._parts
        inner = connection.channel.unary_unary(method, request_serializer, response_deserializer)

        async def call(request: Any, *, timeout: float | None = None, metadata: Metadata | None = None, **_: Any) -> Any:
            plan = Plan(core, method, timeout, metadata)
            return (await _invoke(plan, authority, connection, inner, request))[0]

        return call

    def unary_stream(self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any) -> Any:
        core, connection, authority = self._parts
        inner = connection.channel.unary_stream(method, request_serializer, response_deserializer)

        def call(request: Any, *, timeout: float | None = None, metadata: Metadata | None = None, **_: Any) -> AsyncStream:
            plan = Plan(core, method, timeout, metadata, stream=True)
            return AsyncStream(plan, authority, connection, lambda headers, span: inner(request, timeout=span, metadata=headers))

        return call

    def stream_unary(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("the contract has no streams of requests")

    stream_stream = stream_unary


def _of_failure(failure: grpc.aio.AioRpcError) -> Error:
    metadata: Any = (*(failure.initial_metadata() or ()), *(failure.trailing_metadata() or ()))
    return of_answer(failure.code(), failure.details(), plain(metadata))


async def _bearer(plan: Plan, authority: _Nobody | _Session, left: float | None) -> Bearer | None:
    try:
        return None if plan.has_own_credentials else await authority.bearer(plan.public, left)
    except Error as error:
        raise plan.final(error) from None


async def _invoke(plan: Plan, authority: _Nobody | _Session, connection: _Connection, inner: Any, request: Any) -> tuple[Any, Headers]:
    while True:
        left = plan.begin()
        if connection.ended:
            raise plan.final(closed())
        bearer = await _bearer(plan, authority, left)
        headers, span = plan.head(bearer)
        try:
            call = inner(request, timeout=span, metadata=headers)
            answer = await call
        except grpc.aio.AioRpcError as failure:
            cause = _of_failure(failure)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            # Closing the channel cancels its calls, which looks to the caller as if its own task had been cancelled.
            if connection.ended:
                raise plan.final(closed()) from None
            raise
        else:
            received = plain(await call.initial_metadata())
            plan.answered(received)
            return answer, received
        following = plan.failed(cause, bearer)
        if following == RENEW:
            try:
                assert bearer is not None
                if not await authority.renewed(bearer, plan.left()):
                    raise plan.final(cause)
            except Error as refusal:
                raise plan.final(refusal) from None
        else:
            await asyncio.sleep(float(following))


class AsyncStream:
    """A stream of replies. Errors are typed; an expired token is renewed before the first reply."""

    def __init__(
        self, plan: Plan, authority: _Nobody | _Session, connection: _Connection, begin: Callable[[Headers, float | None], Any]
    ) -> None:
        self._plan, self._authority, self._connection, self._begin = plan, authority, connection, begin
        self._heard = False
        self._call: Any = None
        self._bearer: Bearer | None = None

    async def _open(self) -> None:
        left = self._plan.begin()
        if self._connection.ended:
            raise self._plan.final(closed())
        self._bearer = await _bearer(self._plan, self._authority, left)
        self._call = self._begin(*self._plan.head(self._bearer))

    def cancel(self) -> None:
        """Ends the stream, also on the server."""
        if self._call is not None:
            self._call.cancel()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Any:
        if self._call is None:
            await self._open()
        while True:
            try:
                message = await self._call.read()
            except grpc.aio.AioRpcError as failure:
                error = _of_failure(failure)
                again = not self._heard and self._plan.opened(error, self._bearer, ())
                if not again or self._bearer is None or not await self._authority.renewed(self._bearer, None):
                    raise self._plan.final(error) from None
                await self._open()
                continue
            if not self._heard:
                self._heard = True
                self._plan.opened(None, self._bearer, plain(await self._call.initial_metadata()))
            if message is grpc.aio.EOF:
                raise StopAsyncIteration
            return message


async def wait(
    client: AsyncClient, operation_id: str, *, timeout: float | None = None, progress: Callable[[operations.Operation], None] | None = None
) -> operations.Operation:
    """Waits until an operation succeeded, as `sewa.wait` does."""
    waiting = Waiting(client.policy, operation_id, timeout, progress)
    while True:
        request, span = waiting.poll()
        failure: Error | None = None
        try:
            stub = client.with_options(attempt_timeout=span).service(operation_pb2_grpc.OperationServiceStub)
            operation = (await stub.WaitOperation(request, timeout=span)).operation
        except Error as error:
            failure = error
        else:
            if waiting.answered(operation):
                return operation
        await asyncio.sleep(waiting.pause(failure))


async def watch(
    client: AsyncClient, *, resume_cursor: str = "", types: Iterable[int] = (), subject_id: str = "", silence: float = SILENCE
) -> AsyncIterator[event_pb2.Event]:
    """Follows the event log without loss and without repeats, as `sewa.watch` does."""
    following = Following(client.policy, resume_cursor, types, subject_id)
    stub: Any = client.service(event_pb2_grpc.EventServiceStub)
    while True:
        error = ended()
        stream: AsyncStream = stub.WatchEvents(following.request())
        try:
            while True:
                message = await asyncio.wait_for(anext(stream), silence)
                event = following.read(message)
                if event is not None:
                    yield event
        except StopAsyncIteration:
            pass
        except asyncio.TimeoutError:
            error = Error.expired(Clock.ATTEMPT)
        except Error as cut:
            error = cut
        finally:
            stream.cancel()
        await asyncio.sleep(following.cut(error))


async def pages(method: Callable[[Q], Awaitable[R]], request: Q) -> AsyncIterator[R]:
    """The pages of a list, each asked for when it is wanted."""
    asked: Any = type(request)()
    asked.CopyFrom(request)
    while True:
        reply = await method(asked)
        yield reply
        token = next_token(asked, reply)
        if not token:
            return
        asked.page_token = token


async def items(method: Callable[[Q], Awaitable[R]], request: Q, pick: Callable[[R], Iterable[T]]) -> AsyncIterator[T]:
    """The items of a list."""
    async for page in pages(method, request):
        for item in pick(page):
            yield item
