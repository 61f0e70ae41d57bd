package sewa

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	identityv1 "github.com/sewa-project/sewa/sdk-go/identity/v1"
)

// Credentials say who the calls are made as; the zero value is nobody, so that only public methods work. Printing them shows no secret.
type Credentials struct {
	secret          string
	email, password string
	tokens          *identityv1.Tokens
}

// APIKey is an API key, sk_….
func APIKey(key string) Credentials { return Credentials{secret: key} }

// Token is an access token that somebody else renews.
func Token(token string) Credentials { return Credentials{secret: token} }

// Login is a user who signs in with the first call that needs it; the SDK renews the access token by itself.
func Login(email, password string) Credentials { return Credentials{email: email, password: password} }

// Session goes on with tokens received before, for example from Register.
func Session(tokens *identityv1.Tokens) Credentials { return Credentials{tokens: tokens} }

// CredentialsFromFile reads an API key from a file.
func CredentialsFromFile(path string) (Credentials, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Credentials{}, err
	}
	return APIKey(strings.TrimSpace(string(text))), nil
}

// CredentialsFromEnv takes SEWA_API_KEY, else SEWA_TOKEN, else the file named by SEWA_API_KEY_FILE, else nobody. The SDK looks at the environment nowhere else.
func CredentialsFromEnv() (Credentials, error) { return CredentialsFrom(os.Getenv) }

// CredentialsFrom is CredentialsFromEnv with variables of your own.
func CredentialsFrom(variable func(name string) string) (Credentials, error) {
	if key := variable("SEWA_API_KEY"); key != "" {
		return APIKey(key), nil
	}
	if token := variable("SEWA_TOKEN"); token != "" {
		return Token(token), nil
	}
	if path := variable("SEWA_API_KEY_FILE"); path != "" {
		return CredentialsFromFile(path)
	}
	return Credentials{}, nil
}

// check refuses what cannot stand in a header.
func (c Credentials) check() error {
	if strings.ContainsFunc(c.secret, func(letter rune) bool { return letter < '!' || letter > '~' }) {
		return errors.New("sewa: credentials are visible ASCII without blanks")
	}
	return nil
}

// String tells the kind alone.
func (c Credentials) String() string {
	switch {
	case c.secret != "":
		return "sewa.Credentials{a key or token}"
	case c.email != "":
		return "sewa.Credentials{a login}"
	case c.tokens != nil:
		return "sewa.Credentials{a session}"
	default:
		return "sewa.Credentials{nobody}"
	}
}

// Format is String for every verb.
func (c Credentials) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(c.String())) }

// LogValue is String.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }
