// Command overhead prints what the runtime costs over the bare stub on a call that does nothing, as a ratio of medians.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	sewa "github.com/sewa-project/sewa/sdk-go"
	"github.com/sewa-project/sewa/sdk-go/fake"
	metav1 "github.com/sewa-project/sewa/sdk-go/meta/v1"
)

const rounds, calls = 40, 500

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
	client, err := server.Client(sewa.Config{Credentials: sewa.APIKey("sk_overhead")})
	if err != nil {
		return err
	}
	defer client.Close()
	conn, err := grpc.NewClient(strings.TrimPrefix(server.Endpoint(), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	stubs := []metav1.MetaServiceClient{metav1.NewMetaServiceClient(conn), metav1.NewMetaServiceClient(client)}
	spans := make([][]time.Duration, len(stubs))
	// In turns, so that both see the same machine. The first round warms up.
	for round := range rounds + 1 {
		for i, stub := range stubs {
			begun := time.Now()
			for range calls {
				if _, err := stub.GetServerInfo(context.Background(), &metav1.GetServerInfoRequest{}); err != nil {
					return err
				}
			}
			if round > 0 {
				spans[i] = append(spans[i], time.Since(begun))
			}
		}
	}
	var medians [2]float64
	for i, column := range spans {
		slices.Sort(column)
		medians[i] = column[len(column)/2].Seconds()
	}
	fmt.Printf("go overhead of the runtime over the bare stub: %.2f (%.0f µs against %.0f µs)\n",
		medians[1]/medians[0], medians[1]/calls*1e6, medians[0]/calls*1e6)
	return nil
}
