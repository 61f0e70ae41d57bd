package sewa

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Reply is the reply of a call made by its name.
type Reply struct {
	Info
	// Message is the reply itself.
	Message proto.Message
}

// Call calls a method by its name, sewa.wallet.v1.WalletService/GetWallet, and returns the reply with its headers. A message with fields of a later contract
// may be sent, and Invoke even calls methods this module does not know.
func (c *Client) Call(ctx context.Context, method string, request proto.Message, options ...grpc.CallOption) (*Reply, error) {
	path, rule, err := c.resolve(method)
	if err != nil {
		return nil, err
	}
	if want := rule.Descriptor.Input().FullName(); request.ProtoReflect().Descriptor().FullName() != want {
		return nil, fmt.Errorf("sewa: a request of %s is a %s", method, want)
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(rule.Descriptor.Output().FullName())
	if err != nil {
		return nil, fmt.Errorf("sewa: %s: %w", method, err)
	}
	reply := &Reply{Message: kind.New().Interface()}
	if err := c.Invoke(ctx, path, request, reply.Message, append(options[:len(options):len(options)], ReplyInfo(&reply.Info))...); err != nil {
		return nil, err
	}
	return reply, nil
}

// CallJSON is Call with a request in protobuf JSON.
func (c *Client) CallJSON(ctx context.Context, method string, request []byte, options ...grpc.CallOption) (*Reply, error) {
	_, rule, err := c.resolve(method)
	if err != nil {
		return nil, err
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(rule.Descriptor.Input().FullName())
	if err != nil {
		return nil, fmt.Errorf("sewa: %s: %w", method, err)
	}
	message := kind.New().Interface()
	if err := protojson.Unmarshal(request, message); err != nil {
		return nil, fmt.Errorf("sewa: not a request of %s: %w", method, err)
	}
	return c.Call(ctx, method, message, options...)
}

// resolve finds the path and the rule of a unary method.
func (c *Client) resolve(method string) (string, *MethodRule, error) {
	path := "/" + strings.TrimPrefix(method, "/")
	rule := c.rules.Methods[path]
	if rule == nil {
		return "", nil, fmt.Errorf("sewa: the contract has no method %s", method)
	}
	if rule.Descriptor.IsStreamingServer() || rule.Descriptor.IsStreamingClient() {
		return "", nil, fmt.Errorf("sewa: %s is a stream: use its stub", method)
	}
	return path, rule, nil
}
