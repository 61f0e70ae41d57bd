package sewa

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// settings of one call.
type settings struct {
	key                     string
	headers                 []string
	timeout, attemptTimeout time.Duration
	maxAttempts             int
	info                    *Info
}

type callOption struct {
	// What gRPC knows of it: nothing.
	grpc.EmptyCallOption
	set func(*settings)
}

// IdempotencyKey is the key of a write, to keep one across restarts of your program. Without it each call gets a new one.
func IdempotencyKey(key string) grpc.CallOption {
	return callOption{set: func(s *settings) { s.key = key }}
}

// Header sends a header. Headers of the context's outgoing metadata are sent as well.
func Header(name, value string) grpc.CallOption {
	return callOption{set: func(s *settings) { s.headers = append(s.headers, name, value) }}
}

// Timeout of the call with all its attempts, in place of the client's and the contract's. A deadline of the context holds as well.
func Timeout(span time.Duration) grpc.CallOption {
	return callOption{set: func(s *settings) { s.timeout = span }}
}

// AttemptTimeout limits each attempt.
func AttemptTimeout(span time.Duration) grpc.CallOption {
	return callOption{set: func(s *settings) { s.attemptTimeout = span }}
}

// MaxAttempts of the call; 1 turns repeats off.
func MaxAttempts(count int) grpc.CallOption {
	return callOption{set: func(s *settings) { s.maxAttempts = count }}
}

// Info is what a reply came with.
type Info struct {
	// Headers of the reply.
	Headers metadata.MD
	// RequestID names the call in the server's logs.
	RequestID string
	// Replayed tells that this is the stored outcome of an earlier call with the same idempotency key.
	Replayed bool
	// Attempts it took.
	Attempts int
}

// ReplyInfo fills in info when the call succeeded.
func ReplyInfo(info *Info) grpc.CallOption {
	return callOption{set: func(s *settings) { s.info = info }}
}

func (c *Client) settings(options []grpc.CallOption) settings {
	s := settings{attemptTimeout: c.config.AttemptTimeout, maxAttempts: c.config.Retry.MaxAttempts}
	for _, option := range options {
		if ours, ok := option.(callOption); ok {
			ours.set(&s)
		}
	}
	return s
}
