#!/usr/bin/env node
// Runs forge in this folder and ends with its exit status.
//
// The npm package `@foundry-rs/forge` is left out: its launcher ends with 0 whatever forge said, which
// would turn a failed test green. The packages per platform hold the executable itself.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(fileURLToPath(import.meta.url))

/** Path of the forge executable: `$FORGE`, or the one npm installed for this machine. */
export function forgePath() {
  if (process.env.FORGE) return process.env.FORGE
  const os = process.platform
  const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch] ?? process.arch
  const name = `@foundry-rs/forge-${os}-${arch}/bin/forge${os === 'win32' ? '.exe' : ''}`
  try {
    return createRequire(import.meta.url).resolve(name)
  } catch {
    throw new Error(
      `${name} is not installed; run \`npm ci --ignore-scripts\` in contracts/, ` +
        'or set FORGE to a forge 1.7 where npm has none for this machine',
    )
  }
}

/** Runs forge with `args`; `options` as for `spawnSync`. */
export function forge(args, options) {
  return spawnSync(forgePath(), args, { cwd: root, ...options })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { status, error } = forge(process.argv.slice(2), { stdio: 'inherit' })
  if (error) throw error
  process.exitCode = status ?? 1
}
