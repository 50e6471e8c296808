// Draws a Graphviz text as SVG: node scripts/diagram.mjs docs/flow.dot docs/flow.svg (`make diagram`).
// Graphviz is the WebAssembly build from npm, so that nobody needs a system package. The SVG names the SHA-256
// of its source, by which a test sees that it was drawn again after a change.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [source, target] = process.argv.slice(2);
const installed = createRequire(pathToFileURL(resolve("build/diagram/package.json")));
const { instance } = await import(pathToFileURL(installed.resolve("@viz-js/viz")));
const text = readFileSync(source, "utf8");
const digest = createHash("sha256").update(text).digest("hex");
const svg = (await instance()).renderString(text, { format: "svg" });
// Graphviz measures Helvetica; where a browser has another font its words are up to a fifth wider.
const drawn = svg.replace(/font-size="([\d.]+)"/g, (_, size) => `font-size="${(size * 0.8).toFixed(2)}"`);
writeFileSync(target, drawn.replace("<svg ", `<!-- drawn from a text with SHA-256 ${digest} -->\n<svg `));
