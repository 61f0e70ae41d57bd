package main

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sewa "github.com/sewa-project/sewa/sdk-go"
	identityv1 "github.com/sewa-project/sewa/sdk-go/identity/v1"
)

type object = map[string]any

type request struct {
	Case      string
	Target    string
	Transport string
	Client    wantedClient
	Steps     []step
}

type wantedClient struct {
	APIKey  string `json:"api_key"`
	Session *struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresInMs  int64  `json:"access_expires_in_ms"`
	}
	Login            *struct{ Email, Password string }
	Env, Files       map[string]string
	TimeoutMs        int64   `json:"timeout_ms"`
	AttemptTimeoutMs int64   `json:"attempt_timeout_ms"`
	MaxAttempts      int     `json:"max_attempts"`
	RetryBudget      float64 `json:"retry_budget"`
	Backoff          struct {
		InitialMs int64 `json:"initial_ms"`
		MaxMs     int64 `json:"max_ms"`
	}
	MaxHintMs int64 `json:"max_hint_ms"`
	Locale    string
	UserAgent string `json:"user_agent"`
}

type step struct {
	Call             string
	Raw              string
	Pages            string
	Request          json.RawMessage
	Key              string `json:"idempotency_key"`
	Headers          map[string]string
	TimeoutMs        int64 `json:"timeout_ms"`
	AttemptTimeoutMs int64 `json:"attempt_timeout_ms"`
	Attempts         int
	CancelAfterMs    int64 `json:"cancel_after_ms"`
	Parallel         int
	By               string
	Limit            *int
	Wait             *struct {
		OperationID string `json:"operation_id"`
	}
	Progress  bool
	Watch     json.RawMessage
	Events    int
	SilenceMs int64         `json:"silence_ms"`
	Verify    *wantedVerify `json:"webhook_verify"`
	Sign      *wantedSign   `json:"webhook_sign"`
	Show      string
	Close     bool
}

func milliseconds(count int64) time.Duration { return time.Duration(count) * time.Millisecond }

// scene is a case under way.
type scene struct {
	client      *sewa.Client
	credentials sewa.Credentials
	lastError   *sewa.Error

	lock     sync.Mutex
	observed []object
	notices  []string
}

func newScene(asked *request) (*scene, error) {
	wanted := &asked.Client
	s := &scene{observed: []object{}, notices: []string{}}
	var err error
	if s.credentials, err = wanted.credentials(); err != nil {
		return nil, err
	}
	s.client, err = sewa.NewClient(asked.Target, sewa.Config{
		Credentials: s.credentials,
		Retry: sewa.RetryPolicy{
			MaxAttempts: wanted.MaxAttempts,
			FirstDelay:  milliseconds(wanted.Backoff.InitialMs),
			MaxDelay:    milliseconds(wanted.Backoff.MaxMs),
			MaxHint:     milliseconds(wanted.MaxHintMs),
			Budget:      wanted.RetryBudget,
		},
		Timeout:        milliseconds(wanted.TimeoutMs),
		AttemptTimeout: milliseconds(wanted.AttemptTimeoutMs),
		Locale:         wanted.Locale,
		UserAgent:      wanted.UserAgent,
		Observe:        s.observe,
		Notice: func(text string) {
			s.lock.Lock()
			defer s.lock.Unlock()
			s.notices = append(s.notices, text)
		},
	})
	return s, err
}

func (s *scene) observe(attempt sewa.Attempt) {
	told := object{"method": attempt.Method, "attempt": attempt.Number, "code": codeName(attempt.Code)}
	if attempt.Reason != "" {
		told["reason"] = attempt.Reason
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.observed = append(s.observed, told)
}

func (w *wantedClient) credentials() (sewa.Credentials, error) {
	switch {
	case w.APIKey != "":
		return sewa.APIKey(w.APIKey), nil
	case w.Login != nil:
		return sewa.Login(w.Login.Email, w.Login.Password), nil
	case w.Session != nil:
		return sewa.Session(&identityv1.Tokens{
			AccessToken: w.Session.AccessToken, RefreshToken: w.Session.RefreshToken,
			AccessExpireTime: timestamppb.New(time.Now().Add(milliseconds(w.Session.ExpiresInMs))),
		}), nil
	}
	variables := map[string]string{}
	for name, value := range w.Env {
		variables[name] = value
	}
	for name, text := range w.Files {
		file, err := os.CreateTemp("", "sewa")
		if err != nil {
			return sewa.Credentials{}, err
		}
		defer os.Remove(file.Name())
		if _, err := file.WriteString(text); err != nil {
			return sewa.Credentials{}, err
		}
		variables[name] = file.Name()
	}
	return sewa.CredentialsFrom(func(name string) string { return variables[name] })
}
