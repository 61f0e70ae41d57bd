// One call: what it takes and gives, its errors, how to make it, and making it.
import { make, members, prose, resolve, rulesOf, typeOf } from "/docs/page.js";

/** Everything about one operation. */
export function showOperation(document, { path, verb, operation }) {
  const parameters = operation.parameters.map((parameter) => resolve(document, parameter));
  const body = operation.requestBody?.content["application/json"];
  const access = operation.security?.length === 0 ? "public" : operation["x-permission"] && `permission ${operation["x-permission"]}`;
  const rate = operation["x-rate"], deadline = operation["x-deadline"];
  const parts = [
    make("h1", {}, operation.operationId.replace("_", ".")),
    make("p", {}, make("span", { class: `verb ${verb}` }, verb.toUpperCase(), " "), make("code", {}, path)),
    make("p", { class: "facts" }, access && make("span", {}, access), operation["x-step-up"] && make("span", {}, "to be confirmed"),
      rate && make("span", {}, `rate ${rate.class}, ${rate.perMinute} a minute`),
      deadline && make("span", {}, `time ${deadline.default}, at most ${deadline.max}`), operation["x-stream"] && make("span", {}, "stream"),
      operation["x-fern-idempotent"] && make("span", {}, "repeatable with its key"), operation.deprecated && make("span", { class: "bad" }, "deprecated")),
    ...prose(operation.description),
    make("h2", {}, "Parameters"), parameterTable(parameters),
  ];
  if (body) {
    const schema = resolve(document, body.schema);
    parts.push(make("h2", {}, "Body"), make("p", {}, typeOf(body.schema)), schema.properties ? members(schema) : "");
    if (body.example) parts.push(make("pre", {}, JSON.stringify(body.example, null, 2)));
  }
  parts.push(make("h2", {}, "Reply"), ...reply(document, operation));
  parts.push(make("h2", {}, "Errors"), errorTable(document, operation));
  parts.push(make("h2", {}, "Try it"), ...tryIt(document, { path, verb, operation, parameters, body }));
  return parts;
}

function parameterTable(parameters) {
  const rows = parameters.map((parameter) => make("tr", {},
    make("td", {}, make("code", {}, parameter.name), parameter.required && make("span", { class: "tag" }, "required")),
    make("td", {}, parameter.in), make("td", {}, typeOf(parameter.schema)),
    make("td", {}, prose(parameter.description), rulesOf(parameter.schema).map((rule) => make("div", { class: "dim" }, rule)))));
  return make("table", {}, make("tr", {}, ["Name", "In", "Type", "Meaning"].map((head) => make("th", {}, head))), rows);
}

function reply(document, operation) {
  const success = resolve(document, operation.responses["200"]);
  const [type, media] = Object.entries(success.content)[0];
  const schema = resolve(document, media.schema ?? {});
  return [make("p", {}, make("code", {}, Object.keys(success.content).join(", ")), " ", media.schema ? typeOf(media.schema) : type),
    operation["x-stream"] ? prose(success.description) : "", schema.properties ? members(schema) : ""].flat();
}

