// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title What the contract owes in all
/// @notice Every wei that enters on purpose is owed to somebody, and leaves only after it has been
/// taken off here. Wei forced in by other means belong to nobody and only widen the margin.
abstract contract Ledger is ReentrancyGuardTransient {
    uint256 private _liabilities;

    /// @notice Σ balances + accrued + claimable + commons, in wei. Never above the contract's balance.
    function liabilities() public view returns (uint256) {
        return _liabilities;
    }

    /// Owes `amount` more.
    function _owe(uint256 amount) internal {
        _liabilities += amount;
    }

    /// Owes `amount` less: it is about to leave.
    function _release(uint256 amount) internal {
        _liabilities -= amount;
    }

    /// Money is exact or the transaction fails: the check that guards against an error in all the rest.
    function _assertSolvent() internal view {
        assert(address(this).balance >= _liabilities);
    }
}
