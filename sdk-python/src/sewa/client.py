"""The client for threads: carries out what `call` decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

from ._version import VERSION
from .call import RENEW, Bearer, CallOptions, Core, Observer, Plan, address_of, channel_options
from .credentials import Credentials, SessionState
from .errors import Clock, Error, Headers, header, of_answer, plain
from .future import CallFuture
from .identity.v1 import identity_pb2, identity_pb2_grpc
from .retry import RetryPolicy

S = TypeVar("S")
Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Reply:
    """The reply of a call made by its name."""

    message: Any
    """The reply message."""
    headers: Headers
    """Metadata of the reply."""
    attempts: int
    """Attempts it took."""
    own_request_id: str

    @property
    def request_id(self) -> str:
        """Names the call in the server's logs."""
        return header(self.headers, "x-request-id") or self.own_request_id

    @property
    def replayed(self) -> bool:
        """Whether this is the stored outcome of an earlier call with the same idempotency key."""
        return header(self.headers, "idempotency-replayed") == "true"


class Client:
    """A client of one Sewa server. Safe to share between threads; close it, or use it in a `with` statement."""

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
        """Connects when the first call needs it.

        `endpoint` is `http://…` or `https://…`; `timeout` is the time of a unary call that is given none, instead of the contract's, and
        `attempt_timeout` limits each attempt of one, both in seconds; `on_notice` receives deprecations and differences of the
        contract, which otherwise go to the logger `sewa`; `locale` asks for texts for end users in a language; `tls` replaces the system's roots; `options`
        are further arguments of the grpcio channel. Raises `ValueError` for an endpoint that is none.
        """
        address, encrypted = address_of(endpoint)
        arguments: Any = channel_options(user_agent, VERSION, options)
        if encrypted:
            channel = grpc.secure_channel(address, tls or grpc.ssl_channel_credentials(), arguments)
        else:
            channel = grpc.insecure_channel(address, arguments)
        self._core = Core.new(retry, timeout, attempt_timeout, observer, on_notice, locale)
        self._credentials = credentials or Credentials()
        self._connection = Connection(channel)
        renewable = self._credentials.renewable
        nobody = Channel(self._core, self._connection, Nobody(None))
        self._authority: Nobody | Session = Session(renewable, nobody) if renewable else Nobody(self._credentials.fixed)

    @property
    def channel(self) -> grpc.Channel:
        """What generated stubs are built on."""
        return Channel(self._core, self._connection, self._authority)

    @property
    def policy(self) -> RetryPolicy:
        """Limits of repeats."""
        return self._core.policy

    def service(self, stub: Callable[[grpc.Channel], S]) -> S:
        """A generated stub of this client: `client.service(WalletServiceStub)`."""
        return stub(self.channel)

    def with_options(self, *, max_attempts: int | None = None, attempt_timeout: float | None = None) -> Client:
        """A view of this client with other options, which shares its connections, session and limits."""
        view = object.__new__(Client)
        view.__dict__.update(self.__dict__)
        view._core = self._core.with_options(CallOptions(max_attempts, attempt_timeout))
        return view

    def call(
        self,
        method: str,
        request: Message | Mapping[str, Any],
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        idempotency_key: str | None = None,
    ) -> Reply:
        """Calls a method by its name, `sewa.wallet.v1.WalletService/GetWallet`, with a message or protobuf JSON, and returns the reply with its headers.

        Raises `Error`, and `ValueError` for a method or a field the contract does not know.
        """
        path, message, reply = resolve(self._core, method, request)
        plan = Plan(self._core, path, timeout, with_key(metadata, idempotency_key))
        inner = self._connection.unary(path, type(message).SerializeToString, reply.FromString)
        answer, headers = _invoke(plan, self._authority, self._connection, inner, message, None)
        return Reply(answer, headers, plan.attempts, plan.request_id)

    def close(self) -> None:
        """Ends calls under way and closes the connections. Calls made later fail."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<sewa.Client {self._credentials!r}>"


def resolve(core: Core, method: str, request: Message | Mapping[str, Any]) -> tuple[str, Message, type[Message]]:
    """Path, request and type of the reply of a method."""
    path = "/" + method.removeprefix("/")
    rule = core.rules.methods.get(path)
    if rule is None:
        raise ValueError(f"the contract has no method {method}")
    if rule.descriptor.server_streaming or rule.descriptor.client_streaming:
        raise ValueError(f"{method} is a stream: use its stub")
    if not isinstance(request, Message):
        try:
            empty = message_factory.GetMessageClass(rule.descriptor.input_type)()
            request = json_format.ParseDict(dict(request), empty)
        except json_format.ParseError as error:
            raise ValueError(f"not a request of {method}: {error}") from error
    return path, request, message_factory.GetMessageClass(rule.descriptor.output_type)


def with_key(metadata: Metadata, key: str | None) -> Metadata:
    """Metadata with an idempotency key."""
    return metadata if key is None else (*metadata, ("idempotency-key", key))


def closed() -> Error:
    """The error of a call of a closed client."""
    return Error(grpc.StatusCode.CANCELLED, "the client is closed")


class Connection:
    """The channel of grpcio, and whether it is closed."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.ended = threading.Event()

    def unary(self, path: str, serialize: Any, deserialize: Any) -> Any:
        """A method of the channel."""
        if self.ended.is_set():
            raise closed()
        return self.channel.unary_unary(path, serialize, deserialize)

    def close(self) -> None:
        """Closes it."""
        self.ended.set()
        self.channel.close()


