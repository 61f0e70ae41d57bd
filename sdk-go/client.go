package sewa

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	identityv1 "github.com/sewa-project/sewa/sdk-go/identity/v1"
)

const (
	// What a server may send of one reply, and of all replies of a connection, before it has to wait for word that it was read; bytes.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

// Config holds the settings of a client. The zero value is good for public methods.
type Config struct {
	// Credentials say who the calls are made as.
	Credentials Credentials
	// Retry limits repeats.
	Retry RetryPolicy
	// Timeout of a unary call that sets none and whose context has no deadline; by default what the contract says.
	Timeout time.Duration
	// AttemptTimeout limits each attempt of a unary call; by default only the call is limited.
	AttemptTimeout time.Duration
	// Locale is the language of Error.LocalizedMessage, for example id.
	Locale string
	// UserAgent names your program, for example shop/1.2. It is sent before the SDK's own name.
	UserAgent string
	// Observe receives every attempt, for metrics and traces. It is called on the path of the call, so it must not block.
	Observe func(Attempt)
	// Notice receives, once each, warnings for the operator: deprecated methods and servers of another contract. By default they are logged with slog.
	Notice func(string)
	// TLS of an https endpoint; by default the system's roots.
	TLS *tls.Config
	// DialOptions are passed to gRPC, after the SDK's own.
	DialOptions []grpc.DialOption
}

// Attempt is one attempt of a call, after it ended.
type Attempt struct {
	// Method is its path, /package.Service/Method.
	Method string
	// RequestID is what all attempts of one call share.
	RequestID string
	// Number of the attempt, from 1.
	Number int
	// Code is how it ended. A stream counts as OK once it is open.
	Code codes.Code
	// Reason is why, if it failed and the server said.
	Reason string
	// Elapsed is the time it took.
	Elapsed time.Duration
	// Repeated tells whether another attempt follows, and RepeatAfter when.
	Repeated    bool
	RepeatAfter time.Duration
}

// Client is a client of one Sewa server, and the connection generated stubs are built on. It is safe for concurrent use.
type Client struct {
	config    Config
	headers   metadata.MD
	conn      *grpc.ClientConn
	rules     *Rules
	budget    *budget
	notices   *notices
	authority authority
	closed    chan struct{}
	closing   sync.Once
}

var _ grpc.ClientConnInterface = (*Client)(nil)

// NewClient makes a client of the server at an endpoint, http://… or https://… with a host and a port if need be. It connects when the first call needs it.
func NewClient(endpoint string, config Config) (*Client, error) {
	target, encrypted, err := address(endpoint)
	if err == nil {
		err = config.Credentials.check()
	}
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if encrypted {
		transport = credentials.NewTLS(config.TLS)
	}
	agent := "sewa-sdk-go/" + Version
	if config.UserAgent != "" {
		agent = config.UserAgent + " " + agent
	}
	conn, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithUserAgent(agent),
		// Repeats are ours: gRPC knows neither the keys nor the catalogue of errors.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// Fixed: gRPC looks for the best windows with a ping for each reply otherwise, a twentieth of the time of a small call.
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		// A connection that died silently is noticed before the next call would hang on it.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}, config.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("sewa: %w", err)
	}
	config.Retry = config.Retry.withDefaults()
	if config.Notice == nil {
		config.Notice = func(text string) { slog.Warn("sewa: " + text) }
	}
	client := &Client{
		config: config, conn: conn, rules: contract(), budget: newBudget(config.Retry), notices: &notices{say: config.Notice}, closed: make(chan struct{}),
	}
	if config.Locale != "" {
		client.headers = metadata.Pairs("accept-language", config.Locale)
	}
	client.authorize(config.Credentials)
	return client, nil
}

func (c *Client) authorize(who Credentials) {
	switch {
	case who.email != "" || who.tokens != nil:
		// Signing in is a call as any other, but without credentials, or it would wait for itself.
		nobody := &Client{
			config: c.config, headers: c.headers, conn: c.conn, rules: c.rules, budget: c.budget, notices: c.notices, authority: fixed(""), closed: c.closed,
		}
		c.authority = newSession(who, identityv1.NewIdentityServiceClient(nobody))
	case who.secret != "":
		c.authority = fixed("Bearer " + who.secret)
	default:
		c.authority = fixed("")
	}
}

// Close ends calls under way and closes the connections. Calls made later fail.
func (c *Client) Close() error {
	var err error
	c.closing.Do(func() {
		close(c.closed)
		err = c.conn.Close()
	})
	return err
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// pause waits before a repeat.
func (c *Client) pause(ctx context.Context, delay time.Duration) *Error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.closed:
		return closed()
	case <-ctx.Done():
		return stopped(ctx)
	}
}

// Format prints what kind of credentials the client has, for every verb, and no secret.
func (c *Client) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "sewa.Client{%s, %s}", c.conn.Target(), c.config.Credentials)
}

// address is what to connect to, and whether the connection is encrypted.
func address(endpoint string) (target string, encrypted bool, err error) {
	parsed, err := url.Parse(endpoint)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "" || (parsed.Path != "" && parsed.Path != "/") {
		return "", false, fmt.Errorf("sewa: an endpoint is http:// or https:// with a host, and a port if need be, not %q", endpoint)
	}
	encrypted = parsed.Scheme == "https"
	host := parsed.Host
	switch {
	case parsed.Port() != "":
	case encrypted:
		host += ":443"
	default:
		host += ":80"
	}
	return "dns:///" + host, encrypted, nil
}
