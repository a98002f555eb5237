// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Ledger} from "./Ledger.sol";

/// @notice Which part of a fee a payout comes from.
enum Pot {
    Platform,
    Compute,
    Model,
    Stakers,
    Data
}

/// @notice What became of a payout.
enum PayoutKind {
    /// Sent, together with what had accrued.
    Transferred,
    /// Too small to send; kept until there is enough or it is claimed.
    Accrued,
    /// The receiver refused; kept, together with what had accrued, until it is claimed.
    Claimable
}

/// @title Paying many people
/// @notice Pushes native OPEN where it is worth a transfer, keeps what is not, and never lets a
/// receiver stop anybody else from being paid: a push has little gas, its return data is not read, and
/// when it fails the money waits to be claimed.
abstract contract Payouts is Ledger {
    /// @notice Gas a receiver may use when it is pushed money: enough for a proxy wallet that logs.
    uint256 public constant PUSH_GAS = 30_000;
    /// @notice Highest threshold the owner may set, so that small earners are never starved.
    uint256 public constant MAX_DUST_THRESHOLD = 0.01 ether;

    /// What must be left before a push, so that the receiver really gets `PUSH_GAS`: 64/63 of it
    /// (EIP-150) and the call's own cost with a cold, new account (2,600 + 9,000 + 25,000).
    uint256 private constant GAS_BEFORE_PUSH = 70_000;

    /// @notice From this many wei on a payout is pushed.
    uint256 public dustThreshold = 1 gwei;

    mapping(address account => uint256) private _accrued;
    mapping(address account => uint256) private _claimable;

    /// @notice `amount` of receipt `receiptId` was paid to `account`. For kinds other than `Accrued`,
    /// `released` is what had accrued before and went the same way, leaving nothing accrued.
    event PaidOut(
        bytes32 indexed receiptId,
        address indexed account,
        uint256 amount,
        uint256 released,
        PayoutKind kind,
        Pot pot
    );
    /// @notice `account` was sent all it had accrued and claimable.
    event Claimed(address indexed account, uint256 accrued, uint256 claimable);
    /// @notice Payouts are pushed from this many wei on.
    event DustThresholdSet(uint256 threshold);

    /// @notice There is nothing to claim.
    error NothingToClaim(address account);
    /// @notice The threshold is above `MAX_DUST_THRESHOLD`.
    error DustThresholdTooHigh(uint256 threshold);
    /// @notice The transaction has too little gas left to push fairly.
    error InsufficientGas();

    /// @notice Sends the caller all it has accrued and claimable. Emits {Claimed}.
    /// @return amount Wei sent.
    function claim() external returns (uint256 amount) {
        return claimFor(msg.sender);
    }

    /// @notice Sends `account` all it has accrued and claimable. Anybody may call. Emits {Claimed}.
    /// @return amount Wei sent.
    function claimFor(address account) public nonReentrant returns (uint256 amount) {
        uint256 accrued = _accrued[account];
        uint256 claimable = _claimable[account];
        amount = accrued + claimable;
        if (amount == 0) revert NothingToClaim(account);
        delete _accrued[account];
        delete _claimable[account];
        _release(amount);
        emit Claimed(account, accrued, claimable);
        Address.sendValue(payable(account), amount);
        _assertSolvent();
    }

    /// @notice Payouts of `account` too small to send so far, in wei.
    function accruedOf(address account) external view returns (uint256) {
        return _accrued[account];
    }

    /// @notice Payouts that `account` refused, in wei.
    function claimableOf(address account) external view returns (uint256) {
        return _claimable[account];
    }

    /// Pays `amount`, already owed, to `account`. All state is written before the push; the caller holds
    /// the re-entrancy lock.
    function _pay(bytes32 receiptId, address account, uint256 amount, Pot pot) internal {
        if (amount == 0) return;
        uint256 before = _accrued[account];
        uint256 due = before + amount;
        if (due < dustThreshold) {
            _accrued[account] = due;
            emit PaidOut(receiptId, account, amount, 0, PayoutKind.Accrued, pot);
            return;
        }
        if (before != 0) delete _accrued[account];
        _release(due);
        if (_push(account, due)) {
            emit PaidOut(receiptId, account, amount, before, PayoutKind.Transferred, pot);
        } else {
            _owe(due);
            _claimable[account] += due;
            emit PaidOut(receiptId, account, amount, before, PayoutKind.Claimable, pot);
        }
    }

    function _setDustThreshold(uint256 threshold) internal {
        if (threshold > MAX_DUST_THRESHOLD) revert DustThresholdTooHigh(threshold);
        dustThreshold = threshold;
        emit DustThresholdSet(threshold);
    }

    function _push(address account, uint256 amount) private returns (bool sent) {
        // Whoever relays a batch must not be able to starve a receiver into a claim.
        if (gasleft() < GAS_BEFORE_PUSH) revert InsufficientGas();
        // Assembly, because Solidity would copy return data of any length into memory.
        assembly ("memory-safe") {
            sent := call(PUSH_GAS, account, amount, 0, 0, 0, 0)
        }
    }
}
