// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DesignEncoding} from "./AttributionTypes.sol";

/// @title From the values of the runs to one effect per player
/// @notice The transform D = [H; −H] of the values, and the contrasts that nobody owns. Exact.
library Effects {
    uint256 internal constant MAX_PLAYERS = 63;
    uint256 internal constant MAX_ORDER = 64;
    /// @notice Largest magnitude of a value, in units of 2⁻²⁰ nat.
    int256 internal constant MAX_VALUE = 1 << 44;
    /// @notice Unused contrasts from which the empty run gets a parameter of its own.
    uint256 internal constant MIN_EMPTY_RUN_CONTRASTS = 7;

    /// Three sums travel in one word, each with room for 64 terms: differences of a run and its fold,
    /// their sums, and how many there are. The first two are raised by `BIAS` to stay positive.
    uint256 private constant LANE = 84;
    uint256 private constant LANE_MASK = (1 << LANE) - 1;
    int256 private constant BIAS = 1 << 46;

    /// @notice No players, more than `MAX_PLAYERS`, or an order that does not hold them.
    error BadDesign(uint256 players, uint256 order, uint256 rows);
    /// @notice The design has `expected` runs.
    error BadRunCount(uint256 expected, uint256 found);
    /// @notice The value of a run is beyond `MAX_VALUE`.
    error ValueTooLarge(uint256 run);

    /// @notice Effects, and magnitudes of the unused contrasts: columns of H without a player, then the
    /// m − 1 even contrasts of the fold-over. Both without the part of the empty run.
    function contrasts(DesignEncoding memory design, int64[] memory values)
        internal
        pure
        returns (int256[] memory perPlayer, uint256[] memory unused)
    {
        uint256 order = design.order;
        uint256 players = design.players;
        if (
            players == 0 || players > MAX_PLAYERS || order > MAX_ORDER || order < players
                || design.rows.length != order
        ) revert BadDesign(players, order, design.rows.length);
        uint256[] memory pairs = _pairs(values, order);
        perPlayer = new int256[](players);
        int256[] memory signed = new int256[](2 * order - 1 - players);
        uint256 whole = 0;
        for (uint256 r = 0; r < order; ++r) {
            whole += pairs[r];
        }
        uint256 found = 0;
        for (uint256 column = 0; column < order; ++column) {
            uint256 inside = _columnSum(design.rows, pairs, column);
            int256 odd = _signed(whole, inside, 0);
            if (column < players) perPlayer[column] = odd;
            // The empty run is the fold of the first row, which is all +.
            else signed[found++] = -odd;
            // Even contrast 0 is the grand mean.
            if (column != 0) signed[order - players + column - 1] = _signed(whole, inside, LANE);
        }
        unused = _withoutEmptyRun(perPlayer, signed);
    }

    /// Takes the part of the empty run, with which every effect has the sign − and every contrast of
    /// `signed` the sign +, from both; returns the magnitudes of the contrasts.
    function _withoutEmptyRun(int256[] memory perPlayer, int256[] memory signed)
        private
        pure
        returns (uint256[] memory magnitudes)
    {
        int256 empty = _emptyRun(signed);
        for (uint256 player = 0; player < perPlayer.length; ++player) {
            perPlayer[player] += empty;
        }
        magnitudes = new uint256[](signed.length);
        for (uint256 i = 0; i < signed.length; ++i) {
            magnitudes[i] = _magnitude(signed[i] - empty);
        }
    }

    /// The mean of the contrasts without the smallest and the largest, rounded down, where it is negative.
    function _emptyRun(int256[] memory signed) private pure returns (int256) {
        if (signed.length < MIN_EMPTY_RUN_CONTRASTS) return 0;
        (int256 least, int256 most, int256 sum) = (signed[0], signed[0], 0);
        for (uint256 i = 0; i < signed.length; ++i) {
            int256 contrast = signed[i];
            sum += contrast;
            if (contrast < least) least = contrast;
            if (contrast > most) most = contrast;
        }
        sum -= least + most;
        if (sum >= 0) return 0;
        int256 count = int256(signed.length) - 2;
        // Division rounds towards zero; of a negative sum, down is away from it.
        return -((count - 1 - sum) / count);
    }

    /// The lanes of each run and its fold.
    function _pairs(int64[] memory values, uint256 order) private pure returns (uint256[] memory pairs) {
        if (values.length != 2 * order) revert BadRunCount(2 * order, values.length);
        for (uint256 run = 0; run < values.length; ++run) {
            if (values[run] > MAX_VALUE || values[run] < -MAX_VALUE) revert ValueTooLarge(run);
        }
        pairs = new uint256[](order);
        for (uint256 r = 0; r < order; ++r) {
            (int256 run, int256 fold) = (values[r], values[order + r]);
            pairs[r] = uint256(run - fold + BIAS) | (uint256(run + fold + BIAS) << LANE) | (1 << (2 * LANE));
        }
    }

    /// Σ over the rows with +1 in `column`.
    function _columnSum(uint64[] memory rows, uint256[] memory pairs, uint256 column)
        private
        pure
        returns (uint256 sum)
    {
        // Both arrays have the same length. No lane overflows: 64 · 2⁴⁷ < 2⁸⁴.
        assembly ("memory-safe") {
            let shift := sub(pairs, rows)
            let end := add(add(rows, 0x20), shl(5, mload(rows)))
            for { let row := add(rows, 0x20) } lt(row, end) { row := add(row, 0x20) } {
                sum := add(sum, mul(and(shr(column, mload(row)), 1), mload(add(row, shift))))
            }
        }
    }

    /// Σ± = 2·(sum over +1) − (sum over all), of one lane.
    function _signed(uint256 whole, uint256 inside, uint256 lane) private pure returns (int256) {
        return 2 * _lane(inside, lane) - _lane(whole, lane);
    }

    function _lane(uint256 word, uint256 lane) private pure returns (int256) {
        return int256((word >> lane) & LANE_MASK) - BIAS * int256(word >> (2 * LANE));
    }

    function _magnitude(int256 contrast) private pure returns (uint256) {
        return uint256(contrast < 0 ? -contrast : contrast);
    }
}
