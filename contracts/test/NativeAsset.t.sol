// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {LiquidityController} from "../src/predeploys/LiquidityController.sol";
import {NativeAssetLiquidity} from "../src/predeploys/NativeAssetLiquidity.sol";
import {Predeploys} from "../src/predeploys/Predeploys.sol";
import {Base} from "./Base.sol";
import {PredeployWorld} from "./PredeployWorld.sol";
import {Reverting} from "./Receivers.sol";

contract NativeAssetTest is PredeployWorld {
    address private immutable MINTER = address(0xA1);
    address private immutable ANYBODY = address(0xA2);

    function setUp() public {
        placePredeploys();
        vm.prank(OWNER);
        controller.authorizeMinter(MINTER);
    }

    function test_the_asset_is_called_open() public view {
        vm.assertEq(controller.gasPayingTokenName(), "OpenLedger");
        vm.assertEq(controller.gasPayingTokenSymbol(), "OPEN");
        vm.assertEq(controller.gasPayingAssetName(), "OpenLedger");
        vm.assertEq(controller.gasPayingAssetSymbol(), "OPEN");
    }

    function test_the_controller_begins_once() public {
        vm.assertEq(controller.owner(), OWNER);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        controller.initialize(ANYBODY, "Other", "OTHER");
        LiquidityController fresh =
            LiquidityController(payable(create(vm.getCode("LiquidityController.sol"))));
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        fresh.initialize(ANYBODY, "Other", "OTHER");
    }

    function test_the_owner_may_not_be_nobody() public {
        place(Predeploys.LIQUIDITY_CONTROLLER, vm.getCode("LiquidityController.sol"));
        vm.store(Predeploys.LIQUIDITY_CONTROLLER, INITIALIZABLE_SLOT, bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        controller.initialize(address(0), "OpenLedger", "OPEN");
    }

    function test_only_the_owner_authorises_and_deauthorises() public {
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, MINTER);
        vm.prank(MINTER);
        vm.expectRevert(refusal);
        controller.authorizeMinter(ANYBODY);
        vm.prank(MINTER);
        vm.expectRevert(refusal);
        controller.deauthorizeMinter(ANYBODY);

        vm.prank(OWNER);
        vm.expectEmit();
        emit LiquidityController.MinterDeauthorized(MINTER);
        controller.deauthorizeMinter(MINTER);
        vm.assertFalse(controller.minters(MINTER));
        vm.prank(MINTER);
        vm.expectRevert(LiquidityController.LiquidityController_Unauthorized.selector);
        controller.mint(ANYBODY, 1);
    }

    function test_only_a_minter_mints_and_burns(address caller) public {
        vm.assume(caller != MINTER);
        vm.deal(caller, 1);
        vm.prank(caller);
        vm.expectRevert(LiquidityController.LiquidityController_Unauthorized.selector);
        controller.mint(caller, 1);
        vm.prank(caller);
        vm.expectRevert(LiquidityController.LiquidityController_Unauthorized.selector);
        controller.burn{value: 1}();
    }

    function test_only_the_controller_moves_the_liquidity(address caller) public {
        vm.assume(caller != Predeploys.LIQUIDITY_CONTROLLER);
        vm.deal(caller, 1);
        vm.prank(caller);
        vm.expectRevert(NativeAssetLiquidity.NativeAssetLiquidity_Unauthorized.selector);
        liquidity.deposit{value: 1}();
        vm.prank(caller);
        vm.expectRevert(NativeAssetLiquidity.NativeAssetLiquidity_Unauthorized.selector);
        liquidity.withdraw(1);
    }

    function test_minting_moves_exactly_the_amount(uint256 amount) public {
        amount = bound(amount, 0, SUPPLY);
        vm.expectEmit();
        emit LiquidityController.LiquidityMinted(MINTER, ANYBODY, amount);
        vm.expectEmit();
        emit NativeAssetLiquidity.LiquidityWithdrawn(address(controller), amount);
        vm.prank(MINTER);
        controller.mint(ANYBODY, amount);
        vm.assertEq(ANYBODY.balance, amount);
        vm.assertEq(address(liquidity).balance, SUPPLY - amount);
        vm.assertEq(address(controller).balance, 0);
    }

    function test_no_more_is_minted_than_was_made(uint256 amount) public {
        amount = bound(amount, SUPPLY + 1, type(uint256).max);
        vm.prank(MINTER);
        vm.expectRevert(NativeAssetLiquidity.NativeAssetLiquidity_InsufficientBalance.selector);
        controller.mint(ANYBODY, amount);
    }

    function test_burning_moves_it_back(uint256 minted, uint256 burned) public {
        minted = bound(minted, 1, SUPPLY);
        burned = bound(burned, 1, minted);
        vm.prank(MINTER);
        controller.mint(MINTER, minted);
        vm.expectEmit();
        emit LiquidityController.LiquidityBurned(MINTER, burned);
        vm.expectEmit();
        emit NativeAssetLiquidity.LiquidityDeposited(address(controller), burned);
        vm.prank(MINTER);
        controller.burn{value: burned}();
        vm.assertEq(MINTER.balance, minted - burned);
        vm.assertEq(address(liquidity).balance, SUPPLY - minted + burned);
        vm.assertEq(address(controller).balance, 0);
    }

    function test_burning_nothing_is_refused() public {
        vm.prank(MINTER);
        vm.expectRevert(LiquidityController.LiquidityController_NothingToBurn.selector);
        controller.burn();
    }

    function test_nothing_is_minted_to_one_who_refuses_it() public {
        address refuses = address(new Reverting());
        vm.prank(MINTER);
        vm.expectRevert();
        controller.mint(refuses, 1);
        for (uint256 i = 0; i < 2; ++i) {
            address to = i == 0 ? address(controller) : address(liquidity);
            vm.prank(MINTER);
            vm.expectRevert();
            controller.mint(to, 1);
        }
        vm.assertEq(address(liquidity).balance, SUPPLY);
    }

    function test_nobody_sends_either_of_them_anything() public {
        vm.deal(ANYBODY, 2);
        vm.startPrank(ANYBODY);
        (bool ok,) = address(controller).call{value: 1}("");
        vm.assertFalse(ok);
        (ok,) = address(liquidity).call{value: 1}("");
        vm.assertFalse(ok);
    }
}

