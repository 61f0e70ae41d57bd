// Command sewa-grpc-gateway is grpc-gateway, generated from our contract, as a reverse proxy in front of a server's gRPC.
//
// Usage: sewa-grpc-gateway LISTEN BACKEND, both host:port
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	catalogv1 "sewa-grpc-gateway/generated/catalog/v1"
	eventv1 "sewa-grpc-gateway/generated/event/v1"
	identityv1 "sewa-grpc-gateway/generated/identity/v1"
	instancev1 "sewa-grpc-gateway/generated/instance/v1"
	lifecyclev1 "sewa-grpc-gateway/generated/lifecycle/v1"
	metav1 "sewa-grpc-gateway/generated/meta/v1"
	operationv1 "sewa-grpc-gateway/generated/operation/v1"
	orderv1 "sewa-grpc-gateway/generated/order/v1"
	sandboxv1 "sewa-grpc-gateway/generated/sandbox/v1"
	walletv1 "sewa-grpc-gateway/generated/wallet/v1"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sewa-grpc-gateway LISTEN BACKEND")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, serve(os.Args[1], os.Args[2]))
	os.Exit(1)
}

func serve(listen, backend string) error {
	conn, err := grpc.NewClient(backend, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	mux := runtime.NewServeMux(runtime.WithIncomingHeaderMatcher(func(name string) (string, bool) {
		// What the server wants to know beside what grpc-gateway passes on by itself.
		if strings.EqualFold(name, "idempotency-key") {
			return "idempotency-key", true
		}
		return runtime.DefaultHeaderMatcher(name)
	}))
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		catalogv1.RegisterCatalogServiceHandler,
		eventv1.RegisterEventServiceHandler,
		identityv1.RegisterIdentityServiceHandler,
		instancev1.RegisterInstanceServiceHandler,
		lifecyclev1.RegisterLifecycleServiceHandler,
		metav1.RegisterMetaServiceHandler,
		operationv1.RegisterOperationServiceHandler,
		orderv1.RegisterOrderServiceHandler,
		sandboxv1.RegisterSandboxServiceHandler,
		walletv1.RegisterWalletServiceHandler,
	} {
		if err := register(context.Background(), mux, conn); err != nil {
			return err
		}
	}
	// HTTP/2 without TLS, as the load generator speaks it.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Addr: listen, Handler: mux, Protocols: protocols}
	return server.ListenAndServe()
}