class Nobody:
    """Credentials that never change, or none."""

    def __init__(self, bearer: Bearer | None) -> None:
        self._bearer = bearer

    def bearer(self, public: bool, left: float | None) -> Bearer | None:
        """What to send."""
        return self._bearer

    def renewed(self, refused: Bearer, left: float | None) -> bool:
        """Whether there is something better now."""
        return False


class Session:
    """Keeps a session alive. One renewal runs at a time, however many calls wait for it, and it is finished even if their time is over."""

    def __init__(self, state: SessionState, channel: grpc.Channel) -> None:
        self._state = state
        self._identity = identity_pb2_grpc.IdentityServiceStub(channel)
        self._turn = threading.Lock()

    def bearer(self, public: bool, left: float | None) -> Bearer | None:
        """A token that has not ended. One that ends soon is renewed in the background meanwhile. A public method does not wait for one."""
        renewals = self._state.renewals
        at_hand = self._state.at_hand()
        if public:
            return at_hand
        if at_hand is None:
            return self._after(renewals, left)
        if self._state.ends_soon() and self._turn.acquire(blocking=False):
            self._start()
        return at_hand

    def renewed(self, refused: Bearer, left: float | None) -> bool:
        """Gets a token other than the refused one. Raises `Error` if there is none to be had."""
        renewals = self._state.renewals
        if self._state.newer_than(refused.renewal) is None:
            self._after(renewals, left)
        return True

    def _after(self, before: int, left: float | None) -> Bearer:
        end = None if left is None else time.monotonic() + left
        if not self._turn.acquire(timeout=-1 if left is None else left):
            raise Error.expired(Clock.CALLER)
        if self._state.renewals != before:
            self._turn.release()
        elif not self._start().wait(None if end is None else max(end - time.monotonic(), 0)):
            raise Error.expired(Clock.CALLER)
        return self._state.outcome()

    def _start(self) -> threading.Event:
        done = threading.Event()

        def work() -> None:
            try:
                self._state.renewed(self._obtain())
            finally:
                self._turn.release()
                done.set()

        threading.Thread(target=work, name="sewa-session", daemon=True).start()
        return done

    def _obtain(self) -> identity_pb2.Tokens | Error:
        refused: Error | None = None
        try:
            request = self._state.refresh_request()
            if request is not None:
                try:
                    return self._identity.RefreshToken(request).tokens
                except Error as error:
                    refused = error
            return self._identity.Login(self._state.login_request(refused)).tokens
        except Error as error:
            return error


