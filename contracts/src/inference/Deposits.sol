// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Ledger} from "./Ledger.sol";

/// @notice Money on its way out to a payer.
struct Withdrawal {
    /// Wei asked for.
    uint192 amount;
    /// From this time on it can be taken.
    uint64 readyAt;
}

/// @title Prepaid balances
/// @notice A payer's deposit is charged by receipts. It leaves only after a delay, in which receipts
/// already issued can still be settled, so an answer cannot be taken and its payment pulled away.
abstract contract Deposits is Ledger {
    /// @notice Seconds between asking for a withdrawal and taking it.
    uint64 public constant WITHDRAWAL_DELAY = 10 minutes;

    mapping(address payer => uint256) private _balances;
    mapping(address payer => Withdrawal) private _withdrawals;

    /// @notice `payer`'s balance grew by `amount`, paid in by `from`.
    event Deposited(address indexed payer, address indexed from, uint256 amount);
    /// @notice `payer` may take up to `amount` from `readyAt` on; replaces an earlier request.
    event WithdrawalRequested(address indexed payer, uint256 amount, uint64 readyAt);
    /// @notice `amount` left `payer`'s balance for its wallet; the request is used up.
    event Withdrawn(address indexed payer, uint256 amount);

    /// @notice Nothing was sent.
    error NothingToDeposit();
    /// @notice A deposit for nobody.
    error ZeroPayer();
    /// @notice The balance does not cover the amount.
    error InsufficientBalance(address payer, uint256 balance, uint256 needed);
    /// @notice No withdrawal was requested, or it is not ready before `readyAt`.
    error WithdrawalNotReady(address payer, uint64 readyAt);

    /// @notice Adds the OPEN sent to the caller's balance. Emits {Deposited}.
    function deposit() external payable {
        _deposit(msg.sender);
    }

    /// @notice Adds the OPEN sent to `payer`'s balance. Anybody may call. Emits {Deposited}.
    function depositFor(address payer) external payable {
        _deposit(payer);
    }

    /// @notice Asks to take `amount` out after `WITHDRAWAL_DELAY`; replaces an earlier request, and 0
    /// takes it back. Until taken the money still pays receipts, but no operator should count on it:
    /// see {availableOf}. Emits {WithdrawalRequested}.
    function requestWithdrawal(uint256 amount) external {
        uint256 balance = _balances[msg.sender];
        if (amount > balance) revert InsufficientBalance(msg.sender, balance, amount);
        uint64 readyAt = amount == 0 ? 0 : uint64(block.timestamp) + WITHDRAWAL_DELAY;
        // Fits: a balance is at most all the OPEN there is, below 2⁹⁰ wei.
        _withdrawals[msg.sender] = Withdrawal({amount: uint192(amount), readyAt: readyAt});
        emit WithdrawalRequested(msg.sender, amount, readyAt);
    }

    /// @notice Takes what was requested, or what receipts have left of it. Emits {Withdrawn}.
    /// @return amount Wei sent to the caller.
    function withdraw() external nonReentrant returns (uint256 amount) {
        Withdrawal memory request = _withdrawals[msg.sender];
        if (request.amount == 0 || block.timestamp < request.readyAt) {
            revert WithdrawalNotReady(msg.sender, request.readyAt);
        }
        uint256 balance = _balances[msg.sender];
        amount = request.amount < balance ? request.amount : balance;
        delete _withdrawals[msg.sender];
        _balances[msg.sender] = balance - amount;
        _release(amount);
        emit Withdrawn(msg.sender, amount);
        Address.sendValue(payable(msg.sender), amount);
        _assertSolvent();
    }

    /// @notice What `payer` has, in wei.
    function balanceOf(address payer) external view returns (uint256) {
        return _balances[payer];
    }

    /// @notice What new work may count on: the balance without what has been asked back.
    function availableOf(address payer) external view returns (uint256) {
        uint256 balance = _balances[payer];
        uint256 requested = _withdrawals[payer].amount;
        return requested < balance ? balance - requested : 0;
    }

    /// @notice The open withdrawal of `payer`; zero if there is none.
    function withdrawalOf(address payer) external view returns (Withdrawal memory) {
        return _withdrawals[payer];
    }

    /// Takes a fee from `payer`'s balance. What the contract owes in all stays the same: the caller
    /// says who it is owed to now.
    function _debit(address payer, uint256 amount) internal {
        uint256 balance = _balances[payer];
        if (amount > balance) revert InsufficientBalance(payer, balance, amount);
        _balances[payer] = balance - amount;
    }

    function _deposit(address payer) private {
        if (payer == address(0)) revert ZeroPayer();
        if (msg.value == 0) revert NothingToDeposit();
        _balances[payer] += msg.value;
        _owe(msg.value);
        emit Deposited(payer, msg.sender, msg.value);
    }
}
