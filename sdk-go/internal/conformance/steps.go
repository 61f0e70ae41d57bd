package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	sewa "github.com/sewa-project/sewa/sdk-go"
	apiv1 "github.com/sewa-project/sewa/sdk-go/api/v1"
	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
)

func (s *scene) step(step *step) object {
	switch {
	case step.Show != "":
		shown := map[string]any{"client": s.client, "credentials": s.credentials, "last_error": s.lastError}[step.Show]
		return object{"text": fmt.Sprintf("%v %+v %#v", shown, shown, shown)}
	case step.Verify != nil:
		return step.Verify.result()
	case step.Sign != nil:
		return step.Sign.result()
	case step.Close:
		if err := s.client.Close(); err != nil {
			return s.failed(object{}, err)
		}
		return object{"ok": object{}}
	case step.Pages != "":
		return s.pages(step)
	case step.Wait != nil:
		return s.wait(step)
	case step.Watch != nil:
		return s.watch(step)
	case step.Parallel > 0:
		results := make([]object, step.Parallel)
		var group sync.WaitGroup
		for i := range results {
			group.Go(func() { results[i] = s.call(step) })
		}
		group.Wait()
		return object{"parallel": results}
	default:
		return s.call(step)
	}
}

// failed adds an error to a result.
func (s *scene) failed(result object, err error) object {
	var typed *sewa.Error
	if !errors.As(err, &typed) {
		result["error"] = object{"code": "UNTYPED", "message": err.Error()}
		return result
	}
	s.lock.Lock()
	s.lastError = typed
	s.lock.Unlock()
	fields := []object{}
	for _, violation := range typed.FieldViolations {
		fields = append(fields, object{"field": violation.Field, "reason": violation.Reason})
	}
	metadata := typed.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	told := object{
		"code": codeName(typed.Code), "message": typed.Message, "metadata": metadata, "fields": fields, "retry": typed.Retry().String(),
		"own_timeout": typed.OwnClock != sewa.ClockNone, "attempts": typed.Attempts,
	}
	for name, value := range map[string]string{"reason": typed.Reason, "request_id": typed.RequestID, "idempotency_key": typed.IdempotencyKey} {
		if value != "" {
			told[name] = value
		}
	}
	if wait, asked := typed.RetryAfter(); asked {
		told["retry_after_ms"] = wait.Milliseconds()
	}
	result["error"] = told
	return result
}

func codeName(c codes.Code) string { return code.Code(c).String() }

// printed is protobuf JSON.
func printed(message proto.Message) json.RawMessage {
	text, err := protojson.Marshal(message)
	if err != nil {
		text, _ = json.Marshal(err.Error())
	}
	return text
}

func (st *step) options() []grpc.CallOption {
	var options []grpc.CallOption
	if st.Key != "" {
		options = append(options, sewa.IdempotencyKey(st.Key))
	}
	for name, value := range st.Headers {
		options = append(options, sewa.Header(name, value))
	}
	if st.TimeoutMs > 0 {
		options = append(options, sewa.Timeout(milliseconds(st.TimeoutMs)))
	}
	if st.AttemptTimeoutMs > 0 {
		options = append(options, sewa.AttemptTimeout(milliseconds(st.AttemptTimeoutMs)))
	}
	if st.Attempts > 0 {
		options = append(options, sewa.MaxAttempts(st.Attempts))
	}
	return options
}

func (st *step) json() []byte {
	if st.Request == nil {
		return []byte("{}")
	}
	return st.Request
}

func (s *scene) call(step *step) object {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if step.CancelAfterMs > 0 {
		defer time.AfterFunc(milliseconds(step.CancelAfterMs), cancel).Stop()
	}
	method := step.Call
	if step.Raw != "" {
		method = step.Raw
	}
	reply, err := s.client.CallJSON(ctx, method, step.json(), step.options()...)
	if err != nil {
		return s.failed(object{}, err)
	}
	told := object{"ok": printed(reply.Message), "replayed": reply.Replayed, "request_id": reply.RequestID, "attempts": reply.Attempts}
	if step.Raw != "" {
		headers := object{}
		for name, values := range reply.Headers {
			headers[name] = values[0]
		}
		told["headers"] = headers
	}
	return told
}

func (s *scene) wait(step *step) object {
	ctx, cancel := context.WithCancel(context.Background())
	if step.TimeoutMs > 0 {
		ctx, cancel = context.WithTimeout(ctx, milliseconds(step.TimeoutMs))
	}
	defer cancel()
	progress := []string{}
	var show func(*apiv1.Operation)
	if step.Progress {
		show = func(now *apiv1.Operation) { progress = append(progress, now.GetStep()) }
	}
	operation, err := sewa.Wait(ctx, s.client, step.Wait.OperationID, show)
	if err != nil {
		return s.failed(object{"progress": progress}, err)
	}
	return object{"operation": printed(operation), "progress": progress}
}

func (s *scene) watch(step *step) object {
	span := time.Minute
	if step.TimeoutMs > 0 {
		span = milliseconds(step.TimeoutMs)
	}
	ctx, cancel := context.WithTimeout(context.Background(), span)
	defer cancel()
	asked := &eventv1.WatchEventsRequest{}
	result := object{"events": []object{}}
	if err := protojson.Unmarshal(step.Watch, asked); err != nil {
		return s.failed(result, err)
	}
	before := s.connects()
	events := []object{}
	for event, err := range sewa.Watch(ctx, s.client, sewa.WatchOptions{
		ResumeCursor: asked.GetResumeCursor(), Types: asked.GetTypes(), SubjectID: asked.GetSubjectId(), Silence: milliseconds(step.SilenceMs),
	}) {
		if err != nil {
			s.failed(result, err)
			break
		}
		events = append(events, object{"id": event.GetId(), "cursor": event.GetCursor(), "type": event.GetType().String()})
		if len(events) >= step.Events {
			break
		}
	}
	result["events"], result["connects"] = events, s.connects()-before
	return result
}

// connects counts the streams opened so far.
func (s *scene) connects() int {
	return s.count(func(one object) bool { return one["method"] == "/sewa.event.v1.EventService/WatchEvents" })
}

func (s *scene) count(counts func(object) bool) int {
	s.lock.Lock()
	defer s.lock.Unlock()
	count := 0
	for _, one := range s.observed {
		if counts(one) {
			count++
		}
	}
	return count
}
