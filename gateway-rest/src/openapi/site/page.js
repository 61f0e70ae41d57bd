// The documentation page: contents and search at the left, one thing at the right, chosen by the address after #.
import { showOperation } from "/docs/operation.js";

/** Makes an element. Text is never read as markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Text of a comment: paragraphs, lists, and code in backquotes. */
export function prose(text = "") {
  const inline = (part) => part.split(/(`[^`]+`)/).map((piece) =>
    /^`.+`$/.test(piece) ? make("code", {}, piece.slice(1, -1)) : piece);
  return text.split("\n\n").filter(Boolean).map((paragraph) => {
    const lines = paragraph.split("\n");
    return lines.every((line) => line.startsWith("- "))
      ? make("ul", {}, lines.map((line) => make("li", {}, inline(line.slice(2)))))
      : make("p", {}, inline(paragraph));
  });
}

/** Follows a reference within the document. */
export function resolve(document, value) {
  if (!value?.$ref) return value;
  const parts = value.$ref.slice(2).split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return parts.reduce((at, part) => at?.[part], document);
}

const nameOf = (reference) => reference.split("/").pop();

/** A type in words, with a link where it has a page. */
export function typeOf(schema = {}) {
  if (schema.$ref) return make("a", { href: `#/type/${nameOf(schema.$ref)}` }, nameOf(schema.$ref));
  if (schema.type === "array") return make("span", {}, "list of ", typeOf(schema.items));
  if (schema.type === "object" && schema.additionalProperties) return make("span", {}, "map to ", typeOf(schema.additionalProperties));
  if (schema.anyOf && !schema.type) return make("span", {}, schema.anyOf.map((one) => one.type ?? "text").join(" or "));
  return make("span", {}, [schema.type ?? "any", schema.format].filter(Boolean).join(", "));
}

/** Rules of a schema in words. */
export function rulesOf(schema = {}) {
  const words = {
    minLength: "at least $ characters", maxLength: "at most $ characters", pattern: "matches $", minimum: "at least $", maximum: "at most $",
    exclusiveMinimum: "more than $", exclusiveMaximum: "less than $", minItems: "at least $ items", maxItems: "at most $ items",
    minProperties: "at least $ entries", maxProperties: "at most $ entries", const: "always $", contentEncoding: "$",
  };
  const out = Object.entries(words).filter(([name]) => schema[name] !== undefined && !(schema.format === "int32" && Math.abs(schema[name]) >= 2 ** 31 - 1))
    .map(([name, text]) => text.replace("$", () => schema[name]));
  if (schema.uniqueItems) out.push("no item twice");
  if (schema.enum && schema.$ref) out.push(`one of ${schema.enum.join(", ")}`);
  for (const rule of schema["x-rules"] ?? []) out.push(rule.message || `${rule.id ?? rule.cel}: ${JSON.stringify(rule.value ?? "")}`);
  return out;
}

/** A table of the members of an object. */
export function members(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([name, member]) => make("tr", {},
    make("td", {}, make("code", {}, name), required.has(name) && make("span", { class: "tag" }, "required"),
      member.readOnly && make("span", { class: "tag" }, "read only"), member.writeOnly && make("span", { class: "tag" }, "write only"),
      member["x-immutable"] && make("span", { class: "tag" }, "set once"), member["x-secret"] && make("span", { class: "tag" }, "secret"),
      member.deprecated && make("span", { class: "tag bad" }, "deprecated")),
    make("td", {}, typeOf(member)),
    make("td", {}, prose(member.description), rulesOf(member).map((rule) => make("div", { class: "dim" }, rule)))));
  return make("table", {}, make("tr", {}, ["Name", "Type", "Meaning"].map((head) => make("th", {}, head))), rows);
}

function operationsOf(document) {
  return Object.entries(document.paths).flatMap(([path, item]) => Object.entries(item).map(([verb, operation]) => ({ path, verb, operation })));
}

const shortName = (operation) => operation.operationId.replace(/^[^_]+_/, "");

