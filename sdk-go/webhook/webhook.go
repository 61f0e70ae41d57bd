// Package webhook checks that a webhook came from Sewa, as https://www.standardwebhooks.com describes, and makes signed deliveries for tests of a receiver.
//
// The signature covers id.timestamp.body, so a captured delivery cannot be altered, nor replayed after the tolerance. Verify the raw bytes of the body: a
// parsed and re-printed body is another text.
package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
)

// Tolerance is how far the clocks of sender and receiver may be apart, and how long a captured delivery stays valid.
const Tolerance = 5 * time.Minute

// Why a delivery is refused; errors.Is tells them apart.
var (
	// ErrHeaders is a header that is missing or malformed.
	ErrHeaders = errors.New("webhook: a header is missing or malformed")
	// ErrTimestamp is a delivery that is too old, or from the future.
	ErrTimestamp = errors.New("webhook: the delivery is too old, or from the future")
	// ErrSignature means that no signature matches.
	ErrSignature = errors.New("webhook: no signature matches")
)

// Secret is a key to verify or sign with. Printing it shows nothing.
type Secret struct {
	shared  []byte
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

// ParseSecret reads a shared secret (whsec_…), a public key (whpk_…) or, to sign with, a private key (whsk_…).
func ParseSecret(text string) (Secret, error) {
	kind, encoded := "", text
	if at := strings.LastIndexByte(text, '_'); at >= 0 {
		kind, encoded = text[:at], text[at+1:]
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err == nil {
		switch {
		case kind == "whsk" && len(raw) == ed25519.PrivateKeySize:
			private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
			return Secret{private: private, public: private.Public().(ed25519.PublicKey)}, nil
		case kind == "whpk" && len(raw) == ed25519.PublicKeySize:
			return Secret{public: raw}, nil
		case (kind == "whsec" || kind == "") && len(raw) > 0:
			return Secret{shared: raw}, nil
		}
	}
	return Secret{}, errors.New("webhook: the secret is malformed")
}

// Format prints the kind of the secret, for every verb.
func (s Secret) Format(state fmt.State, _ rune) {
	kind := "whsec"
	switch {
	case s.private != nil:
		kind = "whsk"
	case s.public != nil:
		kind = "whpk"
	}
	_, _ = fmt.Fprintf(state, "webhook.Secret{%s_…}", kind)
}

// Delivery is a delivery whose signature is right.
type Delivery struct {
	// ID is the same for every repeat of one delivery: keep it to ignore repeats.
	ID string
	// Timestamp is when it was signed.
	Timestamp time.Time
	// Event is the event; nil if the body is something else.
	Event *eventv1.Event
	// Type is the name of the event's type, also of one this module does not know.
	Type string
}

// Verify verifies a delivery by this machine's clock. Several secrets are given while one is being rotated out.
func Verify(secrets []Secret, headers http.Header, body []byte) (*Delivery, error) {
	return VerifyAt(secrets, headers, body, time.Now(), Tolerance)
}

// VerifyAt is Verify with a time and a tolerance of your own.
func VerifyAt(secrets []Secret, headers http.Header, body []byte, now time.Time, tolerance time.Duration) (*Delivery, error) {
	id, sent, signatures := headers.Get("webhook-id"), headers.Get("webhook-timestamp"), headers.Get("webhook-signature")
	seconds, err := strconv.ParseUint(sent, 10, 48)
	if id == "" || signatures == "" || err != nil {
		return nil, ErrHeaders
	}
	signed := time.Unix(int64(seconds), 0)
	if now.Sub(signed).Abs() > tolerance {
		return nil, ErrTimestamp
	}
	content := append([]byte(id+"."+sent+"."), body...)
	// Every pair is tried to the end, and each comparison takes the same time wherever the bytes differ.
	genuine := false
	for entry := range strings.SplitSeq(signatures, " ") {
		scheme, encoded, _ := strings.Cut(entry, ",")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			continue
		}
		for _, secret := range secrets {
			fits := secret.fits(scheme, signature, content)
			genuine = genuine || fits
		}
	}
	if !genuine {
		return nil, ErrSignature
	}
	delivery := &Delivery{ID: id, Timestamp: signed}
	delivery.read(body)
	return delivery, nil
}

// Sign makes the headers of a genuine delivery, with a shared secret (scheme v1) or a private key (scheme v1a).
func Sign(secret Secret, id string, at time.Time, body []byte) (http.Header, error) {
	sent := strconv.FormatInt(at.Unix(), 10)
	content := append([]byte(id+"."+sent+"."), body...)
	var signature string
	switch {
	case secret.shared != nil:
		signature = "v1," + base64.StdEncoding.EncodeToString(secret.mac(content))
	case secret.private != nil:
		signature = "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(secret.private, content))
	default:
		return nil, errors.New("webhook: a public key cannot sign")
	}
	headers := http.Header{}
	headers.Set("webhook-id", id)
	headers.Set("webhook-timestamp", sent)
	headers.Set("webhook-signature", signature)
	return headers, nil
}

func (s Secret) mac(content []byte) []byte {
	mac := hmac.New(sha256.New, s.shared)
	mac.Write(content)
	return mac.Sum(nil)
}

func (s Secret) fits(scheme string, signature, content []byte) bool {
	switch {
	case scheme == "v1" && s.shared != nil:
		return hmac.Equal(s.mac(content), signature)
	case scheme == "v1a" && s.public != nil:
		return ed25519.Verify(s.public, content, signature)
	default:
		return false
	}
}

// read takes in the event, if the body is one.
func (d *Delivery) read(body []byte) {
	event := &eventv1.Event{}
	var raw struct{ Type any }
	if (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, event) != nil || event.GetId() == "" || json.Unmarshal(body, &raw) != nil {
		return
	}
	d.Event, d.Type = event, event.GetType().String()
	// A type of a later contract has no value here, but its name stands in the body.
	if name, ok := raw.Type.(string); ok {
		d.Type = name
	}
}
