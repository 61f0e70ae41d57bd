package sewa

import (
	"math/rand/v2"
	"sync"
	"time"
)

// RetryPolicy limits repeats. A field left at zero has its default.
type RetryPolicy struct {
	// MaxAttempts of one call, the first included; 5 by default. 1 turns repeats off.
	MaxAttempts int
	// FirstDelay bounds the first wait; each later one is at most twice the one before. 100 ms by default.
	FirstDelay time.Duration
	// MaxDelay bounds every wait the SDK chooses; 5 s by default.
	MaxDelay time.Duration
	// MaxHint is what a wait the server asks for is cut to; 30 s by default.
	MaxHint time.Duration
	// Budget is the tokens that failures take, as retryThrottling.maxTokens of gRPC: repeats are made while more than half of them are left. 100 by default.
	Budget float64
	// Refill is the part of a token that a success gives back, as retryThrottling.tokenRatio of gRPC; 0.1 by default.
	Refill float64
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	return RetryPolicy{
		MaxAttempts: or(p.MaxAttempts, 5),
		FirstDelay:  or(p.FirstDelay, 100*time.Millisecond),
		MaxDelay:    or(p.MaxDelay, 5*time.Second),
		MaxHint:     or(p.MaxHint, 30*time.Second),
		Budget:      or(p.Budget, 100),
		Refill:      or(p.Refill, 0.1),
	}
}

func or[N int | float64 | time.Duration](value, otherwise N) N {
	if value > 0 {
		return value
	}
	return otherwise
}

// delay is the wait before a repeat, counted from 1. The server's hint wins, with a little added so that callers told the same do not come back at once.
// Otherwise it is full jitter.
func (p RetryPolicy) delay(repeat int, hint time.Duration, hinted bool) time.Duration {
	if hinted {
		hint = min(hint, p.MaxHint)
		return hint + time.Duration(float64(hint)/10*rand.Float64())
	}
	ceiling := p.MaxDelay
	// Compared before the shift, which could overflow.
	if doublings := max(repeat-1, 0); doublings < 32 && p.FirstDelay <= p.MaxDelay>>doublings {
		ceiling = p.FirstDelay << doublings
	}
	return time.Duration(float64(ceiling) * rand.Float64())
}

// budget is tokens that failures take and successes give back. One is shared by all calls of a client, so that during an outage the repeats of many callers
// fade out together.
type budget struct {
	full, refill float64
	lock         sync.Mutex
	tokens       float64
}

func newBudget(policy RetryPolicy) *budget {
	return &budget{full: policy.Budget, refill: policy.Refill, tokens: policy.Budget}
}

func (b *budget) succeeded() {
	b.lock.Lock()
	b.tokens = min(b.tokens+b.refill, b.full)
	b.lock.Unlock()
}

// failed takes a token for a failure and tells whether it may be followed by a repeat.
func (b *budget) failed() bool {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.tokens = max(b.tokens-1, 0)
	return b.tokens > b.full/2
}
