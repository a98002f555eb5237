// Hardhat's node as the benchmark runs it: the same chain id, gas limit and order as the others, a block a
// second (its interval mode), no log of every call.
const BLOCK_GAS_LIMIT = BigInt(process.env.BENCH_GAS_LIMIT ?? '30000000000')
const CHAIN_ID = Number(process.env.BENCH_CHAIN_ID ?? '161337')

export default {
  networks: {
    node: {
      type: 'edr-simulated',
      chainType: 'l1',
      chainId: CHAIN_ID,
      hardfork: 'prague',
      blockGasLimit: BLOCK_GAS_LIMIT,
      mining: { auto: false, interval: 1000, mempool: { order: 'fifo' } },
      loggingEnabled: false,
    },
  },
}
