package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	sewa "github.com/sewa-project/sewa/sdk-go"
	apiv1 "github.com/sewa-project/sewa/sdk-go/api/v1"
	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
)

// What anything may take. A server that was killed has to start, and the leases it held have to end, within this.
const patience = 2 * time.Minute

// broken is a promise that was not kept.
type broken struct{ what any }

// must is the value of a call that is to succeed.
func must[T any](value T, err error) T {
	if err != nil {
		panic(broken{err})
	}
	return value
}

// stage is the demonstration under way: who calls, and how far the log of events was read.
type stage struct {
	endpoint string
	client   *sewa.Client
	cursor   string
	steps    int
}

// connect makes a client that outlasts a restart of the server: calls are repeated until their time is over.
func (s *stage) connect(who sewa.Credentials) *sewa.Client {
	return must(sewa.NewClient(s.endpoint, sewa.Config{
		Credentials:    who,
		Retry:          sewa.RetryPolicy{MaxAttempts: 10_000, MaxDelay: 500 * time.Millisecond, Budget: 10_000},
		Timeout:        patience,
		AttemptTimeout: 10 * time.Second,
	}))
}

// enter plays the rest as somebody else, whose events are followed from here on.
func (s *stage) enter(client *sewa.Client) {
	s.client = client
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream := must(eventv1.NewEventServiceClient(client).WatchEvents(ctx, &eventv1.WatchEventsRequest{Checkpoints: true}))
	s.cursor = must(stream.Recv()).GetCursor()
}

// asks begins a step: says what is asked for.
func (s *stage) asks(format string, values ...any) {
	s.steps++
	fmt.Printf("%3d. %s\n", s.steps, fmt.Sprintf(format, values...))
}

// sees ends a step: says what was observed.
func (s *stage) sees(format string, values ...any) {
	fmt.Printf("     seen: %s\n", fmt.Sprintf(format, values...))
}

// check fails the step unless what was promised holds.
func (s *stage) check(holds bool, format string, values ...any) {
	if !holds {
		panic(broken{fmt.Sprintf(format, values...)})
	}
}

// refused fails the step unless a call was refused for this reason.
func (s *stage) refused(err error, reason string) *sewa.Error {
	var refusal *sewa.Error
	s.check(errors.As(err, &refusal) && refusal.Reason == reason, "%v instead of a refusal with %s", err, reason)
	return refusal
}

// follow reads the log on until something happens to a subject, and returns what happened to it up to then.
func (s *stage) follow(subjectID string, last eventv1.EventType) []*eventv1.Event {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var read []*eventv1.Event
	for event, err := range sewa.Watch(ctx, s.client, sewa.WatchOptions{ResumeCursor: s.cursor, SubjectID: subjectID}) {
		read = append(read, must(event, err))
		s.cursor = event.GetCursor()
		if event.GetType() == last {
			break
		}
	}
	return read
}

// finish waits until an operation has succeeded, and tells through which steps it went.
func (s *stage) finish(operation *apiv1.Operation) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var steps []string
	must(sewa.Wait(ctx, s.client, operation.GetId(), func(now *apiv1.Operation) {
		steps = append(steps, fmt.Sprintf("%s %d %%", now.GetStep(), now.GetProgressPercent()))
	}))
	return strings.Join(steps, ", ")
}

// until looks again and again until there is something to see.
func until[T any](s *stage, what string, look func() (T, bool)) T {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		seen, ok := look()
		if ok {
			return seen
		}
		s.check(time.Now().Before(end), "%s was not seen", what)
	}
}

// names are those of events in the contract, without their prefix.
func names(events []*eventv1.Event) string {
	var names []string
	for _, event := range events {
		names = append(names, strings.TrimPrefix(event.GetType().String(), "EVENT_TYPE_"))
	}
	return strings.Join(names, ", ")
}

// idr is whole rupiah.
func idr(units int64) *money.Money { return &money.Money{CurrencyCode: "IDR", Units: units} }

// rupiah is money for people: Rp1.234.567.
func rupiah(units int64) string {
	sign := ""
	if units < 0 {
		sign, units = "-", -units
	}
	digits := strconv.FormatInt(units, 10)
	var groups []string
	for len(digits) > 3 {
		groups = append(groups, digits[len(digits)-3:])
		digits = digits[:len(digits)-3]
	}
	groups = append(groups, digits)
	slices.Reverse(groups)
	return sign + "Rp" + strings.Join(groups, ".")
}
