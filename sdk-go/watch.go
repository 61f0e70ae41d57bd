package sewa

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
)

// Ids remembered to recognise repeats. A server repeats at most what it sent around the moment of a cut.
const remembered = 4096

// WatchOptions say what to follow.
type WatchOptions struct {
	// ResumeCursor is where to begin, normally the cursor of the last event dealt with; empty for now.
	ResumeCursor string
	// Types of events; all if empty. Numbers this contract does not know yet are allowed.
	Types []eventv1.EventType
	// SubjectID is whose events; everybody's if empty.
	SubjectID string
	// Silence is how long the server may say nothing before the stream is taken for dead, whatever the connection says. The server sends a checkpoint about
	// every 15 s; 60 s by default.
	Silence time.Duration
}

// Watch follows the event log without loss and without repeats, across lost connections, restarts of servers and expired tokens.
//
// Keep the Cursor of each event once it is dealt with. Watch ends with the first error, which is one that a new connection cannot cure, or that of the context.
// One of them is CURSOR_EXPIRED: list the resources again, then watch from the metadata's oldest_cursor.
func Watch(ctx context.Context, client *Client, options WatchOptions) iter.Seq2[*eventv1.Event, error] {
	return func(yield func(*eventv1.Event, error) bool) {
		following := &following{
			client: client, options: options, silence: or(options.Silence, time.Minute), cursor: options.ResumeCursor, recent: map[string]bool{},
		}
		for {
			failure := following.read(ctx, yield)
			if failure == nil {
				return
			}
			if ended := following.cut(ctx, failure); ended != nil {
				yield(nil, ended)
				return
			}
		}
	}
}

// following is the event log as far as it was read.
type following struct {
	client  *Client
	options WatchOptions
	silence time.Duration

	cursor string
	recent map[string]bool
	order  []string
	cuts   int
	heard  bool
}

// read follows one stream to its end. Without an error the reader wants no more.
func (f *following) read(ctx context.Context, yield func(*eventv1.Event, error) bool) *Error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var silent atomic.Bool
	guard := time.AfterFunc(f.silence, func() {
		silent.Store(true)
		cancel()
	})
	defer guard.Stop()
	f.heard = false
	stream, err := eventv1.NewEventServiceClient(f.client).WatchEvents(ctx, &eventv1.WatchEventsRequest{
		ResumeCursor: f.cursor, Types: f.options.Types, SubjectId: f.options.SubjectID, Checkpoints: true,
	})
	for err == nil {
		var message *eventv1.WatchEventsResponse
		if message, err = stream.Recv(); err != nil {
			break
		}
		// While the reader is busy, nobody listens to the silence.
		guard.Stop()
		f.heard, f.cuts, f.cursor = true, 0, message.GetCursor()
		if event := message.GetEvent(); event != nil && f.isNew(event.GetId()) && !yield(event, nil) {
			return nil
		}
		guard.Reset(f.silence)
	}
	switch {
	case silent.Load():
		return expired(ClockAttempt)
	case errors.Is(err, io.EOF):
		return &Error{Code: codes.Unavailable, Message: "the stream ended", Attempts: 1}
	default:
		return asError(err)
	}
}

// isNew tells whether an event was not there before, and remembers it.
func (f *following) isNew(id string) bool {
	if f.recent[id] {
		return false
	}
	f.recent[id] = true
	f.order = append(f.order, id)
	if len(f.order) > remembered {
		delete(f.recent, f.order[0])
		f.order = f.order[1:]
	}
	return true
}

// cut waits before going on after an error, or returns the one that a new connection cannot cure.
func (f *following) cut(ctx context.Context, failure *Error) *Error {
	if ctx.Err() != nil {
		return stopped(ctx)
	}
	curable := true
	switch failure.Code {
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented,
		codes.Unauthenticated, codes.DataLoss:
		// Opening renews an expired token. If opening itself ends so, there is nothing to renew it with.
		curable = failure.Reason == "TOKEN_EXPIRED" && f.heard
	}
	if !curable || f.client.isClosed() {
		return failure
	}
	f.cuts++
	hint, hinted := failure.RetryAfter()
	return f.client.pause(ctx, f.client.config.Retry.delay(f.cuts, hint, hinted))
}
