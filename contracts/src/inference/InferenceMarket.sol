// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {Holder, IModelTerms, Terms} from "../model/ModelTypes.sol";
import {Commons} from "./Commons.sol";
import {Deposits} from "./Deposits.sol";
import {FeeParts, FeeSplit, Split} from "./FeeSplit.sol";
import {Payouts, Pot} from "./Payouts.sol";
import {Receipt, Receipts} from "./Receipts.sol";
import {SpendingLimits} from "./SpendingLimits.sol";
import {SplitHistory} from "./SplitHistory.sol";

/// @title Where answers are paid
/// @notice Payers deposit and limit what an operator may charge. Operators sign a receipt per answer;
/// anybody submits receipts in batches; each is charged once and every wei of its fee goes to somebody
/// in the same transaction.
///
/// receipt ─▶ signature ─▶ price and split of `issuedAt` ─▶ limit, balance ─▶ commons ─▶ payouts
///
/// Invariant: platform + compute + model + stakers + paid + commons = fee, to the wei.
/// Invariant: the contract holds at least what it owes.
contract InferenceMarket is Deposits, SpendingLimits, Payouts, Commons, SplitHistory, Ownable2Step {
    using Checkpoints for Checkpoints.Trace208;

    /// @notice Most receipts in one call.
    uint256 public constant MAX_RECEIPTS = 64;
    /// @notice Most payees of one receipt.
    uint256 public constant MAX_PAYEES = FeeSplit.MAX_PAYEES;
    /// @notice Seconds a receipt may be ahead of the block it is settled in.
    uint64 public constant MAX_CLOCK_SKEW = 30;
    /// @notice Highest fidelity floor: a linear datamodeling score of 1, in parts per million.
    uint32 public constant MAX_FIDELITY_FLOOR = 1_000_000;

    /// @notice Where models, prices and lineages are registered.
    IModelTerms public immutable MODELS;

    /// @notice Where the platform's part goes.
    address public treasury;

    /// Upper 192 bits of the receipt's digest and the 64-bit time of settlement.
    mapping(address operator => mapping(uint256 modelId => mapping(bytes32 id => uint256))) private _settled;

    /// In parts per million, keyed by timestamp.
    Checkpoints.Trace208 private _fidelityFloors;

    /// @notice A receipt was charged and its fee divided. `paid` is the sum to payees.
    event Settled(
        bytes32 indexed id,
        uint256 indexed modelId,
        address indexed payer,
        address operator,
        uint256 fee,
        uint256 platform,
        uint256 compute,
        uint256 model,
        uint256 stakers,
        uint256 paid,
        uint256 commons
    );
    /// @notice The platform's part goes here from now on.
    event TreasurySet(address treasury);
    /// @notice From `from` on a model certified to less pays nothing by its effects.
    event FidelityFloorSet(uint32 floorPpm, uint64 from);

    /// @notice A batch has 1 to `MAX_RECEIPTS` receipts and one signature each.
    error BadBatch(uint256 receipts, uint256 signatures);
    /// @notice Every receipt of the batch has been settled before; `id` is the first of them.
    error AlreadySettled(bytes32 id);
    /// @notice Another receipt of this operator and model has used the id.
    error ReceiptIdUsed(bytes32 id);
    /// @notice The receipt is more than `MAX_CLOCK_SKEW` ahead of the block.
    error IssuedInFuture(bytes32 id, uint64 issuedAt);
    /// @notice Price and split of `issuedAt` give another fee.
    error FeeMismatch(bytes32 id, uint256 expected, uint256 stated);
    /// @notice A recipient is the zero address or the market itself.
    error BadRecipient(address recipient);
    /// @notice The floor is above `MAX_FIDELITY_FLOOR`.
    error FidelityFloorTooHigh(uint32 floorPpm);

    /// @param owner Sets split, treasury and dust threshold, and grants from the commons.
    /// @param treasury_ Where the platform's part goes.
    /// @param models The model registry.
    /// @param split In force from the current epoch on.
    constructor(address owner, address treasury_, IModelTerms models, Split memory split)
        EIP712("OpenLedger InferenceMarket", "1")
        Ownable(owner)
        SplitHistory(split)
    {
        MODELS = models;
        _setTreasury(treasury_);
    }

    /// @notice Settles receipts. Anybody may call; each receipt is charged to its payer on the word of
    /// the operator that signed it, within the limit the payer gave that operator. A receipt that has
    /// been settled before is passed over, so nobody can make a batch fail by submitting a part of it
    /// first; a batch with nothing left to settle reverts with {AlreadySettled}. After success every
    /// receipt of the batch is settled, once. Any other fault reverts all.
    /// Emits {Settled}, {PaidOut} and {CommonsCredited}.
    /// @param receipts At most `MAX_RECEIPTS`.
    /// @param signatures The operator's 65-byte EIP-712 signature of each.
    /// @return settledNow How many were settled by this call.
    function settle(Receipt[] calldata receipts, bytes[] calldata signatures)
        external
        nonReentrant
        returns (uint256 settledNow)
    {
        uint256 count = receipts.length;
        if (count == 0 || count > MAX_RECEIPTS || count != signatures.length) {
            revert BadBatch(count, signatures.length);
        }
        for (uint256 i = 0; i < count; ++i) {
            bytes32 digest = receiptDigest(receipts[i]);
            address operator = ECDSA.recoverCalldata(digest, signatures[i]);
            if (_markSettled(receipts[i], operator, digest)) {
                _settle(receipts[i], operator);
                ++settledNow;
            }
        }
        if (settledNow == 0) revert AlreadySettled(receipts[0].id);
        _assertSolvent();
    }

    /// @notice Grants from a Datanet's commons. Owner only. Emits {CommonsGranted}.
    function grantFromCommons(uint256 datanetId, address to, uint256 amount) external onlyOwner nonReentrant {
        _checkRecipient(to);
        _debitCommons(datanetId, to, amount);
        _release(amount);
        Address.sendValue(payable(to), amount);
        _assertSolvent();
    }

    /// @notice Sets how fees are divided from the next epoch on. Owner only. Emits {SplitSet}.
    function setSplit(Split calldata split) external onlyOwner {
        // Counted from the furthest time a receipt can carry now, so no receipt changes under its signer.
        _setSplit(split, uint64(block.timestamp) + MAX_CLOCK_SKEW);
    }

    /// @notice Sets where the platform's part goes. Owner only. Emits {TreasurySet}.
    function setTreasury(address treasury_) external onlyOwner {
        _setTreasury(treasury_);
    }

    /// @notice Sets how faithful a model's attribution must be for its effects to be paid. Owner only.
    /// Counts from the furthest time a receipt can carry now. Emits {FidelityFloorSet}.
    /// @param floorPpm Least certified score; 0 asks for no certificate.
    function setFidelityFloor(uint32 floorPpm) external onlyOwner {
        if (floorPpm > MAX_FIDELITY_FLOOR) revert FidelityFloorTooHigh(floorPpm);
        uint64 from = uint64(block.timestamp) + MAX_CLOCK_SKEW + 1;
        _fidelityFloors.push(SafeCast.toUint48(from), floorPpm);
        emit FidelityFloorSet(floorPpm, from);
    }

    /// @notice Sets from how many wei on payouts are pushed. Owner only. Emits {DustThresholdSet}.
    function setDustThreshold(uint256 threshold) external onlyOwner {
        _setDustThreshold(threshold);
    }

    /// @notice The fee of an answer given at `issuedAt`, and its parts. Reverts for an unknown model.
    function quote(uint256 modelId, uint64 tokensIn, uint64 tokensOut, uint64 issuedAt)
        external
        view
        returns (FeeParts memory)
    {
        Terms memory terms = MODELS.termsAt(modelId, issuedAt);
        uint256 tokenFee = FeeSplit.tokenFeeDown(tokensIn, tokensOut, terms.priceIn, terms.priceOut);
        return FeeSplit.partsDown(tokenFee, splitAt(issuedAt));
    }

    /// @notice Whether a receipt issued at `timestamp` pays by effects; if not, their part is the
    /// commons', and only repeated text is paid. Operators sign shares accordingly and commit to it as
    /// `influencePaid`, so a receipt that does otherwise convicts its operator. Without a floor every
    /// model's effects are paid; with one, models without a certificate are below it.
    function influencePaidAt(uint256 modelId, uint64 timestamp) external view returns (bool) {
        uint208 floorPpm = _fidelityFloors.upperLookupRecent(SafeCast.toUint48(timestamp));
        return floorPpm == 0 || MODELS.certifiedPpmAt(modelId, timestamp) >= int32(uint32(floorPpm));
    }

    /// @notice When an operator's receipt was settled, Unix seconds; 0 if it was not.
    function settledAt(address operator, uint256 modelId, bytes32 id) external view returns (uint64) {
        return uint64(_settled[operator][modelId][id]);
    }

    /// @notice The EIP-712 digest an operator signs.
    function receiptDigest(Receipt calldata receipt) public view returns (bytes32) {
        return _hashTypedDataV4(Receipts.hash(receipt));
    }

    /// @notice The EIP-712 domain separator.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// False if this very receipt was settled before. Keyed by operator too: ids are public before they
    /// are settled, and nobody else may use one up.
    function _markSettled(Receipt calldata receipt, address operator, bytes32 digest) private returns (bool) {
        mapping(bytes32 => uint256) storage settled = _settled[operator][receipt.modelId];
        uint256 mark = (uint256(digest) >> 64) << 64;
        uint256 found = settled[receipt.id];
        if (found == 0) {
            settled[receipt.id] = mark | uint64(block.timestamp);
            return true;
        }
        if ((found >> 64) << 64 != mark) revert ReceiptIdUsed(receipt.id);
        return false;
    }

    function _settle(Receipt calldata receipt, address operator) private {
        if (receipt.issuedAt > block.timestamp + MAX_CLOCK_SKEW) {
            revert IssuedInFuture(receipt.id, receipt.issuedAt);
        }
        Terms memory terms = MODELS.termsAt(receipt.modelId, receipt.issuedAt);
        Split memory split = splitAt(receipt.issuedAt);
        FeeParts memory parts = FeeSplit.partsDown(
            FeeSplit.tokenFeeDown(receipt.tokensIn, receipt.tokensOut, terms.priceIn, terms.priceOut), split
        );
        if (parts.fee != receipt.fee) revert FeeMismatch(receipt.id, parts.fee, receipt.fee);
        _spend(receipt.payer, operator, parts.fee, receipt.issuedAt);
        _debit(receipt.payer, parts.fee);

        (uint256[] memory amounts, uint256 paid) = FeeSplit.paidDown(parts.data, receipt.payees);
        // What is left is the commons'. Checked arithmetic: parts above the fee would revert here.
        uint256 commons = parts.fee - parts.platform - parts.compute - parts.model - parts.stakers - paid;
        _creditCommons(receipt.id, terms.datanetIds, commons);
        _emitSettled(receipt, operator, parts, paid, commons);

        uint256 sent = _payModel(receipt.id, terms.lineage, parts.model);
        for (uint256 i = 0; i < amounts.length; ++i) {
            _pay(receipt.id, receipt.payees[i].account, amounts[i], Pot.Data);
            sent += amounts[i];
        }
        _pay(receipt.id, treasury, parts.platform, Pot.Platform);
        _pay(receipt.id, operator, parts.compute, Pot.Compute);
        _pay(receipt.id, split.stakers, parts.stakers, Pot.Stakers);
        // Conservation, over what was really paid.
        assert(sent + parts.platform + parts.compute + parts.stakers + commons == receipt.fee);
    }

    /// Pays the model's pot up the lineage: each ancestor gets its part rounded down of what reached the
    /// model below, and the remainder stays with that model.
    function _payModel(bytes32 receiptId, Holder[] memory lineage, uint256 pot)
        private
        returns (uint256 sent)
    {
        uint256 left = pot;
        for (uint256 i = 0; i < lineage.length; ++i) {
            uint256 up = FeeSplit.partDown(left, lineage[i].royaltyBps);
            _pay(receiptId, lineage[i].owner, left - up, Pot.Model);
            sent += left - up;
            left = up;
        }
    }

    function _emitSettled(
        Receipt calldata receipt,
        address operator,
        FeeParts memory parts,
        uint256 paid,
        uint256 commons
    ) private {
        emit Settled(
            receipt.id,
            receipt.modelId,
            receipt.payer,
            operator,
            parts.fee,
            parts.platform,
            parts.compute,
            parts.model,
            parts.stakers,
            paid,
            commons
        );
    }

    function _setTreasury(address treasury_) private {
        _checkRecipient(treasury_);
        treasury = treasury_;
        emit TreasurySet(treasury_);
    }

    function _checkRecipient(address recipient) private view {
        if (recipient == address(0) || recipient == address(this)) revert BadRecipient(recipient);
    }
}
