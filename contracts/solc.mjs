#!/usr/bin/env node
// The Solidity compiler as forge expects it: `--version`, and `--standard-json` from stdin to stdout.
//
// solc-js's own command line cuts long inputs and outputs at pipe boundaries and mixes warnings into
// its output. This reads all of stdin first and ends only when all of stdout is written.
import { createRequire } from 'node:module'

const solc = createRequire(import.meta.url)('solc')

if (process.argv.includes('--version')) {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`)
} else if (process.argv.includes('--standard-json')) {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const output = solc.compile(Buffer.concat(chunks).toString('utf8'))
  await new Promise((done) => process.stdout.write(output, done))
} else {
  process.stderr.write('usage: solc.mjs --version | --standard-json\n')
  process.exitCode = 2
}
