package sewa

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

const (
	keyHeader       = "idempotency-key"
	requestIDHeader = "x-request-id"
)

// call is a call under way: the headers it needs, its clocks, and what follows each attempt.
type call struct {
	client   *Client
	method   string
	rule     *MethodRule
	settings settings

	headers        metadata.MD
	requestID, key string
	ownCredentials bool

	// When the call's time is over, by which clock; zero for never.
	deadline time.Time
	clock    Clock

	attempts int
	renewed  bool
	started  time.Time
	// When the attempt's time is over.
	limit      time.Time
	limitClock Clock
}

func (c *Client) begin(ctx context.Context, method string, options []grpc.CallOption, unary bool) *call {
	begun := &call{client: c, method: method, rule: c.rules.Methods[method], settings: c.settings(options)}
	if !unary {
		// A stream is meant to last.
		begun.settings.attemptTimeout = 0
	}
	begun.head(ctx)
	if end, ok := ctx.Deadline(); ok {
		begun.deadline, begun.clock = end, ClockCaller
	}
	span, clock := begun.settings.timeout, ClockCaller
	if span <= 0 && unary {
		span = c.config.Timeout
	}
	if span <= 0 && begun.deadline.IsZero() && begun.rule != nil {
		span, clock = begun.rule.DefaultTimeout, ClockContract
	}
	// A deadline of the context replaces the settings of the client, not the timeout of the call.
	if span > 0 && (begun.deadline.IsZero() || begun.settings.timeout > 0) {
		if end := time.Now().Add(span); begun.deadline.IsZero() || end.Before(begun.deadline) {
			begun.deadline, begun.clock = end, clock
		}
	}
	return begun
}

func (c *call) head(ctx context.Context) {
	given, _ := metadata.FromOutgoingContext(ctx)
	headers := make(metadata.MD, len(given)+len(c.client.headers)+5)
	for name, values := range c.client.headers {
		headers[name] = values
	}
	for name, values := range given {
		headers[name] = values
	}
	for i := 0; i+1 < len(c.settings.headers); i += 2 {
		headers.Set(c.settings.headers[i], c.settings.headers[i+1])
	}
	if c.settings.key != "" {
		headers.Set(keyHeader, c.settings.key)
	}
	if first(headers, requestIDHeader) == "" {
		headers[requestIDHeader] = []string{rand.Text()}
	}
	if first(headers, keyHeader) == "" && c.rule != nil && c.rule.Repeat == RepeatKeyed {
		headers[keyHeader] = []string{rand.Text()}
	}
	c.headers, c.requestID, c.key = headers, first(headers, requestIDHeader), first(headers, keyHeader)
	c.ownCredentials = first(headers, "authorization") != ""
}

// attempt begins an attempt: its context, and what it is made as.
func (c *call) attempt(ctx context.Context) (context.Context, context.CancelFunc, bearer, *Error) {
	c.attempts++
	c.started = time.Now()
	if c.client.isClosed() {
		return nil, nil, bearer{}, closed()
	}
	if !c.deadline.IsZero() && !c.started.Before(c.deadline) {
		return nil, nil, bearer{}, expired(c.clock)
	}
	var cancel context.CancelFunc
	if c.deadline.IsZero() {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithDeadline(ctx, c.deadline)
	}
	var used bearer
	if !c.ownCredentials {
		var err error
		if used, err = c.client.authority.bearer(ctx, c.rule != nil && c.rule.Public); err != nil {
			cancel()
			return nil, nil, bearer{}, asError(err)
		}
	}
	c.limit, c.limitClock = c.deadline, c.clock
	if own := c.settings.attemptTimeout; own > 0 {
		if end := time.Now().Add(own); c.limit.IsZero() || end.Before(c.limit) {
			c.limit, c.limitClock = end, ClockAttempt
			outer := cancel
			var inner context.CancelFunc
			ctx, inner = context.WithDeadline(ctx, end)
			cancel = func() { inner(); outer() }
		}
	}
	headers := c.headers
	if c.attempts > 1 {
		headers = maps.Clone(headers)
		if !c.ownCredentials {
			// Those of the last attempt, which may have ended.
			delete(headers, "authorization")
		}
		headers["x-sewa-retry-count"] = []string{strconv.Itoa(c.attempts - 1)}
	}
	if used.header != "" {
		headers["authorization"] = []string{used.header}
	}
	return metadata.NewOutgoingContext(ctx, headers), cancel, used, nil
}

