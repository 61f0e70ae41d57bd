package sewa_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	sewa "github.com/sewa-project/sewa/sdk-go"
	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
	"github.com/sewa-project/sewa/sdk-go/fake"
	identityv1 "github.com/sewa-project/sewa/sdk-go/identity/v1"
	walletv1 "github.com/sewa-project/sewa/sdk-go/wallet/v1"
)

func started(t *testing.T, config sewa.Config) (*fake.Server, *sewa.Client) {
	t.Helper()
	server, err := fake.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	client, err := server.Client(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return server, client
}

func failureOf(t *testing.T, err error) *sewa.Error {
	t.Helper()
	var failure *sewa.Error
	if !errors.As(err, &failure) {
		t.Fatalf("%v is no *sewa.Error", err)
	}
	return failure
}

// Signing in may not be repeated, unless it is certain that nobody heard it.
func TestUnsafeMethodIsRepeatedWhileNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	client, err := sewa.NewClient("http://"+address, sewa.Config{Retry: sewa.RetryPolicy{MaxAttempts: 3, FirstDelay: 1, MaxDelay: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = identityv1.NewIdentityServiceClient(client).Login(t.Context(), &identityv1.LoginRequest{})
	if failure := failureOf(t, err); failure.Code != codes.Unavailable || failure.Attempts != 3 {
		t.Fatalf("%v after %d attempts", failure, failure.Attempts)
	}
}

func TestEndOfTheContextIsToldFromOtherEnds(t *testing.T) {
	server, client := started(t, sewa.Config{})
	fake.On(server, "sewa.wallet.v1.WalletService/GetWallet", func(ctx context.Context, _ *walletv1.GetWalletRequest) (*walletv1.GetWalletResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	wallets := walletv1.NewWalletServiceClient(client)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := wallets.GetWallet(ctx, &walletv1.GetWalletRequest{})
	if failure := failureOf(t, err); !errors.Is(err, context.DeadlineExceeded) || failure.OwnClock != sewa.ClockCaller {
		t.Fatal(err)
	}
	_, err = wallets.GetWallet(t.Context(), &walletv1.GetWalletRequest{}, sewa.AttemptTimeout(50*time.Millisecond), sewa.MaxAttempts(1))
	if failure := failureOf(t, err); !errors.Is(err, context.DeadlineExceeded) || failure.OwnClock != sewa.ClockAttempt {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err = wallets.GetWallet(ctx, &walletv1.GetWalletRequest{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCloseEndsCallsUnderWay(t *testing.T) {
	server, client := started(t, sewa.Config{})
	var calls atomic.Int32
	entered := make(chan struct{})
	fake.On(server, "sewa.wallet.v1.WalletService/GetWallet", func(ctx context.Context, _ *walletv1.GetWalletRequest) (*walletv1.GetWalletResponse, error) {
		if calls.Add(1) == 1 {
			close(entered)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ended := make(chan error)
	go func() {
		_, err := walletv1.NewWalletServiceClient(client).GetWallet(context.Background(), &walletv1.GetWalletRequest{})
		ended <- err
	}()
	<-entered
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if failure := failureOf(t, <-ended); failure.Code != codes.Canceled || calls.Load() != 1 {
		t.Fatalf("%v, %d calls", failure, calls.Load())
	}
}

func TestStreamOfTheStubIsTyped(t *testing.T) {
	server, client := started(t, sewa.Config{})
	fake.OnStream(server, "sewa.event.v1.EventService/WatchEvents",
		func(_ context.Context, _ *eventv1.WatchEventsRequest, send func(*eventv1.WatchEventsResponse) error) error {
			if err := send(&eventv1.WatchEventsResponse{Cursor: "c1"}); err != nil {
				return err
			}
			return fake.Refusal{Reason: "SLOW_CONSUMER"}
		})
	stream, err := eventv1.NewEventServiceClient(client).WatchEvents(t.Context(), &eventv1.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || first.GetCursor() != "c1" {
		t.Fatal(first, err)
	}
	_, err = stream.Recv()
	if failure := failureOf(t, err); failure.Reason != "SLOW_CONSUMER" || failure.RequestID == "" {
		t.Fatal(err)
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	_, client := started(t, sewa.Config{Credentials: sewa.Login("budi@example.com", "rahasia")})
	for _, shown := range []any{client, sewa.APIKey("sk_rahasia"), sewa.Session(&identityv1.Tokens{AccessToken: "rahasia"})} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, shown); strings.Contains(text, "rahasia") || strings.Contains(text, fmt.Sprintf("%x", "rahasia")) {
				t.Errorf("%s shows %s", verb, text)
			}
		}
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	for _, endpoint := range []string{"", "127.0.0.1:1", "ftp://host", "http://", "http://host/path"} {
		if _, err := sewa.NewClient(endpoint, sewa.Config{}); err == nil {
			t.Errorf("%q is taken", endpoint)
		}
	}
	if _, err := sewa.NewClient("http://host", sewa.Config{Credentials: sewa.APIKey("with blank")}); err == nil {
		t.Error("a key with a blank is taken")
	}
}

func TestCallByNameChecksItsArguments(t *testing.T) {
	_, client := started(t, sewa.Config{})
	for method, request := range map[string]string{
		"sewa.wallet.v1.WalletService/Rob":       "{}",
		"sewa.event.v1.EventService/WatchEvents": "{}",
		"sewa.order.v1.OrderService/GetOrder":    `{"orderID": 1}`,
	} {
		if _, err := client.CallJSON(t.Context(), method, []byte(request)); err == nil {
			t.Errorf("%s of %s is taken", method, request)
		}
	}
	if _, err := client.Call(t.Context(), "sewa.order.v1.OrderService/GetOrder", &walletv1.GetWalletRequest{}); err == nil {
		t.Error("a request of another method is taken")
	}
}
