#!/usr/bin/env node
// Runs a WebAssembly program for WASI: the runner of the wasm32-wasip1 target (.cargo/config.toml).
// It sees no files; a test that needs some is not for this target.
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [program, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args: [program, ...args], env: process.env });
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
process.exitCode = wasi.start(instance);
