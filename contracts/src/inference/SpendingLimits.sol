// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @notice A payer's signed consent that `operator` may charge up to `limit` wei until `deadline`.
struct SpendingLimit {
    address payer;
    address operator;
    uint256 limit;
    /// The payer's next nonce, see `nonces(payer)`.
    uint256 nonce;
    uint64 deadline;
}

/// @title What a payer lets an operator charge
/// @notice A limit counts down as receipts are settled. What grows takes effect at once. What shrinks
/// stops new work at once, but receipts issued before still settle for `SETTLEMENT_GRACE`, so a limit
/// cannot be pulled away from under an answer.
abstract contract SpendingLimits is EIP712, Nonces {
    /// @notice Seconds in which receipts issued under an old limit can still be settled.
    uint64 public constant SETTLEMENT_GRACE = 10 minutes;

    bytes32 private constant SPENDING_LIMIT_TYPEHASH = keccak256(
        "SpendingLimit(address payer,address operator,uint256 limit,uint256 nonce,uint64 deadline)"
    );

    struct Limit {
        uint128 left;
        uint64 deadline;
        /// From this time on `cut` applies instead; 0 for no cut.
        uint64 cutFrom;
        uint128 cutLeft;
        uint64 cutDeadline;
    }

    mapping(address payer => mapping(address operator => Limit)) private _limits;

    /// @notice `operator` may charge `payer` up to `limit` wei for answers until `deadline`. If this is
    /// less than before, receipts issued before can be settled under the old limit until `graceUntil`.
    event SpendingLimitSet(
        address indexed payer, address indexed operator, uint256 limit, uint64 deadline, uint64 graceUntil
    );

    /// @notice The payer did not sign this.
    error BadConsent(address payer);
    /// @notice The deadline has passed.
    error ConsentExpired(uint64 deadline);
    /// @notice The payer does not let the operator charge this much.
    error SpendingLimitExceeded(address payer, address operator, uint256 left, uint256 needed);
    /// @notice The answer was given after the limit's deadline, or is settled too long after it.
    error SpendingLimitExpired(address payer, address operator, uint64 deadline);

    /// @notice Sets what `operator` may charge the caller. Uses up the caller's nonce, so consents
    /// signed before and not yet submitted are void. Emits {SpendingLimitSet}.
    /// @param operator Who may charge.
    /// @param limit Up to how many wei from now on; 0 revokes.
    /// @param deadline Until when, Unix seconds.
    function setSpendingLimit(address operator, uint256 limit, uint64 deadline) external {
        _useNonce(msg.sender);
        _set(msg.sender, operator, limit, deadline);
    }

    /// @notice Sets a limit by the payer's signature (EIP-712, or ERC-1271 for contract wallets).
    /// Anybody may submit it. Emits {SpendingLimitSet}.
    function authorize(SpendingLimit calldata consent, bytes calldata signature) external {
        if (block.timestamp > consent.deadline) revert ConsentExpired(consent.deadline);
        _useCheckedNonce(consent.payer, consent.nonce);
        bytes32 digest = _hashTypedDataV4(
            keccak256(
                abi.encode(
                    SPENDING_LIMIT_TYPEHASH,
                    consent.payer,
                    consent.operator,
                    consent.limit,
                    consent.nonce,
                    consent.deadline
                )
            )
        );
        if (!SignatureChecker.isValidSignatureNowCalldata(consent.payer, digest, signature)) {
            revert BadConsent(consent.payer);
        }
        _set(consent.payer, consent.operator, consent.limit, consent.deadline);
    }

    /// @notice What `operator` may still charge `payer` for answers given now, and until when.
    /// @return limit Wei; 0 after the deadline.
    /// @return deadline Unix seconds.
    function spendingLimit(address payer, address operator)
        external
        view
        returns (uint256 limit, uint64 deadline)
    {
        Limit memory found = _limits[payer][operator];
        bool cut = found.cutFrom != 0;
        deadline = cut ? found.cutDeadline : found.deadline;
        if (block.timestamp <= deadline) limit = cut ? found.cutLeft : found.left;
    }

    /// Charges `amount` for an answer given at `issuedAt` against the limit.
    function _spend(address payer, address operator, uint256 amount, uint64 issuedAt) internal {
        Limit storage limit = _limits[payer][operator];
        _applyCut(limit);
        uint64 deadline = limit.deadline;
        if (issuedAt > deadline || block.timestamp > uint256(deadline) + SETTLEMENT_GRACE) {
            revert SpendingLimitExpired(payer, operator, deadline);
        }
        uint128 left = limit.left;
        if (amount > left) revert SpendingLimitExceeded(payer, operator, left, amount);
        // Both casts hold: `amount` ≤ `left` < 2¹²⁸, and the second is the smaller of two.
        limit.left = left - uint128(amount);
        if (limit.cutFrom != 0) limit.cutLeft -= uint128(Math.min(amount, limit.cutLeft));
    }

    function _set(address payer, address operator, uint256 limit, uint64 deadline) private {
        Limit storage kept = _limits[payer][operator];
        _applyCut(kept);
        uint128 left = uint128(Math.min(limit, type(uint128).max));
        bool alive = kept.left != 0 && block.timestamp <= uint256(kept.deadline) + SETTLEMENT_GRACE;
        uint64 graceUntil = 0;
        if (alive && (left < kept.left || deadline < kept.deadline)) {
            graceUntil = uint64(block.timestamp) + SETTLEMENT_GRACE;
            (kept.cutLeft, kept.cutDeadline) = (left, deadline);
            if (left > kept.left) kept.left = left;
            if (deadline > kept.deadline) kept.deadline = deadline;
        } else {
            (kept.left, kept.deadline) = (left, deadline);
        }
        kept.cutFrom = graceUntil;
        emit SpendingLimitSet(payer, operator, left, deadline, graceUntil);
    }

    function _applyCut(Limit storage limit) private {
        uint64 cutFrom = limit.cutFrom;
        if (cutFrom == 0 || block.timestamp < cutFrom) return;
        (limit.left, limit.deadline, limit.cutFrom) = (limit.cutLeft, limit.cutDeadline, 0);
    }
}
