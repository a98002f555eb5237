// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";
import {SpanCredit, SpanInput} from "./AttributionTypes.sol";

/// @title What the repeated text of an answer is worth, and to whom
/// @notice Each token is charged once, to the span of highest surprisal that covers it, the earlier of
/// equals. A span is its earliest holder's; one with too many holders is the commons'.
library SpanCharge {
    /// @notice Shorter spans are anybody's words.
    uint256 internal constant MIN_SPAN_TOKENS = 6;
    /// @notice Spans with less surprisal are no evidence: 8 nat.
    uint256 internal constant MIN_SPAN_SURPRISAL = 8 << 20;
    /// @notice Text that more records hold belongs to the commons.
    uint256 internal constant MAX_HOLDERS = 50;
    /// @notice Most answer tokens.
    uint256 internal constant MAX_TOKENS = 1 << 17;
    /// @notice Most surprisal of one token.
    uint256 internal constant MAX_SURPRISAL = 1 << 32;

    /// @notice The answer has more than `MAX_TOKENS` tokens.
    error AnswerTooLong(uint256 tokens);
    /// @notice A token has more than `MAX_SURPRISAL`.
    error SurprisalTooLarge(uint256 token);
    /// @notice A match that no span index returns: outside of the answer, not maximal or not in order,
    /// or with holders, record and player that do not go together.
    error BadMatch(uint256 index);

    /// @notice Divides the surprisal of an answer among the spans that cover it.
    function charge(uint256 players, uint64[] memory surprisals, SpanInput[] memory matches)
        internal
        pure
        returns (SpanCredit memory credit)
    {
        uint256[] memory sums = _runningSums(surprisals);
        credit.total = sums[surprisals.length];
        credit.perPlayer = new uint256[](players);
        uint256[] memory ranked = _ranked(players, sums, matches);
        bool[] memory taken = new bool[](surprisals.length);
        for (uint256 i = 0; i < ranked.length && ranked[i] != type(uint256).max; ++i) {
            SpanInput memory span = matches[uint32(ranked[i])];
            uint256 charged = 0;
            uint256 end = uint256(span.start) + span.length;
            for (uint256 token = span.start; token < end; ++token) {
                if (taken[token]) continue;
                taken[token] = true;
                charged += surprisals[token];
            }
            credit.covered += charged;
            if (span.holders > MAX_HOLDERS) credit.commons += charged;
            else credit.perPlayer[span.player] += charged;
        }
    }

    /// sums[t] = surprisal of the tokens before t.
    function _runningSums(uint64[] memory surprisals) private pure returns (uint256[] memory sums) {
        uint256 tokens = surprisals.length;
        if (tokens > MAX_TOKENS) revert AnswerTooLong(tokens);
        sums = new uint256[](tokens + 1);
        for (uint256 t = 0; t < tokens; ++t) {
            if (surprisals[t] > MAX_SURPRISAL) revert SurprisalTooLarge(t);
            sums[t + 1] = sums[t] + surprisals[t];
        }
    }

    /// The spans that count, by falling surprisal, then by start: (complement of the surprisal, start,
    /// index) in one word each. Spans that do not count come last, as the largest word.
    function _ranked(uint256 players, uint256[] memory sums, SpanInput[] memory matches)
        private
        pure
        returns (uint256[] memory ranked)
    {
        ranked = new uint256[](matches.length);
        (uint256 nextStart, uint256 lastEnd) = (0, 0);
        for (uint256 i = 0; i < matches.length; ++i) {
            SpanInput memory span = matches[i];
            uint256 end = uint256(span.start) + span.length;
            bool maximal = span.start >= nextStart && end > lastEnd;
            if (span.length == 0 || end >= sums.length || !maximal || !_owned(players, span)) {
                revert BadMatch(i);
            }
            (nextStart, lastEnd) = (uint256(span.start) + 1, end);
            uint256 surprisal = sums[end] - sums[span.start];
            bool counts = span.length >= MIN_SPAN_TOKENS && surprisal >= MIN_SPAN_SURPRISAL;
            ranked[i] = counts
                ? ((type(uint64).max - surprisal) << 64) | (uint256(span.start) << 32) | i
                : type(uint256).max;
        }
        Arrays.sort(ranked);
    }

    /// Whether the holders of a span and its owner go together.
    function _owned(uint256 players, SpanInput memory span) private pure returns (bool) {
        if (span.holders == 0) return false;
        if (span.holders > MAX_HOLDERS) {
            return span.player == type(uint8).max && span.record == type(uint32).max;
        }
        return span.player < players;
    }
}
