"""How long to wait before a repeat, and when repeating would only add to the load."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of repeats. Times are in seconds."""

    max_attempts: int = 5
    """Attempts of one call, the first included. 1 turns repeats off."""
    first_delay: float = 0.1
    """The first wait is at most this long; each later one at most twice the one before."""
    max_delay: float = 5.0
    """No wait the SDK chooses is longer."""
    max_hint: float = 30.0
    """A wait the server asks for is cut to this."""
    budget: float = 100
    """Tokens that failures take, as `retryThrottling.maxTokens` of gRPC: repeats are made while more than half of them are left."""
    refill: float = 0.1
    """Part of a token that a success gives back, as `retryThrottling.tokenRatio` of gRPC."""

    def delay(self, repeat: int, hint: float | None, chance: float) -> float:
        """The wait before repeat number `repeat` (from 1). The server's hint wins, with a little added so that callers told the same do not come back at
        once. Otherwise full jitter. `chance` is uniform from 0 to 1."""
        if hint is not None:
            hint = min(hint, self.max_hint)
            return hint + hint / 10 * chance
        return float(min(self.first_delay * 2 ** min(max(repeat - 1, 0), 16), self.max_delay) * chance)


def chance() -> float:
    """A uniform number from 0 to 1."""
    return random.random()


class Budget:
    """Tokens that failures take and successes give back. One bucket is shared by all calls of a client, so that during an outage the repeats of many callers
    fade out together."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._full = policy.budget
        self._refill = policy.refill
        self._tokens = policy.budget
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """Gives back a part of a token."""
        if self._tokens < self._full:
            with self._lock:
                self._tokens = min(self._tokens + self._refill, self._full)

    def failed(self) -> bool:
        """Takes a token for a failure and tells whether it may be followed by a repeat."""
        with self._lock:
            self._tokens = max(self._tokens - 1, 0)
            return self._tokens > self._full / 2
