// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";
import {SpanCredit} from "./AttributionTypes.sol";

/// @title From effects and span credit to integer shares
/// @notice s = ε · (w/W + (1 − a)·φ⁺/Σφ⁺), with w the surprisal charged to a player's text, W that of the
/// answer, a the part of W that spans cover and φ⁺ the effects that are paid.
library Shares {
    uint256 internal constant ONE = 1 << 32;
    /// Above every remainder: the denominator is below 2⁴⁹ · 2⁵⁷.
    uint256 private constant REMAINDERS = 1 << 106;

    /// @notice Shares in parts of 2³², by largest remainders; the sum is rounded down.
    /// @param explained ε in parts of 2³².
    /// @param paid φ⁺ of each player; zero where it is not paid.
    /// @param credit Of the same players.
    /// @param tieSeed Of equal remainders the lower keccak256(seed ‖ player) comes first.
    /// @return shares One per player.
    /// @return commons What the shares leave of 2³².
    function partsDown(uint256 explained, uint256[] memory paid, SpanCredit memory credit, bytes32 tieSeed)
        internal
        pure
        returns (uint64[] memory shares, uint64 commons)
    {
        (uint256[] memory numerators, uint256 denominator) = _exact(explained, paid, credit);
        uint256 players = paid.length;
        shares = new uint64[](players);
        uint256[] memory ranked = new uint256[](players);
        uint256 left = 0;
        uint256 given = 0;
        for (uint256 i = 0; i < players; ++i) {
            uint256 parts = numerators[i] / denominator;
            uint256 remainder = numerators[i] % denominator;
            (shares[i], given, left) = (uint64(parts), given + parts, left + remainder);
            // Largest remainder, then lowest hash (its first 144 bits), then the player itself.
            uint256 tie = uint256(keccak256(abi.encodePacked(tieSeed, uint8(i)))) >> 112;
            ranked[i] = ((REMAINDERS - 1 - remainder) << 150) | (tie << 6) | i;
        }
        Arrays.sort(ranked);
        for (uint256 i = 0; i < left / denominator; ++i) {
            ++shares[ranked[i] & 63];
            ++given;
        }
        // Conservation: players never get more than is explained.
        assert(given <= explained && explained <= ONE);
        commons = uint64(ONE - given);
    }

    /// s · 2³² = ε · (w · Σφ⁺ + (W − covered) · φ⁺) / (W · Σφ⁺).
    function _exact(uint256 explained, uint256[] memory paid, SpanCredit memory credit)
        private
        pure
        returns (uint256[] memory numerators, uint256 denominator)
    {
        uint256 effects = 0;
        for (uint256 i = 0; i < paid.length; ++i) {
            effects += paid[i];
        }
        // An empty sum stands for one: its numerators are zero.
        if (effects == 0) effects = 1;
        // An answer without surprisal is all uncovered: the effects decide alone.
        (uint256 total, uint256 uncovered) =
            credit.total == 0 ? (1, 1) : (credit.total, credit.total - credit.covered);
        denominator = total * effects;
        numerators = new uint256[](paid.length);
        for (uint256 i = 0; i < paid.length; ++i) {
            numerators[i] = explained * (credit.perPlayer[i] * effects + uncovered * paid[i]);
        }
    }
}
