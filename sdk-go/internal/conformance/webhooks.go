package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/sewa-project/sewa/sdk-go/webhook"
)

type wantedVerify struct {
	Secrets    []string
	Headers    map[string]string
	Body       string
	Now        int64
	ToleranceS *int64 `json:"tolerance_s"`
}

func (w *wantedVerify) result() object {
	var secrets []webhook.Secret
	for _, text := range w.Secrets {
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			return object{"webhook": object{"ok": false, "why": err.Error()}}
		}
		secrets = append(secrets, secret)
	}
	headers := http.Header{}
	for name, value := range w.Headers {
		headers.Set(name, value)
	}
	tolerance := webhook.Tolerance
	if w.ToleranceS != nil {
		tolerance = time.Duration(*w.ToleranceS) * time.Second
	}
	delivery, err := webhook.VerifyAt(secrets, headers, []byte(w.Body), time.Unix(w.Now, 0), tolerance)
	if err != nil {
		for why, known := range map[string]error{"HEADERS": webhook.ErrHeaders, "TIMESTAMP": webhook.ErrTimestamp, "SIGNATURE": webhook.ErrSignature} {
			if errors.Is(err, known) {
				return object{"webhook": object{"ok": false, "why": why}}
			}
		}
		return object{"webhook": object{"ok": false, "why": err.Error()}}
	}
	told := object{"ok": true, "id": delivery.ID}
	if delivery.Event != nil {
		told["type"], told["event"] = delivery.Type, printed(delivery.Event)
	}
	return object{"webhook": told}
}

type wantedSign struct {
	Secret, ID, Body string
	Timestamp        int64
}

func (w *wantedSign) result() object {
	secret, err := webhook.ParseSecret(w.Secret)
	if err != nil {
		return object{"headers": object{}, "failed": err.Error()}
	}
	signed, err := webhook.Sign(secret, w.ID, time.Unix(w.Timestamp, 0), []byte(w.Body))
	if err != nil {
		return object{"headers": object{}, "failed": err.Error()}
	}
	headers := object{}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		headers[name] = signed.Get(name)
	}
	return object{"headers": headers}
}
