// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {FeeSplit, Split} from "./FeeSplit.sol";

/// @title How fees are divided, now and then
/// @notice A change takes effect with an epoch that has not begun, and every past split stays known, so
/// a receipt is divided as its signer expected. One storage word per change.
abstract contract SplitHistory {
    using Checkpoints for Checkpoints.Trace224;

    /// @notice Seconds in an epoch.
    uint64 public constant EPOCH = 1 days;

    /// Keyed by epoch; a value holds the stakers' address above four 16-bit parts.
    Checkpoints.Trace224 private _splits;

    /// @notice From epoch `fromEpoch` on (Unix time / `EPOCH`) fees are divided like this.
    event SplitSet(uint32 indexed fromEpoch, Split split);

    /// @param split In force from the current epoch on.
    constructor(Split memory split) {
        _push(split, SafeCast.toUint32(block.timestamp / EPOCH));
    }

    /// @notice How the fee of an answer given at `timestamp` is divided. All zero before deployment.
    function splitAt(uint64 timestamp) public view returns (Split memory split) {
        uint224 packed = _splits.upperLookupRecent(SafeCast.toUint32(timestamp / EPOCH));
        split.platformBps = uint16(packed);
        split.computeBps = uint16(packed >> 16);
        split.modelBps = uint16(packed >> 32);
        split.stakersBps = uint16(packed >> 48);
        split.stakers = address(uint160(packed >> 64));
    }

    /// Sets the split from the first epoch that begins after `timestamp`.
    function _setSplit(Split memory split, uint64 timestamp) internal {
        _push(split, SafeCast.toUint32(timestamp / EPOCH) + 1);
    }

    function _push(Split memory split, uint32 fromEpoch) private {
        FeeSplit.check(split);
        uint224 packed = uint224(split.platformBps) | (uint224(split.computeBps) << 16)
            | (uint224(split.modelBps) << 32) | (uint224(split.stakersBps) << 48)
            | (uint224(uint160(split.stakers)) << 64);
        _splits.push(fromEpoch, packed);
        emit SplitSet(fromEpoch, split);
    }
}
