package sewa

import (
	"context"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// PageRequest is a request of a list.
type PageRequest interface {
	proto.Message
	GetPageToken() string
}

// PageReply is one page of a list.
type PageReply interface {
	proto.Message
	GetNextPageToken() string
}

// Pages walks the pages of a list; each is asked for when it is wanted: Pages(ctx, orders.ListOrders, &orderv1.ListOrdersRequest{}). It ends after an error.
func Pages[Q PageRequest, R PageReply](
	ctx context.Context, method func(context.Context, Q, ...grpc.CallOption) (R, error), request Q, options ...grpc.CallOption,
) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		asked := proto.CloneOf(request)
		for {
			page, err := method(ctx, asked, options...)
			if !yield(page, err) || err != nil {
				return
			}
			token := page.GetNextPageToken()
			if token == "" {
				return
			}
			if token == asked.GetPageToken() {
				var none R
				yield(none, &Error{Code: codes.Internal, Message: "the server answered a page with its own token", Attempts: 1})
				return
			}
			asked = turn(asked, token)
		}
	}
}

// turn is the request of the next page. A new one, because the caller's method may still hold the last.
func turn[Q PageRequest](asked Q, token string) Q {
	next := proto.CloneOf(asked)
	message := next.ProtoReflect()
	message.Set(message.Descriptor().Fields().ByName("page_token"), protoreflect.ValueOfString(token))
	return next
}

// Items walks the items of a list: Items(ctx, orders.ListOrders, &orderv1.ListOrdersRequest{}, (*orderv1.ListOrdersResponse).GetOrders).
func Items[Q PageRequest, R PageReply, T any](
	ctx context.Context, method func(context.Context, Q, ...grpc.CallOption) (R, error), request Q, pick func(R) []T, options ...grpc.CallOption,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page, err := range Pages(ctx, method, request, options...) {
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range pick(page) {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}
