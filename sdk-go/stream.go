package sewa

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// NewStream begins a stream of replies. Generated stubs call it. Errors are typed, and an expired token is renewed before the first reply; a stream that runs
// is not opened twice, because only its reader knows how far it came. As with gRPC itself, a reader that stops early cancels the context.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	if desc.ClientStreams {
		return nil, &Error{Code: codes.Unimplemented, Message: "the contract has no streams of requests", Attempts: 1}
	}
	opened := &stream{call: c.begin(ctx, method, options, false), caller: ctx, desc: desc, options: options}
	if failure := opened.open(); failure != nil {
		return nil, opened.call.final(failure)
	}
	return opened, nil
}

type stream struct {
	grpc.ClientStream
	call    *call
	caller  context.Context
	desc    *grpc.StreamDesc
	options []grpc.CallOption

	used    bearer
	cancel  context.CancelFunc
	server  *peer.Peer
	request any
	heard   bool
}

// open begins an attempt, and begins it again if the token turns out to be expired at once.
func (s *stream) open() *Error {
	for {
		ctx, cancel, used, refusal := s.call.attempt(s.caller)
		if refusal != nil {
			return refusal
		}
		server := new(peer.Peer)
		inner, err := s.call.client.conn.NewStream(ctx, s.desc, s.call.method, append(s.options[:len(s.options):len(s.options)], grpc.Peer(server))...)
		s.used, s.cancel, s.server = used, cancel, server
		if err == nil {
			s.ClientStream = inner
			return nil
		}
		cancel()
		if failure := s.refused(err, nil); failure != nil {
			return failure
		}
	}
}

// refused deals with a stream that was not opened, or broke before its first reply: nil means that there are other credentials to open it with.
func (s *stream) refused(err error, headers metadata.MD) *Error {
	failure := s.call.failure(s.caller, err, headers, s.server.Addr == nil)
	if failure.Reason == "TOKEN_EXPIRED" {
		return s.call.renew(s.caller, failure, s.used)
	}
	s.call.observe(failure.Code, failure.Reason, false, 0)
	return failure
}

func (s *stream) SendMsg(message any) error {
	s.request = message
	return s.ClientStream.SendMsg(message)
}

func (s *stream) RecvMsg(message any) error {
	for {
		err := s.ClientStream.RecvMsg(message)
		if err == nil || errors.Is(err, io.EOF) {
			s.running()
			if err != nil {
				s.cancel()
			}
			return err
		}
		s.cancel()
		headers, _ := s.Header()
		headers = metadata.Join(headers, s.Trailer())
		if s.heard {
			return s.call.final(s.call.failure(s.caller, err, headers, false))
		}
		failure := s.refused(err, headers)
		if failure == nil {
			failure = s.open()
		}
		if failure != nil {
			return s.call.final(failure)
		}
		if err := s.ClientStream.SendMsg(s.request); err != nil && !errors.Is(err, io.EOF) {
			return s.call.final(asError(err))
		}
		if err := s.CloseSend(); err != nil {
			return s.call.final(asError(err))
		}
	}
}

// running notes that the stream is open.
func (s *stream) running() {
	if s.heard {
		return
	}
	s.heard = true
	s.call.observe(codes.OK, "", false, 0)
	if headers, err := s.Header(); err == nil {
		s.call.client.notices.read(s.call.method, headers)
	}
}
