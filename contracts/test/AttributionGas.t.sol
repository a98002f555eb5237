// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AttributionReferee} from "../src/attribution/AttributionReferee.sol";
import {DesignEncoding, EvidenceInputs, SpanInput} from "../src/attribution/AttributionTypes.sol";
import {Base} from "./Base.sol";

/// What deriving shares costs as a transaction, calldata included. `snapshots/AttributionGasTest.json`
/// holds the figures.
contract AttributionGasTest is Base {
    AttributionReferee private referee;

    function setUp() public {
        referee = AttributionReferee(create(vm.getCode("AttributionReferee.sol")));
    }

    /// An answer of `tokens` tokens that repeats a text of 16 tokens out of every 40.
    function answer(uint8 players, uint8 order, uint256 tokens)
        private
        pure
        returns (DesignEncoding memory design, EvidenceInputs memory inputs)
    {
        design = DesignEncoding({players: players, order: order, rows: new uint64[](order)});
        for (uint256 r = 0; r < order; ++r) {
            for (uint256 c = 0; c < order; ++c) {
                if (parity(r & c)) design.rows[r] |= uint64(1 << c);
            }
        }
        inputs.designHash = keccak256(abi.encode(design));
        inputs.influencePaid = true;
        inputs.values = new int64[](2 * uint256(order));
        for (uint256 run = 0; run < inputs.values.length; ++run) {
            inputs.values[run] = -int64(uint64(uint256(keccak256(abi.encode(run))) % (tokens << 21)));
        }
        inputs.values[0] = 0;
        inputs.surprisals = new uint64[](tokens);
        for (uint256 t = 0; t < tokens; ++t) {
            inputs.surprisals[t] = uint64(uint256(keccak256(abi.encode("token", t))) % (6 << 20));
        }
        inputs.matches = new SpanInput[](tokens / 40);
        for (uint32 i = 0; i < inputs.matches.length; ++i) {
            inputs.matches[i] = SpanInput(40 * i, 16, 1, i, uint8(i % players));
        }
    }

    function parity(uint256 bits) private pure returns (bool even) {
        even = true;
        for (; bits != 0; bits &= bits - 1) {
            even = !even;
        }
    }

    /// forge-config: default.isolate = true
    /// forge-config: full.isolate = true
    function test_gas_of_deriving_shares() public {
        (DesignEncoding memory design, EvidenceInputs memory inputs) = answer(8, 8, 40);
        referee.sharesOf(design, inputs);
        uint256 small = vm.snapshotGasLastCall("shares of 40 tokens, 8 players, 16 runs");
        (design, inputs) = answer(8, 8, 200);
        referee.sharesOf(design, inputs);
        uint256 usual = vm.snapshotGasLastCall("shares of 200 tokens, 8 players, 16 runs");
        (design, inputs) = answer(63, 64, 200);
        referee.sharesOf(design, inputs);
        uint256 largest = vm.snapshotGasLastCall("shares of 200 tokens, 63 players, 128 runs");
        vm.assertLt(small, 300_000);
        vm.assertLt(usual, 700_000);
        vm.assertLt(largest, 2_500_000);
    }
}
