// Who plays: a reseller who registers, and the API key a program of hers works with.
import { Credentials, type BaseClient } from "@sewa/sdk";
import { AccountKind, IdentityService } from "@sewa/sdk/identity/v1";
import { randomUUID } from "node:crypto";
import { connect, given, type Stage } from "./stage.js";

// What the key may do; neither making keys nor anything of the staff's.
const SCOPES = ["events", "instances", "instances.delete", "lifecycle", "operations", "orders", "profile", "sandbox", "wallet"];

/** Registers, makes an API key, and goes on as that key. */
export async function register(stage: Stage): Promise<void> {
  const mark = randomUUID().replaceAll("-", "");
  const [email, password] = [`reseller-${mark}@example.com`, `Rahasia-${mark}`];
  stage.asks(`register the reseller ${email} with a sandbox account`);
  const registered = await stage.client.service(IdentityService).register({
    email,
    password,
    name: "Sari",
    accountName: "Toko Sari",
    accountKind: AccountKind.RESELLER,
    sandbox: true,
  });
  // The reply holds tokens as well, but a repeat of it would not: signing in always works.
  const user = connect(stage.endpoint, Credentials.login(email, password));
  const profile = given((await user.service(IdentityService).getProfile({})).profile, "profile");
  stage.check(
    profile.email === email && profile.accountId === registered.accountId && profile.accountKind === AccountKind.RESELLER && profile.sandbox,
    "the profile is not what was registered",
  );
  stage.sees(`signed in as ${profile.name} of ${profile.accountName}, account ${profile.accountId}`);
  const key = await apiKey(stage, user);
  user.close();
  await stage.enter(connect(stage.endpoint, Credentials.apiKey(key)));
}

async function apiKey(stage: Stage, user: BaseClient): Promise<string> {
  stage.asks(`make an API key for ${SCOPES.join(", ")}`);
  const identity = user.service(IdentityService);
  let secret = "";
  // If the reply was lost on its way, so is the secret: the repeat comes without it.
  while (!secret) secret = (await identity.createApiKey({ displayName: "journey", scopes: SCOPES, lifetimeDays: 1 })).secret;
  const { apiKeys } = await identity.listApiKeys({});
  const { caller } = await identity.getCaller({}, { headers: { authorization: `Bearer ${secret}` } });
  stage.check(
    apiKeys.some((key) => key.id === caller?.apiKeyId),
    "the key is not in the list of keys",
  );
  const held = caller?.permissions ?? [];
  stage.check(held.includes("orders.place") && !held.includes("keys.write"), `the key may do ${held.join(", ")}`);
  stage.sees(`key ${caller?.apiKeyId} as ${caller?.role}, ${held.length} permissions, keys.write not among them`);
  return secret;
}