class Channel(grpc.Channel):
    """The channel under generated stubs."""

    def __init__(self, core: Core, connection: Connection, authority: Nobody | Session) -> None:
        self._parts = (core, connection, authority)

    def unary_unary(self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any) -> Any:
        inner = self._parts[1].unary(method, request_serializer, response_deserializer)
        return _Unary(*self._parts, method, inner)

    def unary_stream(self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any) -> Any:
        inner = self._parts[1].channel.unary_stream(method, request_serializer, response_deserializer)
        return _ServerStream(*self._parts, method, inner)

    def stream_unary(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("the contract has no streams of requests")

    def stream_stream(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("the contract has no streams of requests")

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False) -> None:
        self._parts[1].channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._parts[1].channel.unsubscribe(callback)

    def close(self) -> None:
        self._parts[1].close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Unary:
    def __init__(self, core: Core, connection: Connection, authority: Nobody | Session, path: str, inner: Any) -> None:
        self._core, self._connection, self._authority, self._path, self._inner = core, connection, authority, path, inner

    def __call__(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None, **_: Any) -> Any:
        plan = Plan(self._core, self._path, timeout, metadata)
        return _invoke(plan, self._authority, self._connection, self._inner, request, None)[0]

    def future(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None, **_: Any) -> CallFuture:
        """Begins a call that can be cancelled. It runs in a thread of its own."""
        plan = Plan(self._core, self._path, timeout, metadata)
        return CallFuture(lambda future: _invoke(plan, self._authority, self._connection, self._inner, request, future)[0])

    def with_call(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None, **_: Any) -> Any:
        """The reply message, and a `Reply` in place of grpcio's `Call`."""
        plan = Plan(self._core, self._path, timeout, metadata)
        answer, headers = _invoke(plan, self._authority, self._connection, self._inner, request, None)
        return answer, Reply(answer, headers, plan.attempts, plan.request_id)


def _of_failure(failure: Any) -> Error:
    headers = (*plain(failure.initial_metadata()), *plain(failure.trailing_metadata()))
    return of_answer(failure.code(), failure.details(), headers)


def _invoke(
    plan: Plan, authority: Nobody | Session, connection: Connection, inner: Any, request: Any, future: CallFuture | None
) -> tuple[Any, Headers]:
    while True:
        left = plan.begin()
        try:
            bearer = None if plan.has_own_credentials else authority.bearer(plan.public, left)
        except Error as error:
            raise plan.final(error) from None
        headers, span = plan.head(bearer)
        try:
            if future is None:
                answer, call = inner.with_call(request, timeout=span, metadata=headers)
            else:
                call = inner.future(request, timeout=span, metadata=headers)
                answer = future.attempt(call)
        except grpc.FutureCancelledError:
            raise plan.final(Error(grpc.StatusCode.CANCELLED, "the caller cancelled the call")) from None
        except (grpc.RpcError, ValueError) as failure:
            if connection.ended.is_set():
                raise plan.final(closed()) from None
            if isinstance(failure, ValueError):
                raise
            cause = _of_failure(failure)
        else:
            received = plain(call.initial_metadata())
            plan.answered(received)
            return answer, received
        following = plan.failed(cause, bearer)
        if following == RENEW:
            try:
                assert bearer is not None
                if not authority.renewed(bearer, plan.left()):
                    raise plan.final(cause)
            except Error as refusal:
                raise plan.final(refusal) from None
        elif future is not None:
            future.pause(float(following))
        elif connection.ended.wait(float(following)):
            raise plan.final(closed())


class _ServerStream:
    def __init__(self, core: Core, connection: Connection, authority: Nobody | Session, path: str, inner: Any) -> None:
        self._core, self._connection, self._authority, self._path, self._inner = core, connection, authority, path, inner

    def __call__(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None, **_: Any) -> Stream:
        if self._connection.ended.is_set():
            raise closed()
        plan = Plan(self._core, self._path, timeout, metadata, stream=True)
        return Stream(plan, self._authority, lambda headers, span: self._inner(request, timeout=span, metadata=headers))


class Stream:
    """A stream of replies. Errors are typed; an expired token is renewed before the first reply."""

    def __init__(self, plan: Plan, authority: Nobody | Session, begin: Callable[[Headers, float | None], Any]) -> None:
        self._plan, self._authority, self._begin = plan, authority, begin
        self._heard = False
        self._open()

    def _open(self) -> None:
        left = self._plan.begin()
        try:
            self._bearer = None if self._plan.has_own_credentials else self._authority.bearer(self._plan.public, left)
        except Error as error:
            raise self._plan.final(error) from None
        self._call = self._begin(*self._plan.head(self._bearer))

    def cancel(self) -> None:
        """Ends the stream, also on the server."""
        self._call.cancel()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                message = next(self._call)
            except StopIteration:
                if not self._heard:
                    self._plan.opened(None, self._bearer, plain(self._call.initial_metadata()))
                raise
            except grpc.RpcError as failure:
                error = _of_failure(failure)
                again = not self._heard and self._plan.opened(error, self._bearer, ())
                if not again or self._bearer is None or not self._authority.renewed(self._bearer, None):
                    raise self._plan.final(error) from None
                self._open()
                continue
            if not self._heard:
                self._heard = True
                self._plan.opened(None, self._bearer, plain(self._call.initial_metadata()))
            return message
