#!/usr/bin/env node
// Compiles the contracts and writes what the Rust side commits: one artifact per contract and the
// devnet's genesis allocation. `--check` writes nothing and fails if a committed file would change.
//
//   src/**/*.sol ─▶ forge build ─▶ out/ ─▶ ../crates/contracts/artifacts/*.json   (abi, bytecode)
//   script/Genesis.s.sol ─▶ cache/ ─▶ ../crates/contracts/genesis/devnet.json  (geth-style alloc)
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

import { forge } from './forge.mjs'

const root = dirname(fileURLToPath(import.meta.url))
const crate = join(root, '..', 'crates', 'contracts')
const contracts = ['DatanetRegistry', 'ModelRegistry', 'InferenceMarket', 'AttributionReferee']
// Their place in a genesis is the business of crates/predeploys.
const predeploys = ['L1Block', 'L2ToL1MessagePasser', 'NativeAssetLiquidity', 'LiquidityController']
const genesisAddresses = [1, 2, 3, 4].map((n) => `0x4f4c${n.toString(16).padStart(36, '0')}`)
const check = process.argv.includes('--check')

function run(...args) {
  const { status, stdout, stderr, error } = forge(args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
  if (error) throw error
  if (status === 0) return
  process.stderr.write(`${stdout}${stderr}`)
  throw new Error(`forge ${args[0]} failed with status ${status}`)
}

function artifact(name) {
  const built = JSON.parse(readFileSync(join(root, 'out', `${name}.sol`, `${name}.json`), 'utf8'))
  return {
    contractName: name,
    abi: built.abi,
    bytecode: { object: built.bytecode.object },
    deployedBytecode: { object: built.deployedBytecode.object },
  }
}

const nonZero = (storage) => Object.fromEntries(Object.entries(storage).filter(([, word]) => BigInt(word) !== 0n))

// Accounts, storage slots and fields in a fixed order; only our own addresses.
function genesis() {
  const dump = JSON.parse(readFileSync(join(root, 'cache', 'genesis.json'), 'utf8'))
  const sorted = (object) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)))
  const accounts = sorted(Object.fromEntries(Object.entries(dump).map(([k, v]) => [k.toLowerCase(), v])))
  return Object.fromEntries(
    genesisAddresses.map((address) => {
      const account = accounts[address]
      if (!account) throw new Error(`the genesis script left nothing at ${address}`)
      const { balance, nonce, code, storage } = account
      return [address, { balance, nonce, code, storage: sorted(nonZero(storage ?? {})) }]
    }),
  )
}

run('build', '--skip', 'test')
run('script', 'script/Genesis.s.sol:Genesis')

const files = new Map([...contracts, ...predeploys].map((name) => [join(crate, 'artifacts', `${name}.json`), artifact(name)]))
files.set(join(crate, 'genesis', 'devnet.json'), genesis())

let stale = 0
for (const [path, content] of files) {
  const text = `${JSON.stringify(content, null, 1)}\n`
  let committed = null
  try {
    committed = readFileSync(path, 'utf8')
  } catch {
    // absent: it is stale
  }
  if (committed === text) continue
  stale += 1
  process.stderr.write(`${check ? 'stale' : 'wrote'}: ${relative(join(root, '..'), path)}\n`)
  if (check) continue
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}
if (check && stale > 0) {
  process.stderr.write('run `npm run build` in contracts/ and commit the result\n')
  process.exitCode = 1
}
