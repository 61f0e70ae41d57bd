// Builds dist, ES modules and CommonJS from one source, by tsc alone; with --tests also tests, examples and bench, into build.
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(dirname(fileURLToPath(import.meta.url)));

/** Compiles what a configuration includes. */
function compile(configuration) {
  const compiler = join(HERE, "node_modules/.bin/tsc");
  const run = spawnSync(process.execPath, [compiler, "-p", join(HERE, configuration)], { stdio: "inherit" });
  if (run.status !== 0) process.exit(run.status ?? 1);
}

rmSync(join(HERE, "dist"), { recursive: true, force: true });
for (const [build, type] of [
  ["esm", "module"],
  ["cjs", "commonjs"],
]) {
  const folder = join(HERE, "dist", build);
  mkdirSync(folder, { recursive: true });
  // Tells Node, and the types' readers, what the files in this folder are.
  writeFileSync(join(folder, "package.json"), `{ "type": "${type}" }\n`);
  compile(`tsconfig.${build}.json`);
}
if (process.argv.includes("--tests")) compile("tsconfig.tests.json");
