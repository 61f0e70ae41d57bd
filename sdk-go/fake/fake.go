// Package fake is a server in this process for tests of programs that use the SDK: real gRPC over a local port, with answers of your own.
package fake

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	sewa "github.com/sewa-project/sewa/sdk-go"
)

// Server is a server whose methods are functions. Methods without one answer UNIMPLEMENTED.
type Server struct {
	listener net.Listener
	server   *grpc.Server
	lock     sync.RWMutex
	answers  map[string]func(grpc.ServerStream) error
}

// New starts a server. Close it.
func New() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener, answers: map[string]func(grpc.ServerStream) error{}}
	s.server = grpc.NewServer(grpc.UnknownServiceHandler(s.handle))
	// It ends when the server is closed, and that is no error.
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

// Endpoint is where it listens.
func (s *Server) Endpoint() string { return "http://" + s.listener.Addr().String() }

// Client makes a client of this server.
func (s *Server) Client(config sewa.Config) (*sewa.Client, error) {
	return sewa.NewClient(s.Endpoint(), config)
}

// Close stops it.
func (s *Server) Close() { s.server.Stop() }

// On answers a unary method, package.Service/Method. It panics if the contract has no such method with these messages, because that is a mistake in the test.
func On[Q, R proto.Message](s *Server, method string, answer func(context.Context, Q) (R, error)) {
	set(s, method, false, func(stream grpc.ServerStream) error {
		request, err := receive[Q](stream)
		if err != nil {
			return err
		}
		reply, err := answer(stream.Context(), request)
		if err != nil {
			return err
		}
		return stream.SendMsg(reply)
	}, *new(Q), *new(R))
}

// OnStream answers a method with a stream of replies. The stream ends when answer returns. It panics as On does.
func OnStream[Q, R proto.Message](s *Server, method string, answer func(ctx context.Context, request Q, send func(R) error) error) {
	set(s, method, true, func(stream grpc.ServerStream) error {
		request, err := receive[Q](stream)
		if err != nil {
			return err
		}
		return answer(stream.Context(), request, func(reply R) error { return stream.SendMsg(reply) })
	}, *new(Q), *new(R))
}

func set(s *Server, method string, streaming bool, handle func(grpc.ServerStream) error, request, reply proto.Message) {
	path := "/" + strings.TrimPrefix(method, "/")
	rule := sewa.Contract().Methods[path]
	if rule == nil || rule.Descriptor.IsStreamingServer() != streaming ||
		rule.Descriptor.Input().FullName() != request.ProtoReflect().Descriptor().FullName() ||
		rule.Descriptor.Output().FullName() != reply.ProtoReflect().Descriptor().FullName() {
		panic(fmt.Sprintf("fake: the contract has no method %s with these messages", method))
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.answers[path] = handle
}

func receive[Q proto.Message](stream grpc.ServerStream) (Q, error) {
	var none Q
	kind, err := protoregistry.GlobalTypes.FindMessageByName(none.ProtoReflect().Descriptor().FullName())
	if err != nil {
		return none, err
	}
	request := kind.New().Interface()
	if err := stream.RecvMsg(request); err != nil {
		return none, err
	}
	return request.(Q), nil
}

func (s *Server) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	s.lock.RLock()
	answer := s.answers[method]
	s.lock.RUnlock()
	if answer == nil {
		return status.Errorf(codes.Unimplemented, "no answer for %s", method)
	}
	return answer(stream)
}

// Refusal is an error of the catalogue, for an answer to return.
type Refusal struct {
	// Reason is its name, for example INSUFFICIENT_BALANCE.
	Reason string
	// Metadata are its facts.
	Metadata map[string]string
	// RetryAfter is how long the caller is asked to wait; zero for no such hint.
	RetryAfter time.Duration
}

// Error is the error as a server sends it. It panics if the contract has no such reason, because that is a mistake in the test.
func (r Refusal) Error() string { return r.GRPCStatus().Message() }

// GRPCStatus is the status with its details.
func (r Refusal) GRPCStatus() *status.Status {
	rule, ok := sewa.Contract().Reasons[r.Reason]
	if !ok {
		panic("fake: the contract has no error reason " + r.Reason)
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: r.Reason, Domain: "sewa", Metadata: r.Metadata}}
	if r.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(r.RetryAfter)})
	}
	refused, err := status.New(rule.Code, rule.Remedy).WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return refused
}