function showContents(document, operations, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (...texts) => words.every((word) => texts.join(" ").toLowerCase().includes(word));
  const entry = (href, ...children) => make("a", { href, class: location.hash === href ? "here" : undefined }, children);
  const parts = [];
  for (const tag of document.tags ?? []) {
    const found = operations.filter(({ path, verb, operation }) => operation.tags.includes(tag.name)
      && fits(path, verb, operation.operationId, operation.description ?? ""));
    if (found.length) {
      parts.push(make("h2", { title: tag.description }, tag.name.replace(/Service$/, "")), ...found.map(({ verb, operation }) =>
        entry(`#/call/${operation.operationId}`, make("span", { class: `verb ${verb}` }, verb.toUpperCase()), shortName(operation))));
    }
  }
  const section = (title, href, names) => names.length && parts.push(make("h2", {}, title), ...names.map((name) => entry(`${href}${name}`, name)));
  section("Types", "#/type/", Object.entries(document.components.schemas).filter(([name, schema]) => fits(name, words.length ? schema.description ?? "" : "")).map(([name]) => name));
  section("Errors", "#/error/", Object.entries(document["x-error-reasons"] ?? {}).filter(([name, reason]) => fits(name, reason.meaning)).map(([name]) => name).sort());
  window.document.getElementById("nav").replaceChildren(...(parts.length ? parts : [make("h2", {}, "Nothing found")]));
}

function showStart(document, operations) {
  return [make("h1", {}, `${document.info.title} ${document.info.version}`), ...prose(document.info.description),
    make("p", {}, make("a", { href: "/openapi.json" }, "/openapi.json"), ` · OpenAPI ${document.openapi} · ${operations.length} calls`),
    ...(document.tags ?? []).flatMap((tag) => [make("h2", {}, tag.name), ...prose(tag.description)])];
}

function showType(document, operations, name) {
  const schema = document.components.schemas[name];
  if (!schema) return [make("h1", {}, `No type ${name}`)];
  const meanings = schema["x-enum-descriptions"] ?? {};
  const users = operations.filter(({ operation }) => JSON.stringify(operation).includes(`"#/components/schemas/${name}"`));
  return [make("h1", {}, name), ...prose(schema.description),
    schema.enum ? make("table", {}, schema.enum.map((value) => make("tr", {}, make("td", {}, make("code", {}, value)), make("td", {}, prose(meanings[value])))))
      : members(schema),
    ...(schema.allOf ?? []).filter((one) => one.oneOf).map((one) => make("p", { class: "dim" }, `At most one of ${one.oneOf.flatMap((member) => member.required ?? []).join(", ")}.`)),
    users.length > 0 && make("h2", {}, "Used by"),
    ...users.map(({ operation }) => make("div", {}, make("a", { href: `#/call/${operation.operationId}` }, shortName(operation))))].filter(Boolean);
}

function showError(document, operations, name) {
  const reason = document["x-error-reasons"][name];
  if (!reason) return [make("h1", {}, `No error ${name}`)];
  const users = operations.filter(({ operation }) => Object.values(operation.responses).some((response) =>
    resolve(document, response)["x-error-reasons"]?.includes(name)));
  return [make("h1", {}, name), ...prose(reason.meaning), ...prose(reason.remedy),
    make("p", { class: "facts" }, make("span", {}, `HTTP ${reason.status}`), reason.code && make("span", {}, `gRPC ${reason.code}`),
      reason.retry && make("span", {}, `may be repeated: ${reason.retry}`), reason.metadata?.length > 0 && make("span", {}, `metadata: ${reason.metadata.join(", ")}`)),
    make("h2", {}, `Given by ${users.length} calls`),
    ...users.map(({ operation }) => make("div", {}, make("a", { href: `#/call/${operation.operationId}` }, shortName(operation))))];
}

async function start() {
  const main = window.document.getElementById("main");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`/openapi.json: ${answer.status}`);
  const document = await answer.json();
  const operations = operationsOf(document);
  const search = window.document.getElementById("search");
  window.document.title = window.document.getElementById("title").textContent = document.info.title;
  const show = () => {
    const [, kind, name = ""] = location.hash.split("/").map(decodeURIComponent);
    const found = operations.find(({ operation }) => operation.operationId === name);
    const content = kind === "call" && found ? showOperation(document, found)
      : kind === "type" ? showType(document, operations, name)
      : kind === "error" ? showError(document, operations, name)
      : showStart(document, operations);
    main.replaceChildren(...content);
    main.scrollTop = 0;
    showContents(document, operations, search.value);
  };
  search.addEventListener("input", () => showContents(document, operations, search.value));
  addEventListener("hashchange", show);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(window.document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  show();
}

start().catch((error) => window.document.getElementById("main").replaceChildren(make("p", { class: "bad" }, String(error))));
