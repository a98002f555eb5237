// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Predeploys} from "./Predeploys.sol";

/// @title The native asset that does not circulate
/// @notice Holds OPEN made at genesis. What leaves begins to circulate, what comes back ceases to; only
/// the LiquidityController moves either. Custom gas token mode, version 2.
///
/// Invariant: circulating + held here = made at genesis.
contract NativeAssetLiquidity {
    /// @notice Semantic version of this implementation.
    string public constant version = "1.0.0";

    /// @notice `value` wei came back.
    event LiquidityDeposited(address indexed caller, uint256 value);
    /// @notice `value` wei left.
    event LiquidityWithdrawn(address indexed caller, uint256 value);

    /// @notice The caller is not the LiquidityController.
    error NativeAssetLiquidity_Unauthorized();
    /// @notice Less is held than was asked for.
    error NativeAssetLiquidity_InsufficientBalance();

    modifier onlyController() {
        if (msg.sender != Predeploys.LIQUIDITY_CONTROLLER) revert NativeAssetLiquidity_Unauthorized();
        _;
    }

    /// @notice Takes the value sent out of circulation.
    function deposit() external payable onlyController {
        emit LiquidityDeposited(msg.sender, msg.value);
    }

    /// @notice Sends exactly `amount` wei to the controller.
    function withdraw(uint256 amount) external onlyController {
        if (amount > address(this).balance) revert NativeAssetLiquidity_InsufficientBalance();
        emit LiquidityWithdrawn(msg.sender, amount);
        Address.sendValue(payable(msg.sender), amount);
    }
}
