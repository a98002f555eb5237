// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {L1Block} from "../src/predeploys/L1Block.sol";
import {L2ToL1MessagePasser} from "../src/predeploys/L2ToL1MessagePasser.sol";
import {LiquidityController} from "../src/predeploys/LiquidityController.sol";
import {NativeAssetLiquidity} from "../src/predeploys/NativeAssetLiquidity.sol";
import {Predeploys} from "../src/predeploys/Predeploys.sol";
import {Base} from "./Base.sol";

/// @notice Our predeploys at their addresses, without proxies, as a chain of OPEN begins.
abstract contract PredeployWorld is Base {
    address internal constant OWNER = address(0x0123);
    uint256 internal constant SUPPLY = 1_000_000_000 ether;
    /// Of OpenZeppelin's Initializable (ERC-7201).
    bytes32 internal constant INITIALIZABLE_SLOT =
        0xf0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00;

    L1Block internal constant l1Block = L1Block(Predeploys.L1_BLOCK);
    L2ToL1MessagePasser internal constant messagePasser =
        L2ToL1MessagePasser(payable(Predeploys.L2_TO_L1_MESSAGE_PASSER));
    NativeAssetLiquidity internal constant liquidity =
        NativeAssetLiquidity(Predeploys.NATIVE_ASSET_LIQUIDITY);
    LiquidityController internal constant controller =
        LiquidityController(payable(Predeploys.LIQUIDITY_CONTROLLER));

    function placePredeploys() internal {
        place(Predeploys.L1_BLOCK, vm.getCode("L1Block.sol"));
        place(Predeploys.L2_TO_L1_MESSAGE_PASSER, vm.getCode("L2ToL1MessagePasser.sol"));
        place(Predeploys.NATIVE_ASSET_LIQUIDITY, vm.getCode("NativeAssetLiquidity.sol"));
        place(Predeploys.LIQUIDITY_CONTROLLER, vm.getCode("LiquidityController.sol"));
        vm.store(Predeploys.LIQUIDITY_CONTROLLER, INITIALIZABLE_SLOT, bytes32(0));
        controller.initialize(OWNER, "OpenLedger", "OPEN");
        vm.deal(Predeploys.NATIVE_ASSET_LIQUIDITY, SUPPLY);
        vm.prank(Predeploys.DEPOSITOR);
        l1Block.setCustomGasToken();
    }

    /// Runs the constructor at `where` and leaves what it returns there.
    function place(address where, bytes memory creation) internal {
        vm.etch(where, creation);
        (bool ok, bytes memory runtime) = where.call("");
        require(ok, "constructor reverted");
        vm.etch(where, runtime);
    }
}
