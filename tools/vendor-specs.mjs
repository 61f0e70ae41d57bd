// Holds what adapters said to clouds, and what the simulators of these clouds answered, against a vendor's own OpenAPI 3.0 document.
// usage: vendor-specs.mjs FOLDER_OF_NODE_MODULES EXCHANGES SPECIFICATION
//
// EXCHANGES has one JSON object a line: {method, path, query, filter, body, status, reply}, as tests/simulators/compute/exchanges.rs writes them. A request must be an
// operation of the document, with no query key and no field of its body that it does not declare; a reply that is no refusal must be one that it declares.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [folder, exchanges, file] = process.argv.slice(2).map((path) => resolve(path));
const require = createRequire(join(folder, "index.js"));
const Ajv = require("ajv").default;
const { parse } = require("yaml");

const text = readFileSync(file, "utf8");
const document = file.endsWith(".json") ? JSON.parse(text) : parse(text, { maxAliasCount: -1 });

// ---- OpenAPI 3.0 as JSON Schema ----------------------------------------------------------------

const ANNOTATIONS = new Set(["example", "examples", "discriminator", "xml", "externalDocs", "nullable", "deprecated"]);

// `hidden` names the mark of properties that this side does not send: `readOnly` for requests, `writeOnly` for replies.
function schema(node, hidden) {
  if (Array.isArray(node)) return node.map((item) => schema(item, hidden));
  if (node === null || typeof node !== "object") return node;
  const out = {};
  for (const [key, value] of Object.entries(node)) {
    if (ANNOTATIONS.has(key)) continue;
    // Branches of one `allOf` forbid each other's properties in some documents; what is in none of them is looked for below.
    if (key === "additionalProperties" && value === false) continue;
    if (key === "properties" && value && typeof value === "object") {
      out[key] = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, schema(inner, hidden)]));
    } else {
      out[key] = ["enum", "default", "const"].includes(key) ? value : schema(value, hidden);
    }
  }
  for (const bound of ["Minimum", "Maximum"]) {
    const exclusive = `exclusive${bound}`;
    if (out[exclusive] === true) { out[exclusive] = out[bound.toLowerCase()]; delete out[bound.toLowerCase()]; }
    if (out[exclusive] === false) delete out[exclusive];
  }
  if (Array.isArray(out.required) && node.properties) {
    out.required = out.required.filter((name) => !deref(node.properties[name])?.[hidden]);
    if (out.required.length === 0) delete out.required;
  }
  return node.nullable === true ? { anyOf: [out, { type: "null" }] } : out;
}

function deref(node) {
  let at = node;
  for (let hops = 0; at && typeof at === "object" && at.$ref && hops < 50; hops++) at = pointed(at.$ref);
  return at;
}

function pointed(ref) {
  return ref.slice(2).split("/").reduce((at, part) => at?.[decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")], document);
}

function validator(hidden) {
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false, logger: false });
  ajv.addSchema({ ...schema({ components: document.components, paths: document.paths }, hidden), $id: "vendor" });
  const known = new Map();
  return (pointer, value) => {
    if (!known.has(pointer)) known.set(pointer, ajv.compile({ $ref: `vendor#${pointer}` }));
    const check = known.get(pointer);
    return check(value) ? [] : check.errors.map((e) => `${e.instancePath || "/"} ${e.message} ${JSON.stringify(e.params)}`);
  };
}

const validate = { request: validator("readOnly"), reply: validator("writeOnly") };
const step = (...parts) => parts.map((part) => `/${encodeURIComponent(String(part).replaceAll("~", "~0").replaceAll("/", "~1"))}`).join("");

// ---- operations ----------------------------------------------------------------------------------

const paths = Object.keys(document.paths).map((template) => {
  const parts = template.split("/").slice(1);
  return { template, parts, fixed: parts.filter((part) => !part.startsWith("{")).length };
}).sort((a, b) => b.fixed - a.fixed);

function find(path) {
  const given = path.split("/").slice(1);
  const fits = (candidate) => paths.find(({ parts }) => parts.length === candidate.length
    && parts.every((part, i) => (part.startsWith("{") ? candidate[i] !== "" : part === candidate[i])));
  // Some documents leave out what stands in the address of their server.
  return fits(given) ?? fits(given.slice(1));
}