function errorTable(document, operation) {
  const catalogue = document["x-error-reasons"] ?? {};
  const rows = Object.entries(operation.responses).filter(([status]) => status !== "200").flatMap(([status, response]) =>
    (resolve(document, response)["x-error-reasons"] ?? []).map((name) => make("tr", {},
      make("td", {}, status), make("td", {}, make("a", { href: `#/error/${name}` }, name)),
      make("td", {}, catalogue[name]?.meaning ?? "", catalogue[name]?.remedy ? make("div", { class: "dim" }, catalogue[name].remedy) : ""),
      make("td", {}, catalogue[name]?.retry ?? ""))));
  return make("table", {}, make("tr", {}, ["Status", "Reason", "Meaning", "Repeat"].map((head) => make("th", {}, head))), rows);
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

function tryIt(document, call) {
  const form = make("form", { class: "try" });
  const inputs = call.parameters.filter((parameter) => !["X-Request-Id", "Grpc-Timeout"].includes(parameter.name)).map((parameter) => {
    const choices = resolve(document, parameter.schema)?.enum;
    const attributes = { id: `in-${parameter.name}`, name: parameter.name, required: parameter.required };
    const input = choices
      ? make("select", attributes, make("option", { value: "" }, ""), choices.map((choice) => make("option", {}, choice)))
      : make("input", attributes);
    if (parameter.name === "Idempotency-Key" && parameter.required) input.value = newKey();
    form.append(make("label", { for: `in-${parameter.name}` }, parameter.name), input);
    return { parameter, input };
  });
  const text = call.body && make("textarea", { "aria-label": "Body", spellcheck: "false" });
  if (text) {
    text.value = JSON.stringify(call.body.example ?? {}, null, 2);
    form.append(text);
  }
  const curl = make("pre"), grpcurl = make("pre"), result = make("div", { "aria-live": "polite" });
  const token = window.document.getElementById("token");
  const request = () => build(call, inputs, text?.value, token.value);
  const show = () => {
    const { url, method, headers, body } = request();
    const shown = Object.entries(headers).map(([name, value]) => ` \\\n  -H ${quoted(`${name}: ${name === "authorization" ? "Bearer $TOKEN" : value}`).replace("Bearer $TOKEN", "Bearer '\"$TOKEN\"'")}`);
    curl.textContent = `curl -sS -X ${method} ${quoted(location.origin + url)}${shown.join("")}${body === undefined ? "" : ` \\\n  -d ${quoted(body)}`}`;
    grpcurl.textContent = grpcLine(call, inputs, text?.value, headers);
  };
  form.append(make("button", {}, "Send"));
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(request(), call.operation["x-stream"], result);
  });
  show();
  return [form, result, make("h2", {}, "curl"), curl, make("h2", {}, "grpcurl"), grpcurl];
}

const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function build(call, inputs, body, token) {
  let path = call.path;
  const query = new URLSearchParams(), headers = {};
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, () => encodeURIComponent(input.value || `{${parameter.name}}`));
    else if (input.value === "") continue;
    else if (parameter.in === "header") headers[parameter.name.toLowerCase()] = input.value;
    else for (const value of parameter.schema.type === "array" ? input.value.split(",") : [input.value]) query.append(parameter.name, value);
  }
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = query.toString();
  return { url: path + (text && `?${text}`), method: call.verb.toUpperCase(), headers, body };
}

function grpcLine(call, inputs, body, headers) {
  let message = {};
  try {
    message = body ? JSON.parse(body) : {};
  } catch {
    return "the body is not JSON";
  }
  for (const { parameter, input } of inputs) {
    if (parameter.in === "header" || input.value === "") continue;
    const names = parameter.name.split("."), last = names.pop();
    const at = names.reduce((inner, name) => (inner[name] ??= {}), message);
    at[last] = parameter.schema.type === "array" ? input.value.split(",") : parameter.schema.type === "integer" ? Number(input.value) : parameter.schema.type === "boolean" ? input.value === "true" : input.value;
  }
  const plain = location.protocol === "http:" ? " -plaintext" : "";
  const sent = Object.entries(headers).filter(([name]) => name !== "content-type")
    .map(([name, value]) => name === "authorization" ? ` -H "authorization: Bearer $TOKEN"` : ` -H ${quoted(`${name}: ${value}`)}`);
  return `grpcurl${plain}${sent.join("")} -d ${quoted(JSON.stringify(message))} ${location.host} ${call.operation["x-grpc-method"]}`;
}

async function send({ url, method, headers, body }, streams, result) {
  const controller = new AbortController();
  const output = make("pre"), line = make("p", { class: "dim" }, "Sending …");
  result.replaceChildren(line, output);
  if (streams) result.append(make("button", { type: "button", onclick: () => controller.abort() }, "Stop"));
  const began = performance.now();
  try {
    const answer = await fetch(url, { method, headers, body, signal: controller.signal });
    line.className = answer.ok ? "good" : "bad";
    line.textContent = `${answer.status} in ${Math.round(performance.now() - began)} ms · request ${answer.headers.get("x-request-id") ?? "?"}`;
    if (streams && answer.ok) {
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) output.textContent += part.value;
      return;
    }
    const text = await answer.text();
    try {
      output.textContent = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      output.textContent = text;
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      line.className = "bad";
      line.textContent = String(error);
    }
  }
}
