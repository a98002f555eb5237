// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DesignEncoding, EvidenceInputs, SpanInput} from "../src/attribution/AttributionTypes.sol";
import {Base} from "./Base.sol";

/// @notice Random answers, the same ones that `crates/attribution/tests/it/contract.rs` makes: every number is
/// drawn from keccak256(case, how many were drawn before), in the same order.
abstract contract AttributionCases is Base {
    uint256 private constant NAT = 1 << 20;

    DesignEncoding[] private designs;
    uint256 private caseNumber;
    uint256 private drawn;

    function readDesigns(string memory json) internal {
        uint256 count = vm.parseJsonUint(json, ".design_count");
        for (uint256 i = 0; i < count; ++i) {
            bytes memory encoded = vm.parseJsonBytes(json, string.concat(".designs[", vm.toString(i), "]"));
            designs.push(abi.decode(encoded, (DesignEncoding)));
        }
    }

    function makeCase(uint256 number)
        internal
        returns (DesignEncoding memory design, EvidenceInputs memory inputs)
    {
        (caseNumber, drawn) = (number, 0);
        design = designs[below(designs.length)];
        inputs.designHash = keccak256(abi.encode(design));
        inputs.tieSeed = word();
        inputs.influencePaid = below(8) != 0;
        inputs.values = values(design);
        inputs.surprisals = surprisals();
        inputs.matches = matches(inputs.surprisals.length, design.players);
    }

    function word() private returns (bytes32) {
        return keccak256(abi.encode(caseNumber, drawn++));
    }

    function below(uint256 limit) private returns (uint256) {
        return uint128(uint256(word())) % limit;
    }

    /// Ties, ordinary answers, the bounds, and answers that players shaped.
    function values(DesignEncoding memory design) private returns (int64[] memory made) {
        uint256 kind = below(4);
        made = new int64[](2 * uint256(design.order));
        uint256[] memory worth = new uint256[](design.players);
        for (uint256 c = 0; c < worth.length; ++c) {
            worth[c] = below(9 * NAT);
        }
        for (uint256 run = 0; run < made.length; ++run) {
            int256 value;
            if (kind == 0) value = int256(below(7)) - 3;
            if (kind == 1) value = -int256(below(80 * NAT));
            if (kind == 2) value = int256(below((1 << 45) + 1)) - (1 << 44);
            if (kind == 3) value = int256(below(NAT / 4) + inside(design, run, worth)) - int256(600 * NAT);
            made[run] = int64(value);
        }
    }

    function inside(DesignEncoding memory design, uint256 run, uint256[] memory worth)
        private
        pure
        returns (uint256 sum)
    {
        bool fold = run >= design.order;
        uint64 row = design.rows[fold ? run - design.order : run];
        for (uint256 c = 0; c < worth.length; ++c) {
            if (((row >> c) & 1 == 1) != fold) sum += worth[c];
        }
    }

    function surprisals() private returns (uint64[] memory made) {
        made = new uint64[](below(41));
        for (uint256 t = 0; t < made.length; ++t) {
            uint256 kind = below(8);
            uint256 surprisal = kind == 0 ? 0 : 2 * NAT;
            if (kind == 2) surprisal = below((1 << 32) + 1);
            if (kind > 2) surprisal = below(8 * NAT);
            made[t] = uint64(surprisal);
        }
    }

    function matches(uint256 tokens, uint256 players) private returns (SpanInput[] memory made) {
        made = new SpanInput[](below(7));
        uint256 found = 0;
        (uint256 start, uint256 end) = (0, 0);
        while (found < made.length) {
            start += below(10);
            uint256 length = 1 + below(16);
            if (start + length <= end) length = end + 1 - start;
            if (start + length > tokens) break;
            uint256 holders = 1 + below(55);
            bool common = holders > 50;
            made[found++] = SpanInput({
                start: uint32(start),
                length: uint32(length),
                holders: uint32(holders),
                record: common ? type(uint32).max : uint32(below(1_000)),
                player: common ? type(uint8).max : uint8(below(players))
            });
            end = start + length;
            ++start;
        }
        // Shortened in place.
        assembly ("memory-safe") {
            mstore(made, found)
        }
    }
}
