package sewa

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Clock is a clock of this side that ran out.
type Clock int

const (
	// ClockNone means that the server gave the answer, be it DEADLINE_EXCEEDED.
	ClockNone Clock = iota
	// ClockCaller means that the time given by the caller is over.
	ClockCaller
	// ClockContract means that the time the contract allows is over.
	ClockContract
	// ClockAttempt means that one attempt took too long.
	ClockAttempt
)

// FieldViolation is one field of the request that breaks a rule.
type FieldViolation struct {
	// Field is its path, for example items[2].plan_id.
	Field string
	// Reason is the rule that is broken, for example STRING_UUID.
	Reason string
	// Description is English text for the developer.
	Description string
}

// QuotaViolation is one quota that is used up.
type QuotaViolation struct {
	Subject, Metric string
	Limit           int64
	Description     string
}

// Error is an error of a call. Everything in it comes from the standard details of a google.rpc.Status, so an error of a newer server, with a reason this
// module has never heard of, keeps all it carries. Its text holds no secret. Get it by errors.As.
type Error struct {
	// Code is the status code.
	Code codes.Code
	// Message is English text for the developer.
	Message string
	// Reason is the stable reason, for example INSUFFICIENT_BALANCE; empty where the answer did not come from a Sewa server.
	Reason string
	// Metadata are the facts the reason comes with. The catalogue of errors lists the keys of each reason.
	Metadata map[string]string
	// FieldViolations are all fields of the request that break a rule, not only the first.
	FieldViolations []FieldViolation
	// QuotaViolations are the quotas that are used up.
	QuotaViolations []QuotaViolation
	// LocalizedMessage is text for the end user, in the language of the client's Locale.
	LocalizedMessage string
	// RequestID names the call in the server's logs. Send it with a report.
	RequestID string
	// IdempotencyKey is the key the call was made with. Repeating with it, even in another process, cannot do the work twice.
	IdempotencyKey string
	// Attempts that were made.
	Attempts int
	// OwnClock tells which clock of this side ran out.
	OwnClock Clock

	headers metadata.MD
	hint    *time.Duration
	status  *spb.Status
	cause   error
	unsent  bool
}

// Retry says what may be repeated. Calls have been repeated already, as often as the limits allow.
func (e *Error) Retry() RetryClass {
	if known, ok := contract().Reasons[e.Reason]; ok {
		return known.Retry
	}
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded:
		return RetryCall
	case codes.Aborted:
		return RetryUnitOfWork
	default:
		return RetryNothing
	}
}

// RetryAfter is how long the server asks to wait first, if it does.
func (e *Error) RetryAfter() (wait time.Duration, asked bool) {
	if e.hint != nil {
		return *e.hint, true
	}
	// For answers made by a proxy that knows no RetryInfo.
	seconds, err := strconv.ParseUint(strings.TrimSpace(first(e.headers, "retry-after")), 10, 32)
	return time.Duration(seconds) * time.Second, err == nil
}

// Remedy is what the catalogue of errors advises, in one sentence, or nothing.
func (e *Error) Remedy() string { return contract().Reasons[e.Reason].Remedy }

// Headers are the metadata of the answer. They can carry a session, so they are not printed.
func (e *Error) Headers() metadata.MD { return e.headers }

// Error is one line with the reason, the message, the fields at fault and the request id.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(e.Reason)
	if e.Reason == "" {
		text.WriteString(codeName(e.Code))
	}
	text.WriteString(": " + e.Message)
	for _, violation := range e.FieldViolations {
		fmt.Fprintf(&text, "; %s: %s", violation.Field, violation.Description)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&text, " (request %s)", e.RequestID)
	}
	return text.String()
}

// GoString is Error, so that %#v prints no header either.
func (e *Error) GoString() string { return "&sewa.Error{" + e.Error() + "}" }

// Unwrap gives context.Canceled where the caller cancelled, and context.DeadlineExceeded where a clock of this side ran out.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus is the status with its details, for status.FromError.
func (e *Error) GRPCStatus() *status.Status {
	if e.status != nil {
		return status.FromProto(e.status)
	}
	return status.New(e.Code, e.Message)
}

// codeName is the name of a code in the contract.
func codeName(c codes.Code) string { return code.Code(c).String() }

// expired is the error of a clock of this side.
func expired(clock Clock) *Error {
	text := map[Clock]string{
		ClockCaller:   "the time given by the caller is over",
		ClockContract: "the time the contract allows is over",
		ClockAttempt:  "one attempt took too long",
	}
	return &Error{Code: codes.DeadlineExceeded, Message: text[clock], OwnClock: clock, cause: context.DeadlineExceeded}
}

// stopped is the error of a context that ended.
func stopped(ctx context.Context) *Error {
	if ctx.Err() == context.DeadlineExceeded {
		return expired(ClockCaller)
	}
	return &Error{Code: codes.Canceled, Message: "the caller cancelled the call", cause: context.Canceled}
}

// closed is the error of a call of a closed client.
func closed() *Error { return &Error{Code: codes.Canceled, Message: "the client is closed"} }

// Signs of a connection that broke, or was answered by something that is no gRPC server. For a caller it is one thing: the server is out of reach.
var broken = []string{"RST_STREAM", "without sending trailers", "unexpected EOF"}

// ofAnswer reads what gRPC reports of a failed call.
func ofAnswer(err error, headers metadata.MD, unsent bool) *Error {
	answer, _ := status.FromError(err)
	e := ofStatus(answer.Proto())
	e.headers = headers
	if id := first(headers, "x-request-id"); e.RequestID == "" {
		e.RequestID = id
	}
	if e.Reason == "" && (e.Code == codes.Internal || e.Code == codes.Canceled || e.Code == codes.Unknown) {
		for _, sign := range broken {
			if strings.Contains(e.Message, sign) {
				e.Code, e.Message, e.status = codes.Unavailable, "the connection failed: "+e.Message, nil
				break
			}
		}
	}
	e.unsent = unsent && e.Code == codes.Unavailable
	return e
}