// Names of the properties that some branch of a schema has; `null` if it takes any.
function properties(node, seen = new Set()) {
  const at = deref(node);
  if (!at || typeof at !== "object" || seen.has(at)) return new Set();
  seen.add(at);
  const own = new Set(Object.keys(at.properties ?? {}));
  for (const branch of [...(at.allOf ?? []), ...(at.anyOf ?? []), ...(at.oneOf ?? [])]) {
    for (const name of properties(branch, seen)) own.add(name);
  }
  return own;
}

function of_type(value, declared) {
  const types = [declared?.type, ...(declared?.oneOf ?? []).map((one) => deref(one)?.type)];
  if ((types.includes("integer") || types.includes("number")) && value !== "" && !Number.isNaN(Number(value))) return Number(value);
  return types.includes("boolean") && ["true", "false"].includes(value) ? value === "true" : value;
}

function request(said, template, method, operation) {
  const found = [];
  const declared = [...(document.paths[template].parameters ?? []), ...(operation.parameters ?? [])].map(deref);
  for (const [name, value] of Object.entries(said.query)) {
    const parameter = declared.find((p) => p.in === "query" && p.name === name);
    if (!parameter) { found.push(`query ${name} is not declared`); continue; }
    const inner = deref(parameter.schema);
    const ajv = new Ajv({ strict: false, validateFormats: false, logger: false });
    if (inner && !inner.$ref && !ajv.validate(schema(inner, "readOnly"), of_type(value, inner))) found.push(`query ${name}=${value} ${ajv.errorsText()}`);
  }
  for (const parameter of declared.filter((p) => p.in === "query" && p.required)) {
    if (!(parameter.name in said.query)) found.push(`query ${parameter.name} is required`);
  }
  const body = deref(operation.requestBody);
  const empty = said.body === null || (typeof said.body === "object" && Object.keys(said.body).length === 0);
  if (!body) {
    if (!empty) found.push("a body is not declared");
    return found;
  }
  if (said.body === null) return body.required ? [...found, "a body is required"] : found;
  const pointer = operation.requestBody.$ref ? operation.requestBody.$ref.slice(1) : step("paths", template, method, "requestBody");
  const names = properties(body.content["application/json"].schema);
  for (const name of Object.keys(said.body)) if (!names.has(name)) found.push(`field ${name} is not declared`);
  return [...found, ...validate.request(`${pointer}${step("content", "application/json", "schema")}`, said.body)];
}

function reply(said, template, method, operation) {
  const declared = operation.responses[said.status] ?? operation.responses[`${Math.floor(said.status / 100)}XX`] ?? operation.responses.default;
  if (!declared) return said.status < 400 ? [`status ${said.status} is not declared`] : [];
  const key = Object.keys(operation.responses).find((status) => operation.responses[status] === declared);
  const pointer = declared.$ref ? declared.$ref.slice(1) : step("paths", template, method, "responses", key);
  const content = deref(declared).content?.["application/json"];
  if (!content?.schema) return [];
  return validate.reply(`${pointer}${step("content", "application/json", "schema")}`, said.reply);
}

// ---- all exchanges ---------------------------------------------------------------------------------

const counts = new Map();
const wrong = new Map();
const note = (operation, what) => wrong.set(`${operation}: ${what}`, (wrong.get(`${operation}: ${what}`) ?? 0) + 1);
for (const line of readFileSync(exchanges, "utf8").split("\n").filter(Boolean)) {
  const said = JSON.parse(line);
  const method = said.method.toLowerCase();
  const place = find(said.path);
  const operation = place && document.paths[place.template][method];
  if (!operation) { note(`${said.method} ${said.path.replaceAll(/\d{3,}|[0-9a-f-]{36}/g, "{}")}`, "there is no such operation"); continue; }
  const name = `${said.method} ${place.template}`;
  counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const what of request(said, place.template, method, operation)) note(name, `request: ${what}`);
  for (const what of reply(said, place.template, method, operation)) note(name, `reply ${said.status}: ${what}`);
}
for (const [name, count] of [...counts].sort()) console.log(`${String(count).padStart(6)}  ${name}`);
for (const [what, count] of wrong) console.error(`${count} times: ${what}`);
if (counts.size === 0) console.error("no exchange was found");
process.exit(wrong.size > 0 || counts.size === 0 ? 1 : 0);
