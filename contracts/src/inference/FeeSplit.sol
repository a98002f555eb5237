// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Payee} from "./Receipts.sol";

/// @notice How a fee is divided, in basis points of the token fee.
struct Split {
    /// On top of the token fee, for the platform.
    uint16 platformBps;
    /// For the operator that served the answer.
    uint16 computeBps;
    /// For the model's owner and its lineage.
    uint16 modelBps;
    /// For stakers.
    uint16 stakersBps;
    /// Where the stakers' part goes; zero while nobody stakes, then it is the commons'.
    address stakers;
}

/// @notice Where the wei of a fee go. `fee` = platform + compute + model + stakers + data + what the
/// commons get besides: the stakers' part while nobody stakes.
struct FeeParts {
    uint256 fee;
    uint256 platform;
    uint256 compute;
    uint256 model;
    uint256 stakers;
    /// The data pot; what of it no payee gets goes to the commons.
    uint256 data;
}

/// @title The fee of an answer and its parts
/// @notice Pure. Every part is rounded down, so every remainder is the commons'.
library FeeSplit {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant SHARE_ONE = 1 << 32;
    uint256 internal constant MAX_PLATFORM_BPS = 2_000;
    /// As many as one version of a Datanet has contributors.
    uint256 internal constant MAX_PAYEES = 256;

    /// @notice Compute, model and stakers get more than 100 %, or the platform more than 20 %.
    error BadSplit(Split split);
    /// @notice More payees than `MAX_PAYEES`.
    error TooManyPayees(uint256 count);
    /// @notice Payees must be non-zero and ascend strictly by account.
    error PayeesNotAscending(uint256 index);
    /// @notice A payee with no share, or the market itself.
    error BadPayee(uint256 index);
    /// @notice The shares sum to more than the whole.
    error SharesAboveWhole(uint256 sum);

    /// @notice Reverts with {BadSplit} for a split that gives away more than there is.
    function check(Split memory split) internal pure {
        uint256 given = uint256(split.computeBps) + split.modelBps + split.stakersBps;
        if (given > BPS || split.platformBps > MAX_PLATFORM_BPS) revert BadSplit(split);
    }

    /// @notice ⌊(tokensIn · priceIn + tokensOut · priceOut) / 1000⌋.
    function tokenFeeDown(uint64 tokensIn, uint64 tokensOut, uint256 priceIn, uint256 priceOut)
        internal
        pure
        returns (uint256)
    {
        return (tokensIn * priceIn + tokensOut * priceOut) / 1_000;
    }

    /// @notice The parts of the fee over a token fee. The platform's comes on top.
    function partsDown(uint256 tokenFee, Split memory split) internal pure returns (FeeParts memory parts) {
        parts.platform = partDown(tokenFee, split.platformBps);
        parts.fee = tokenFee + parts.platform;
        parts.compute = partDown(tokenFee, split.computeBps);
        parts.model = partDown(tokenFee, split.modelBps);
        uint256 stakersPot = partDown(tokenFee, split.stakersBps);
        parts.data = tokenFee - parts.compute - parts.model - stakersPot;
        parts.stakers = split.stakers == address(0) ? 0 : stakersPot;
    }

    /// @notice What each payee gets of the data pot, ⌊data · share / 2³²⌋ each, and the sum.
    /// Reverts unless payees are at most `MAX_PAYEES`, ascend strictly and share at most the whole.
    function paidDown(uint256 data, Payee[] calldata payees)
        internal
        view
        returns (uint256[] memory amounts, uint256 paid)
    {
        if (payees.length > MAX_PAYEES) revert TooManyPayees(payees.length);
        amounts = new uint256[](payees.length);
        address previous = address(0);
        uint256 shares = 0;
        for (uint256 i = 0; i < amounts.length; ++i) {
            Payee calldata payee = payees[i];
            if (payee.account <= previous) revert PayeesNotAscending(i);
            // The market cannot pay itself: the money would be nobody's.
            if (payee.share == 0 || payee.account == address(this)) revert BadPayee(i);
            previous = payee.account;
            shares += payee.share;
            amounts[i] = (data * payee.share) / SHARE_ONE;
            paid += amounts[i];
        }
        if (shares > SHARE_ONE) revert SharesAboveWhole(shares);
    }

    /// @notice ⌊whole · bps / 10000⌋.
    function partDown(uint256 whole, uint256 bps) internal pure returns (uint256) {
        return (whole * bps) / BPS;
    }
}
