// Command overhead prints what the runtime costs over the bare stub on a call that does nothing, as a ratio. The stub runs once as it is and once with the
// deadline and the headers any call needs, set by hand. It takes lower quartiles, because what other work on the machine adds is no cost of the runtime's.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	sewa "github.com/sewa-project/sewa/sdk-go"
	"github.com/sewa-project/sewa/sdk-go/fake"
	orderv1 "github.com/sewa-project/sewa/sdk-go/order/v1"
)

const rounds, calls = 300, 50

func main() {
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure() error {
	server, err := fake.New()
	if err != nil {
		return err
	}
	defer server.Close()
	fake.On(server, "sewa.order.v1.OrderService/PlaceOrder", func(context.Context, *orderv1.PlaceOrderRequest) (*orderv1.PlaceOrderResponse, error) {
		return &orderv1.PlaceOrderResponse{}, nil
	})
	client, err := server.Client(sewa.Config{Credentials: sewa.APIKey("sk_0123456789")})
	if err != nil {
		return err
	}
	defer client.Close()
	conn, err := grpc.NewClient(strings.TrimPrefix(server.Endpoint(), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	bare, ours := orderv1.NewOrderServiceClient(conn), orderv1.NewOrderServiceClient(client)
	contenders := [3]func() error{
		func() error { return place(context.Background(), ours) },
		func() error { return place(context.Background(), bare) },
		func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			headers := metadata.Pairs("authorization", "Bearer sk_0123456789", "x-request-id", rand.Text(), "idempotency-key", rand.Text())
			return place(metadata.NewOutgoingContext(ctx, headers), bare)
		},
	}
	var spans [3][]time.Duration
	// In turns, so that all see the same machine.
	for range rounds {
		for i, call := range contenders {
			begun := time.Now()
			for range calls {
				if err := call(); err != nil {
					return err
				}
			}
			spans[i] = append(spans[i], time.Since(begun)/calls)
		}
	}
	for i := range spans {
		slices.Sort(spans[i])
	}
	runtime, stub, dressed := spans[0][rounds/4], spans[1][rounds/4], spans[2][rounds/4]
	fmt.Printf("go overhead of the runtime over the bare stub: %.2f (%v against %v)\n", float64(runtime)/float64(stub), runtime, stub)
	fmt.Printf("go overhead of the runtime over a stub with the same deadline and headers: %.2f (%v)\n", float64(runtime)/float64(dressed), dressed)
	return nil
}

func place(ctx context.Context, orders orderv1.OrderServiceClient) error {
	_, err := orders.PlaceOrder(ctx, &orderv1.PlaceOrderRequest{})
	return err
}
