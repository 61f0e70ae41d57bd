package sewa

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/sewa-project/sewa/sdk-go/api/v1"
	operationv1 "github.com/sewa-project/sewa/sdk-go/operation/v1"
)

const (
	// One long poll: short enough for proxies that cut idle connections after a minute. With progress, a server answers when the operation is final or the
	// time is over, not at every step.
	longPoll     = 30 * time.Second
	progressPoll = time.Second
	// What the answer may take on top.
	pollSlack = 5 * time.Second
)

// Wait waits until an operation succeeded, and returns it. If it failed or was cancelled, the *Error is the operation's own.
//
// When the context ends, the operation goes on, and can be waited for again by its id. Progress, if not nil, is shown the operation at once, and again when it
// got further.
func Wait(ctx context.Context, client *Client, operationID string, progress func(*apiv1.Operation)) (*apiv1.Operation, error) {
	waiting := &waiting{progress: progress, span: longPoll}
	if progress != nil {
		waiting.span = 0
	}
	operations := operationv1.NewOperationServiceClient(client)
	for {
		if ctx.Err() != nil {
			return nil, stopped(ctx)
		}
		span := waiting.span
		if end, ok := ctx.Deadline(); ok {
			span = min(span, max(time.Until(end), 0))
		}
		asked := time.Now()
		request := &operationv1.WaitOperationRequest{OperationId: operationID, Timeout: durationpb.New(span)}
		// A long poll is meant to take long, whatever the client's time for an attempt is.
		reply, err := operations.WaitOperation(ctx, request, Timeout(span+pollSlack), AttemptTimeout(span+pollSlack))
		if err == nil {
			operation := reply.GetOperation()
			if over, failure := waiting.answered(operation); over {
				if failure != nil {
					return nil, failure
				}
				return operation, nil
			}
			// A server may answer before the time is over; it is not to be asked in a tight loop for that.
			if time.Since(asked) >= min(span/2, time.Second) {
				continue
			}
		}
		if ended := waiting.pause(ctx, client, err); ended != nil {
			return nil, ended
		}
	}
}

type waiting struct {
	progress func(*apiv1.Operation)
	span     time.Duration
	last     *apiv1.Operation
	idle     int
}

// answered tells whether the operation is over, and how it failed.
func (w *waiting) answered(now *apiv1.Operation) (bool, *Error) {
	last := w.last
	if last == nil || last.GetState() != now.GetState() || last.GetProgressPercent() != now.GetProgressPercent() || last.GetStep() != now.GetStep() {
		if w.progress != nil {
			w.progress(now)
			w.span = progressPoll
		}
		w.last, w.idle = now, 0
	}
	switch now.GetState() {
	case apiv1.Operation_STATE_SUCCEEDED:
		return true, nil
	case apiv1.Operation_STATE_CANCELLED:
		return true, &Error{Code: codes.Canceled, Message: "the operation was cancelled", Attempts: 1}
	case apiv1.Operation_STATE_FAILED:
		return true, ofStatus(now.GetError())
	case apiv1.Operation_STATE_PENDING, apiv1.Operation_STATE_RUNNING:
		return false, nil
	default:
		// States of a later contract are final when they have a finish time.
		if now.GetFinishTime() == nil {
			return false, nil
		}
		return true, ofStatus(now.GetError())
	}
}

// pause waits before the next look. A server out of reach is waited for, because the operation does not depend on who watches it; any other error is final.
func (w *waiting) pause(ctx context.Context, client *Client, err error) error {
	var hint time.Duration
	var hinted bool
	if err != nil {
		failure := asError(err)
		if failure.Retry() != RetryCall || ctx.Err() != nil || client.isClosed() {
			return failure
		}
		hint, hinted = failure.RetryAfter()
	}
	w.idle++
	if ended := client.pause(ctx, client.config.Retry.delay(w.idle, hint, hinted)); ended != nil {
		return ended
	}
	return nil
}
