package sewa

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	identityv1 "github.com/sewa-project/sewa/sdk-go/identity/v1"
)

const (
	// Renewal begins in the background when less than this is left, or a fifth of the token's life if that is less.
	renewAhead = 2 * time.Minute
	// A token is trusted at least this long, so that a wrong clock on this side cannot make each call renew. If it ends sooner, the server says so.
	shortestLife = 5 * time.Second
	// The pause after a renewal in the background failed.
	renewPause = 5 * time.Second
)

// bearer is credentials ready to send, and which renewal they came from.
type bearer struct {
	header  string
	renewal int
}

// authority gives calls their credentials.
type authority interface {
	// bearer is what to send, if anything. A public method does not wait for it.
	bearer(ctx context.Context, public bool) (bearer, error)
	// renewable tells whether there can be something other than what was refused, and renewed gets it.
	renewable() bool
	renewed(ctx context.Context, refused bearer) error
}

// fixed credentials never change.
type fixed string

func (f fixed) bearer(context.Context, bool) (bearer, error) { return bearer{header: string(f)}, nil }

func (f fixed) renewable() bool { return false }

func (f fixed) renewed(context.Context, bearer) error { return nil }

// session keeps a user's session alive. One renewal runs at a time, however many calls wait for it, because a refresh token works once; and it is finished
// even if their time is over.
type session struct {
	identity        identityv1.IdentityServiceClient
	email, password string

	lock            sync.Mutex
	current         bearer
	refresh         string
	renewAt, endsAt time.Time
	renewals        int
	failure         *Error
	underWay        chan struct{}
}

func newSession(credentials Credentials, identity identityv1.IdentityServiceClient) *session {
	s := &session{identity: identity, email: credentials.email, password: credentials.password}
	if credentials.tokens != nil {
		s.keep(credentials.tokens)
	}
	return s
}

// bearer is a token that has not ended. One that ends soon is renewed in the background meanwhile.
func (s *session) bearer(ctx context.Context, public bool) (bearer, error) {
	s.lock.Lock()
	now := time.Now()
	usable := s.current.header != "" && now.Before(s.endsAt)
	if usable && !public && !now.Before(s.renewAt) {
		s.start()
	}
	if usable || public {
		current := s.current
		s.lock.Unlock()
		if !usable {
			current = bearer{}
		}
		return current, nil
	}
	done := s.start()
	s.lock.Unlock()
	return s.after(ctx, done)
}

func (s *session) renewable() bool { return true }

func (s *session) renewed(ctx context.Context, refused bearer) error {
	s.lock.Lock()
	if s.current.header != "" && s.current.renewal > refused.renewal {
		s.lock.Unlock()
		return nil
	}
	done := s.start()
	s.lock.Unlock()
	_, err := s.after(ctx, done)
	return err
}

// after waits for a renewal. Whoever waited for it shares what it came to, be it a failure: a wrong password is not tried once per call.
func (s *session) after(ctx context.Context, done <-chan struct{}) (bearer, error) {
	select {
	case <-done:
	case <-ctx.Done():
		return bearer{}, stopped(ctx)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.failure != nil {
		// Each call adds its own request id.
		failure := *s.failure
		return bearer{}, &failure
	}
	return s.current, nil
}

// start begins a renewal unless one is under way. The lock is held.
func (s *session) start() <-chan struct{} {
	if s.underWay != nil {
		return s.underWay
	}
	done := make(chan struct{})
	s.underWay = done
	refresh := s.refresh
	go func() {
		tokens, err := s.obtain(refresh)
		s.lock.Lock()
		defer s.lock.Unlock()
		s.renewals++
		s.failure = nil
		if err == nil {
			s.keep(tokens)
		} else {
			s.fail(err)
		}
		s.underWay = nil
		close(done)
	}()
	return done
}

// obtain renews, or signs in: after any failure the refresh token may have been used up, so with a password at hand that is the safe way on.
func (s *session) obtain(refresh string) (*identityv1.Tokens, error) {
	// Its time is what the contract allows, not what is left of the call that happened to need it first.
	ctx := context.Background()
	var refused error = &Error{Code: codes.Unauthenticated, Message: "the session has no refresh token", Attempts: 1}
	if refresh != "" {
		reply, err := s.identity.RefreshToken(ctx, &identityv1.RefreshTokenRequest{RefreshToken: refresh})
		if err == nil {
			return reply.GetTokens(), nil
		}
		refused = err
	}
	if s.email == "" {
		return nil, refused
	}
	reply, err := s.identity.Login(ctx, &identityv1.LoginRequest{Email: s.email, Password: s.password})
	return reply.GetTokens(), err
}

func (s *session) fail(err error) {
	if !errors.As(err, &s.failure) {
		s.failure = &Error{Code: codes.Unknown, Message: err.Error(), Attempts: 1}
	}
	if s.failure.Code == codes.Unauthenticated {
		s.current, s.endsAt = bearer{}, time.Time{}
	}
	s.renewAt = time.Now().Add(renewPause)
}

func (s *session) keep(tokens *identityv1.Tokens) {
	now := time.Now()
	life := max(tokens.GetAccessExpireTime().AsTime().Sub(now), shortestLife)
	s.current = bearer{"Bearer " + tokens.GetAccessToken(), s.renewals}
	s.refresh = tokens.GetRefreshToken()
	s.renewAt = now.Add(life - min(renewAhead, life/5))
	s.endsAt = now.Add(life)
}
