package main

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"

	sewa "github.com/sewa-project/sewa/sdk-go"
	identityv1 "github.com/sewa-project/sewa/sdk-go/identity/v1"
)

var ctx = context.Background()

// What the key may do; neither making keys nor anything of the staff's.
var scopes = []string{"events", "instances", "instances.delete", "lifecycle", "operations", "orders", "profile", "sandbox", "wallet"}

// register registers, makes an API key, and goes on as that key.
func register(s *stage) {
	mark := strings.ToLower(rand.Text())
	email, password := "reseller-"+mark+"@example.com", "Rahasia-"+mark
	s.asks("register the reseller %s with a sandbox account", email)
	nobody := s.connect(sewa.Credentials{})
	registered := must(identityv1.NewIdentityServiceClient(nobody).Register(ctx, &identityv1.RegisterRequest{
		Email: email, Password: password, Name: "Sari", AccountName: "Toko Sari", AccountKind: identityv1.AccountKind_ACCOUNT_KIND_RESELLER, Sandbox: true,
	}))
	must(0, nobody.Close())
	// The reply holds tokens as well, but a repeat of it would not: signing in always works.
	user := s.connect(sewa.Login(email, password))
	profile := must(identityv1.NewIdentityServiceClient(user).GetProfile(ctx, &identityv1.GetProfileRequest{})).GetProfile()
	s.check(profile.GetEmail() == email && profile.GetAccountId() == registered.GetAccountId() && profile.GetSandbox() &&
		profile.GetAccountKind() == identityv1.AccountKind_ACCOUNT_KIND_RESELLER, "the profile is not what was registered: %v", profile)
	s.sees("signed in as %s of %s, account %s", profile.GetName(), profile.GetAccountName(), profile.GetAccountId())
	key := apiKey(s, user)
	must(0, user.Close())
	s.enter(s.connect(sewa.APIKey(key)))
}

func apiKey(s *stage, user *sewa.Client) string {
	s.asks("make an API key for %s", strings.Join(scopes, ", "))
	identity := identityv1.NewIdentityServiceClient(user)
	secret := ""
	// If the reply was lost on its way, so is the secret: the repeat comes without it.
	for secret == "" {
		secret = must(identity.CreateApiKey(ctx, &identityv1.CreateApiKeyRequest{DisplayName: "journey", Scopes: scopes, LifetimeDays: 1})).GetSecret()
	}
	listed := must(identity.ListApiKeys(ctx, &identityv1.ListApiKeysRequest{})).GetApiKeys()
	caller := must(identity.GetCaller(ctx, &identityv1.GetCallerRequest{}, sewa.Header("authorization", "Bearer "+secret))).GetCaller()
	s.check(slices.ContainsFunc(listed, func(key *identityv1.ApiKey) bool { return key.GetId() == caller.GetApiKeyId() }),
		"the key is not in the list of keys")
	held := caller.GetPermissions()
	s.check(slices.Contains(held, "orders.place") && !slices.Contains(held, "keys.write"), "the key may do %v", held)
	s.sees("key %s as %s, %d permissions, keys.write not among them", caller.GetApiKeyId(), caller.GetRole(), len(held))
	return secret
}
