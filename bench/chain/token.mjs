#!/usr/bin/env node
// Compiles Token.sol with the compiler, settings and OpenZeppelin of contracts/ and writes token.json.
// Run it again after either changes; the benchmark itself needs no compiler.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const contracts = join(here, '..', '..', 'contracts')
const solc = createRequire(join(contracts, 'package.json'))('solc')

const input = {
  language: 'Solidity',
  sources: { 'Token.sol': { content: readFileSync(join(here, 'contracts', 'Token.sol'), 'utf8') } },
  settings: {
    evmVersion: 'prague',
    optimizer: { enabled: true, runs: 10_000 },
    metadata: { appendCBOR: false, bytecodeHash: 'none' },
    outputSelection: { '*': { Token: ['evm.bytecode.object'] } },
  },
}
const readImport = (path) => ({ contents: readFileSync(join(contracts, 'node_modules', path), 'utf8') })
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: readImport }))
const errors = (output.errors ?? []).filter(({ severity }) => severity === 'error')
if (errors.length > 0) throw new Error(errors.map(({ formattedMessage }) => formattedMessage).join('\n'))
const { object } = output.contracts['Token.sol'].Token.evm.bytecode
writeFileSync(join(here, 'token.json'), `${JSON.stringify({ bytecode: `0x${object}` }, null, 1)}\n`)