// Invoke carries out a unary call. Generated stubs call it.
func (c *Client) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	under := c.begin(ctx, method, options, true)
	for {
		attemptCtx, cancel, used, refusal := under.attempt(ctx)
		if refusal != nil {
			return under.final(refusal)
		}
		var headers, trailers metadata.MD
		var server peer.Peer
		err := c.conn.Invoke(attemptCtx, method, request, reply, append(options[:len(options):len(options)],
			grpc.Header(&headers), grpc.Trailer(&trailers), grpc.Peer(&server))...)
		cancel()
		if err == nil {
			under.answered(headers)
			return nil
		}
		failure := under.failure(ctx, err, metadata.Join(headers, trailers), server.Addr == nil)
		if next := under.next(ctx, failure, used); next != nil {
			return under.final(next)
		}
	}
}

// answered ends a call that succeeded.
func (c *call) answered(headers metadata.MD) {
	c.client.budget.succeeded()
	c.observe(codes.OK, "", false, 0)
	c.client.notices.read(c.method, headers)
	if info := c.settings.info; info != nil {
		*info = Info{headers, first(headers, requestIDHeader), first(headers, "idempotency-replayed") == "true", c.attempts}
		if info.RequestID == "" {
			info.RequestID = c.requestID
		}
	}
}

// failure reads what went wrong, and tells the clocks of this side from one of the server, which gives a reason.
func (c *call) failure(ctx context.Context, err error, headers metadata.MD, unsent bool) *Error {
	if c.client.isClosed() {
		return closed()
	}
	failure := ofAnswer(err, headers, unsent)
	if failure.Reason != "" {
		return failure
	}
	if failure.Code == codes.Canceled && ctx.Err() != nil {
		return stopped(ctx)
	}
	// A timer may fire a little early by another clock.
	if failure.Code == codes.DeadlineExceeded && !c.limit.IsZero() && time.Until(c.limit) < 5*time.Millisecond {
		return expired(c.limitClock)
	}
	return failure
}

// next waits until the call is to be tried again, or says why it is not.
func (c *call) next(ctx context.Context, failure *Error, used bearer) *Error {
	if failure.Reason == "TOKEN_EXPIRED" {
		return c.renew(ctx, failure, used)
	}
	delay, again := c.repeat(failure)
	c.observe(failure.Code, failure.Reason, again, delay)
	if !again {
		return failure
	}
	return c.client.pause(ctx, delay)
}

// renew gets other credentials once: a server that finds a token expired which it has just issued will not change its mind.
func (c *call) renew(ctx context.Context, failure *Error, used bearer) *Error {
	again := used.header != "" && !c.renewed && c.client.authority.renewable()
	c.observe(failure.Code, failure.Reason, again, 0)
	if !again {
		return failure
	}
	c.renewed = true
	if !c.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, c.deadline)
		defer cancel()
	}
	if err := c.client.authority.renewed(ctx, used); err != nil {
		return asError(err)
	}
	return nil
}

// repeat decides whether an attempt is followed by another, and when.
func (c *call) repeat(failure *Error) (time.Duration, bool) {
	if !c.repeatable(failure) || !c.client.budget.failed() || c.attempts >= c.settings.maxAttempts {
		return 0, false
	}
	hint, hinted := failure.RetryAfter()
	delay := c.client.config.Retry.delay(c.attempts, hint, hinted)
	// Better the server's own words now than a time-out later.
	if !c.deadline.IsZero() && time.Until(c.deadline) <= delay {
		return 0, false
	}
	return delay, true
}

func (c *call) repeatable(failure *Error) bool {
	if failure.OwnClock == ClockCaller || failure.OwnClock == ClockContract {
		return false
	}
	var advised bool
	if known, ok := c.client.rules.Reasons[failure.Reason]; ok {
		advised = known.Retry == RetryCall
	} else {
		switch failure.Code {
		case codes.ResourceExhausted, codes.Aborted:
			_, advised = failure.RetryAfter()
		case codes.Unavailable, codes.DeadlineExceeded:
			advised = true
		}
	}
	if c.rule == nil || c.rule.Repeat == RepeatUnsafe {
		// Only what surely never began: the connection was not made, or the call was turned away at the door.
		return failure.unsent || (advised && failure.Code == codes.ResourceExhausted)
	}
	return advised
}

// final adds to a failure the request id to report and the key to repeat with.
func (c *call) final(failure *Error) *Error {
	if failure.RequestID == "" {
		failure.RequestID = c.requestID
	}
	failure.IdempotencyKey = c.key
	failure.Attempts = max(c.attempts, 1)
	return failure
}

func (c *call) observe(code codes.Code, reason string, repeated bool, delay time.Duration) {
	if observe := c.client.config.Observe; observe != nil {
		observe(Attempt{c.method, c.requestID, c.attempts, code, reason, time.Since(c.started), repeated, delay})
	}
}

// asError is what a session reports, as an error of its own.
func asError(err error) *Error {
	var typed *Error
	if errors.As(err, &typed) {
		return typed
	}
	return &Error{Code: codes.Unknown, Message: err.Error()}
}
