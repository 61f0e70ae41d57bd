// Validates an OpenAPI document with a package that tools/setup installed.
// usage: validate-openapi.mjs FOLDER_OF_NODE_MODULES DOCUMENT
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, file] = process.argv.slice(2).map((path) => resolve(path));
const entry = createRequire(join(folder, "index.js")).resolve("@seriousme/openapi-schema-validator");
const { Validator } = await import(pathToFileURL(entry));
const { valid, errors } = await new Validator().validate(JSON.parse(readFileSync(file, "utf8")));
if (!valid) {
  console.error(JSON.stringify(errors, null, 2));
  process.exit(1);
}
