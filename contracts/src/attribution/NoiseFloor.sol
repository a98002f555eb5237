// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";

/// @title How large an effect must be to be more than the error of its own measurement
/// @notice A multiple of Lenth's pseudo standard error of the contrasts that no player owns.
library NoiseFloor {
    /// @notice Contrasts below which there is no floor.
    uint256 internal constant MIN_CONTRASTS = 3;
    /// @notice No floor is above this, and no effect reaches it.
    uint256 internal constant MAX_FLOOR = 1 << 52;

    /// The floor in pseudo standard errors, in units of 1/64 and two bytes each, by the number of
    /// contrasts from `MIN_CONTRASTS` to that of order 64 with one player.
    bytes private constant MULTIPLES = hex"021301880172013a0117010300fd00ec00e300d900d500cf00ca00c600c300c000bd00bb00b900b7"
        hex"00b500b400b300b200b000b000ae00ad00ad00ac00ab00aa00aa00a900a900a800a800a700a700a6"
        hex"00a600a600a500a500a500a400a400a400a300a300a300a300a200a200a200a200a100a100a100a1"
        hex"00a100a100a000a000a000a000a000a0009f009f009f009f009f009f009f009f009e009e009e009e"
        hex"009e009e009e009e009e009e009e009e009e009e009d009d009d009d009d009d009d009d009d009d"
        hex"009d009d009c009d009d009c009d009c009c009c009c009c009c009c009c009c009c009c009c009c"
        hex"009c009c009c009c";

    /// @notice The floor, rounded up, in the units of the contrasts.
    /// @param magnitudes Of the unused contrasts; sorted in place.
    function ofUp(uint256[] memory magnitudes) internal pure returns (uint256 floor) {
        uint256 count = magnitudes.length;
        if (count < MIN_CONTRASTS) return 0;
        Arrays.sort(magnitudes);
        uint256 median = _twiceMedian(magnitudes, count);
        // Those below 2.5 · 1.5 · median, with twice the median in hand.
        uint256 inert = 0;
        while (inert < count && 8 * magnitudes[inert] < 15 * median) {
            ++inert;
        }
        // multiple / 64 · 1.5 · median
        floor = (3 * _multiple(count) * _twiceMedian(magnitudes, inert) + 255) / 256;
        if (floor > MAX_FLOOR) floor = MAX_FLOOR;
    }

    function _multiple(uint256 contrasts) private pure returns (uint256) {
        bytes memory table = MULTIPLES;
        uint256 offset = 2 * (contrasts - MIN_CONTRASTS);
        return (uint256(uint8(table[offset])) << 8) | uint8(table[offset + 1]);
    }

    /// Of the first `count` of ascending numbers.
    function _twiceMedian(uint256[] memory ascending, uint256 count) private pure returns (uint256) {
        return count == 0 ? 0 : ascending[(count - 1) / 2] + ascending[count / 2];
    }
}
