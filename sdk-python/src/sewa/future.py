"""A call that can be cancelled while it is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from .errors import Error


class CallFuture:
    """A call under way in a thread of its own."""

    def __init__(self, work: Callable[[CallFuture], Any]) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._inner: Any = None
        self._result: Any = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Any], None]] = []

        def run() -> None:
            try:
                self._result = work(self)
            except Exception as error:
                self._error = error
            with self._lock:
                self._ended.set()
                callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback(self)

        threading.Thread(target=run, name="sewa-call", daemon=True).start()

    def attempt(self, inner: Any) -> Any:
        """Waits for an attempt, which `cancel` ends."""
        with self._lock:
            self._inner = inner
        if self._stopped.is_set():
            inner.cancel()
        return inner.result()

    def pause(self, seconds: float) -> None:
        """Sleeps, unless cancelled."""
        if self._stopped.wait(seconds):
            raise Error(grpc.StatusCode.CANCELLED, "the caller cancelled the call")

    def cancel(self) -> bool:
        """Ends the call, also on the server."""
        self._stopped.set()
        with self._lock:
            if self._inner is not None:
                self._inner.cancel()
        return not self._ended.is_set()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._stopped.is_set()

    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> Any:
        """Waits for the reply. Raises `Error`, or `grpc.FutureTimeoutError`."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._result

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Waits for the error, if there is one."""
        if not self._ended.wait(timeout):
            raise grpc.FutureTimeoutError
        return self._error

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where the error was raised."""
        error = self.exception(timeout)
        return error.__traceback__ if error else None

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Calls back when it has ended."""
        with self._lock:
            if not self._ended.is_set():
                self._callbacks.append(fn)
                return
        fn(self)
