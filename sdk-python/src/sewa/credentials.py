"""Who the calls are made as. Nothing in here prints a secret."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from .call import Bearer
from .errors import Error
from .identity.v1 import identity_pb2

# Renewal begins in the background when less than this is left, or a fifth of the token's life if that is less. Seconds.
_RENEW_AHEAD = 120.0
# A token is trusted at least this long, so that a wrong clock on this side cannot make each call renew. If it ends sooner, the server says so.
_SHORTEST_LIFE = 5.0
# The pause after a renewal in the background failed.
_PAUSE = 5.0


@dataclass(frozen=True)
class Credentials:
    """Who the calls are made as; without arguments nobody, so that only public methods work."""

    _secret: str | None = field(default=None, repr=False)
    _login: tuple[str, str] | None = field(default=None, repr=False)
    _tokens: identity_pb2.Tokens | None = field(default=None, repr=False)

    @staticmethod
    def api_key(key: str) -> Credentials:
        """An API key, `sk_…`."""
        return Credentials(_visible(key))

    @staticmethod
    def token(token: str) -> Credentials:
        """An access token that somebody else renews."""
        return Credentials(_visible(token))

    @staticmethod
    def login(email: str, password: str) -> Credentials:
        """A user who signs in with the first call that needs it; the SDK renews the access token by itself."""
        return Credentials(_login=(email, password))

    @staticmethod
    def session(tokens: identity_pb2.Tokens) -> Credentials:
        """Goes on with tokens received before, for example from `Register`."""
        return Credentials(_tokens=tokens)

    @staticmethod
    def from_file(path: str | os.PathLike[str]) -> Credentials:
        """A file that holds an API key. Raises `OSError` if it cannot be read."""
        return Credentials.api_key(pathlib.Path(path).read_text("utf-8").strip())

    @staticmethod
    def from_env(env: Mapping[str, str] | None = None) -> Credentials:
        """`SEWA_API_KEY`, else `SEWA_TOKEN`, else the file named by `SEWA_API_KEY_FILE`, else nobody. The SDK looks at the environment nowhere else."""
        env = os.environ if env is None else env
        if key := env.get("SEWA_API_KEY"):
            return Credentials.api_key(key)
        if token := env.get("SEWA_TOKEN"):
            return Credentials.token(token)
        if path := env.get("SEWA_API_KEY_FILE"):
            return Credentials.from_file(path)
        return Credentials()

    @property
    def fixed(self) -> Bearer | None:
        """What to send, where it never changes."""
        return Bearer(f"Bearer {self._secret}") if self._secret else None

    @property
    def renewable(self) -> SessionState | None:
        """A session, where there is one."""
        return SessionState(self._login, self._tokens) if self._login or self._tokens else None


def _visible(secret: str) -> str:
    if not secret or not all("!" <= letter <= "~" for letter in secret):
        raise ValueError("credentials are visible ASCII without blanks")
    return secret


class SessionState:
    """A user's session: decides when to renew, and with what. Its owner sees to it that one renewal runs at a time, because a refresh token works once."""

    def __init__(self, login: tuple[str, str] | None, tokens: identity_pb2.Tokens | None) -> None:
        self._login = login
        self._bearer: Bearer | None = None
        self._refresh: str | None = None
        self._renew_at = self._ends_at = 0.0
        self.renewals = 0
        self.failure: Error | None = None
        if tokens is not None:
            self._keep(tokens)

    def at_hand(self) -> Bearer | None:
        """The token, if there is one that has not ended."""
        return self._bearer if time.monotonic() < self._ends_at else None

    def ends_soon(self) -> bool:
        """Whether it is time to renew in the background."""
        return time.monotonic() >= self._renew_at

    def newer_than(self, renewal: int) -> Bearer | None:
        """A token of a later renewal."""
        return self._bearer if self._bearer is not None and self._bearer.renewal > renewal else None

    def outcome(self) -> Bearer:
        """What the last renewal came to; whoever waited for it shares it, be it a failure: a wrong password is not tried once per call."""
        if self.failure is not None:
            raise self.failure
        if self._bearer is None:
            raise _refused("the session has no tokens")
        return self._bearer

    def refresh_request(self) -> identity_pb2.RefreshTokenRequest | None:
        """The request to renew with."""
        return identity_pb2.RefreshTokenRequest(refresh_token=self._refresh) if self._refresh else None

    def login_request(self, refused: Error | None) -> identity_pb2.LoginRequest:
        """The request to sign in with. After any failure the refresh token may have been used up, so with a password at hand this is the safe way on.

        Raises the refusal where there is no password.
        """
        if self._login is None:
            raise refused or _refused("the session has no refresh token")
        return identity_pb2.LoginRequest(email=self._login[0], password=self._login[1])

    def renewed(self, result: identity_pb2.Tokens | Error) -> None:
        """Ends a renewal."""
        self.renewals += 1
        if isinstance(result, identity_pb2.Tokens):
            self.failure = None
            self._keep(result)
            return
        self.failure = result
        if result.code() is grpc.StatusCode.UNAUTHENTICATED:
            self._bearer = None
            self._ends_at = 0.0
        self._renew_at = time.monotonic() + _PAUSE

    def _keep(self, tokens: identity_pb2.Tokens) -> None:
        end = tokens.access_expire_time
        life = max(end.seconds + end.nanos / 1e9 - time.time(), _SHORTEST_LIFE)
        now = time.monotonic()
        self._bearer = Bearer(f"Bearer {tokens.access_token}", self.renewals)
        self._refresh = tokens.refresh_token or None
        self._renew_at = now + life - min(_RENEW_AHEAD, life / 5)
        self._ends_at = now + life


def _refused(message: str) -> Error:
    return Error(grpc.StatusCode.UNAUTHENTICATED, message)
