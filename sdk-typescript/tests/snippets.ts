// Compiles each TypeScript block of the README as a module of its own, against the package installed in the working folder, and runs the exported `test…`
// functions. usage: node snippets.js README TOOLS
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [readme = "", tools = ""] = process.argv.slice(2);
const blocks = [...readFileSync(readme, "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
if (blocks.length < 6) throw new Error(`the README has only ${blocks.length} blocks`);
const folder = resolve("snippets");
mkdirSync(folder, { recursive: true });
blocks.forEach((block, index) => writeFileSync(join(folder, `snippet${index}.ts`), block));
const strict = ["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--module", "nodenext", "--target", "es2022"];
const types = ["--lib", "es2022,dom,dom.iterable", "--types", "node", "--typeRoots", join(tools, "@types")];
const files = blocks.map((_, index) => join(folder, `snippet${index}.ts`));
const compiler = join(tools, "typescript/bin/tsc");
const run = spawnSync(process.execPath, [compiler, ...strict, ...types, ...files], { encoding: "utf8" });
if (run.status !== 0) throw new Error(`a snippet does not compile:\n${run.stdout}${run.stderr}`);
console.log("every snippet compiles");
let ran = 0;
for (const file of files) {
  const found = (await import(pathToFileURL(file.replace(/ts$/, "js")).href)) as Record<string, () => Promise<void>>;
  for (const [name, test] of Object.entries(found).filter(([name]) => name.startsWith("test"))) {
    await test();
    console.log(`${name} ran`);
    ran += 1;
  }
}
if (ran < 2) throw new Error(`only ${ran} snippets ran`);
