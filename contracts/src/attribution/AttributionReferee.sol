// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Payee, Receipt} from "../inference/Receipts.sol";
import {DesignEncoding, EvidenceInputs, Outcome} from "./AttributionTypes.sol";
import {Effects} from "./Effects.sol";
import {Explained} from "./Explained.sol";
import {NoiseFloor} from "./NoiseFloor.sol";
import {Shares} from "./Shares.sol";
import {SpanCharge} from "./SpanCharge.sol";

/// @title Derives the shares of an answer again from what was measured about it
/// @notice Integer for integer what `openledger-attribution` computes. Keeps no state, holds no money and
/// has no owner: whoever disputes a receipt calls it, as a contract or with `eth_call`.
///
/// values ─▶ effects ─▶ above the noise floor ─┐
/// surprisals, matches ─▶ span credit ─────────┼─▶ shares + commons ─▶ payees of the receipt
/// values of base and published ─▶ explained ──┘
contract AttributionReferee {
    /// @notice The design given is not the one the inputs name.
    error DesignHashMismatch(bytes32 expected, bytes32 found);
    /// @notice The receipt commits to other evidence.
    error EvidenceHashMismatch(bytes32 expected, bytes32 found);
    /// @notice One wallet per player.
    error BadWalletCount(uint256 players, uint256 wallets);

    /// @notice Every number that follows from the inputs of one answer. Reverts where an input is not
    /// what a measurement can give.
    function derive(DesignEncoding calldata design, EvidenceInputs calldata inputs)
        external
        pure
        returns (Outcome memory)
    {
        return _derive(design, inputs);
    }

    /// @notice The shares of an answer: one per player and the commons', in parts of 2³².
    function sharesOf(DesignEncoding calldata design, EvidenceInputs calldata inputs)
        external
        pure
        returns (uint64[] memory shares, uint64 commons)
    {
        Outcome memory outcome = _derive(design, inputs);
        return (outcome.shares, outcome.commons);
    }

    /// @notice Whether a receipt pays whom its own evidence says. False is proof that its operator signed
    /// shares that do not follow from the values it committed to; it takes no model to show that.
    /// Reverts if design or inputs are not those of the receipt.
    /// @param receipt As signed.
    /// @param documentHash Keccak-256 of the canonical JSON of the evidence, the other half of
    /// `receipt.evidenceHash`. It also commits to the wallets of the players.
    /// @param design Of the model.
    /// @param inputs Of the answer.
    /// @param wallets Of the players, in the order of the design.
    function paysWhatFollows(
        Receipt calldata receipt,
        bytes32 documentHash,
        DesignEncoding calldata design,
        EvidenceInputs calldata inputs,
        address[] calldata wallets
    ) external pure returns (bool) {
        bytes32 evidenceHash = keccak256(
            abi.encodePacked(bytes1(0x01), keccak256(abi.encode(inputs)), documentHash)
        );
        if (evidenceHash != receipt.evidenceHash) {
            revert EvidenceHashMismatch(receipt.evidenceHash, evidenceHash);
        }
        if (wallets.length != design.players) revert BadWalletCount(design.players, wallets.length);
        return _pays(receipt.payees, _derive(design, inputs).shares, wallets);
    }

    function _derive(DesignEncoding memory design, EvidenceInputs memory inputs)
        private
        pure
        returns (Outcome memory outcome)
    {
        bytes32 designHash = keccak256(abi.encode(design));
        if (designHash != inputs.designHash) revert DesignHashMismatch(inputs.designHash, designHash);
        uint256[] memory unused;
        (outcome.effects, unused) = Effects.contrasts(design, inputs.values);
        outcome.noiseFloor = NoiseFloor.ofUp(unused);
        // Run 0 is the published adapter, run m the base.
        outcome.explained =
            Explained.partsDown(inputs.values[design.order], inputs.values[0], inputs.surprisals.length);
        outcome.credit = SpanCharge.charge(design.players, inputs.surprisals, inputs.matches);
        uint256[] memory paid = new uint256[](design.players);
        for (uint256 i = 0; i < paid.length; ++i) {
            bool cleared = outcome.effects[i] > int256(outcome.noiseFloor);
            if (inputs.influencePaid && cleared) paid[i] = uint256(outcome.effects[i]);
        }
        (outcome.shares, outcome.commons) =
            Shares.partsDown(outcome.explained, paid, outcome.credit, inputs.tieSeed);
    }

    /// Players of one wallet are paid together, ascending by wallet, and a share of nothing is left out.
    function _pays(Payee[] calldata payees, uint64[] memory shares, address[] calldata wallets)
        private
        pure
        returns (bool)
    {
        uint256 paid = 0;
        uint256 owed = 0;
        for (uint256 i = 0; i < payees.length; ++i) {
            if (i != 0 && payees[i].account <= payees[i - 1].account) return false;
            uint256 due = 0;
            for (uint256 player = 0; player < shares.length; ++player) {
                if (wallets[player] == payees[i].account) due += shares[player];
            }
            if (due == 0 || due != payees[i].share) return false;
            paid += due;
        }
        for (uint256 player = 0; player < shares.length; ++player) {
            owed += shares[player];
        }
        // Each payee has what is due to it; equal sums leave nobody out.
        return paid == owed;
    }
}
