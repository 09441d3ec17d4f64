// Says of each Flux script on standard input, a list in JSON, whether Influx finds its syntax and types right.
//   node flux.mjs FOLDER, of the package @influxdata/flux-lsp-browser
// The package is made for bundlers, which read WebAssembly; here that is done by hand.
import { readFileSync } from "node:fs";
const folder = process.argv[2];
const lines = readFileSync(`${folder}/flux-lsp-browser_bg.js`, "utf8").split("\n");
const memory = (line) => /^cached\w+Memory0 = /.test(line);
const source = [
  "let wasm;",
  ...lines.filter((line) => !line.startsWith("import * as wasm") && !memory(line)),
  `export function use(made) { wasm = made; ${lines.filter(memory).join(" ")} }`,
].join("\n");
const glue = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);
const { instance } = await WebAssembly.instantiate(readFileSync(`${folder}/flux-lsp-browser_bg.wasm`), { "./flux-lsp-browser_bg.js": glue });
glue.use(instance.exports);
for (const script of JSON.parse(readFileSync(0, "utf8"))) console.log(new glue.Flux(script).is_valid());
