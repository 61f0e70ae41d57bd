// Command overhead prints what the runtime costs on top of a stub, as a ratio: on a call that does nothing and needs nothing, over the bare stub; and on an order, over
// a stub whose caller sets the deadline, the credentials and the key by hand. It takes lower quartiles, because what other work on the machine adds is no cost of the
// runtime's.
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
	metav1 "github.com/sewa-project/sewa/sdk-go/meta/v1"
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
	fake.On(server, "sewa.meta.v1.MetaService/GetServerInfo", func(context.Context, *metav1.GetServerInfoRequest) (*metav1.GetServerInfoResponse, error) {
		return &metav1.GetServerInfoResponse{}, nil
	})
	fake.On(server, "sewa.order.v1.OrderService/PlaceOrder", func(context.Context, *orderv1.PlaceOrderRequest) (*orderv1.PlaceOrderResponse, error) {
		return &orderv1.PlaceOrderResponse{}, nil
	})
	anonymous, err := server.Client(sewa.Config{})
	if err != nil {
		return err
	}
	defer anonymous.Close()
	reseller, err := server.Client(sewa.Config{Credentials: sewa.APIKey("sk_0123456789")})
	if err != nil {
		return err
	}
	defer reseller.Close()
	conn, err := grpc.NewClient(strings.TrimPrefix(server.Endpoint(), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	bareMeta, meta := metav1.NewMetaServiceClient(conn), metav1.NewMetaServiceClient(anonymous)
	bareOrders, orders := orderv1.NewOrderServiceClient(conn), orderv1.NewOrderServiceClient(reseller)
	contenders := [4]func() error{
		func() error { return look(bareMeta) },
		func() error { return look(meta) },
		func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			headers := metadata.Pairs("authorization", "Bearer sk_0123456789", "x-request-id", rand.Text(), "idempotency-key", rand.Text())
			return place(metadata.NewOutgoingContext(ctx, headers), bareOrders)
		},
		func() error { return place(context.Background(), orders) },
	}
	var spans [4][]time.Duration
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
	quartile := func(i int) time.Duration { return spans[i][rounds/4] }
	ratio := func(ours, base int) float64 { return float64(quartile(ours)) / float64(quartile(base)) }
	fmt.Printf("go overhead of the runtime over the bare stub: %.2f (%v against %v)\n", ratio(1, 0), quartile(1), quartile(0))
	fmt.Printf("go overhead of an order over a stub with deadline, credentials and key set by hand: %.2f (%v against %v)\n", ratio(3, 2), quartile(3), quartile(2))
	return nil
}

func look(meta metav1.MetaServiceClient) error {
	_, err := meta.GetServerInfo(context.Background(), &metav1.GetServerInfoRequest{})
	return err
}

func place(ctx context.Context, orders orderv1.OrderServiceClient) error {
	_, err := orders.PlaceOrder(ctx, &orderv1.PlaceOrderRequest{})
	return err
}