/// @notice A bridge and people who mint, burn and pass OPEN on in any order, some of them refusing it.
contract NativeAssetHandler is Base {
    LiquidityController private immutable CONTROLLER;
    address private immutable OWNER;
    address[4] public people = [address(0xC1), address(0xC2), address(0xC3), address(new Reverting())];
    uint256 public minted;
    uint256 public burned;

    constructor(LiquidityController controller, address owner) {
        (CONTROLLER, OWNER) = (controller, owner);
    }

    function authorise(uint256 who, bool may) external {
        vm.prank(OWNER);
        may ? CONTROLLER.authorizeMinter(people[who % 3]) : CONTROLLER.deauthorizeMinter(people[who % 3]);
    }

    function mint(uint256 who, uint256 to, uint256 amount) external {
        amount = bound(amount, 0, 3e26);
        vm.prank(people[who % 3]);
        try CONTROLLER.mint(people[to % 4], amount) {
            minted += amount;
        } catch {}
    }

    function burn(uint256 who, uint256 amount) external {
        address by = people[who % 3];
        amount = bound(amount, 0, by.balance);
        vm.prank(by);
        try CONTROLLER.burn{value: amount}() {
            burned += amount;
        } catch {}
    }

    function pass(uint256 from, uint256 to, uint256 amount) external {
        address by = people[from % 3];
        amount = bound(amount, 0, by.balance);
        vm.prank(by);
        (bool ok,) = people[to % 4].call{value: amount}("");
        ok;
    }

    function circulating() external view returns (uint256 sum) {
        for (uint256 i = 0; i < 4; ++i) {
            sum += people[i].balance;
        }
    }
}

contract NativeAssetInvariants is PredeployWorld {
    NativeAssetHandler private handler;

    function setUp() public {
        placePredeploys();
        handler = new NativeAssetHandler(controller, OWNER);
        for (uint256 i = 0; i < 3; ++i) {
            handler.authorise(i, true);
        }
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_what_circulates_and_what_is_held_is_what_was_made() public view {
        vm.assertEq(address(liquidity).balance + handler.circulating(), SUPPLY);
    }

    function invariant_what_circulates_was_minted_and_not_burned() public view {
        vm.assertEq(handler.circulating(), handler.minted() - handler.burned());
    }

    function invariant_the_controller_holds_nothing() public view {
        vm.assertEq(address(controller).balance, 0);
    }
}
