// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {L1Block} from "../src/predeploys/L1Block.sol";
import {L2ToL1MessagePasser} from "../src/predeploys/L2ToL1MessagePasser.sol";
import {Predeploys} from "../src/predeploys/Predeploys.sol";
import {PredeployWorld} from "./PredeployWorld.sol";

/// The L1 attributes, and messages to L1.
contract L1AttributesTest is PredeployWorld {
    struct Attributes {
        uint32 baseFeeScalar;
        uint32 blobBaseFeeScalar;
        uint64 sequenceNumber;
        uint64 timestamp;
        uint64 number;
        uint256 basefee;
        uint256 blobBaseFee;
        bytes32 hash;
        bytes32 batcherHash;
        uint32 operatorFeeScalar;
        uint64 operatorFeeConstant;
    }

    function setUp() public {
        placePredeploys();
    }

    function set(Attributes memory a) private returns (bool ok, bytes memory answer) {
        bytes memory first = abi.encodePacked(
            L1Block.setL1BlockValuesIsthmus.selector,
            a.baseFeeScalar,
            a.blobBaseFeeScalar,
            a.sequenceNumber,
            a.timestamp,
            a.number
        );
        bytes memory second = abi.encodePacked(
            a.basefee, a.blobBaseFee, a.hash, a.batcherHash, a.operatorFeeScalar, a.operatorFeeConstant
        );
        return address(l1Block).call(bytes.concat(first, second));
    }

    function test_every_value_is_read_back(Attributes memory a) public {
        vm.prank(Predeploys.DEPOSITOR);
        (bool ok,) = set(a);
        vm.assertTrue(ok);
        vm.assertEq(l1Block.baseFeeScalar(), a.baseFeeScalar);
        vm.assertEq(l1Block.blobBaseFeeScalar(), a.blobBaseFeeScalar);
        vm.assertEq(l1Block.sequenceNumber(), a.sequenceNumber);
        vm.assertEq(l1Block.timestamp(), a.timestamp);
        vm.assertEq(l1Block.number(), a.number);
        vm.assertEq(l1Block.basefee(), a.basefee);
        vm.assertEq(l1Block.blobBaseFee(), a.blobBaseFee);
        vm.assertEq(l1Block.hash(), a.hash);
        vm.assertEq(l1Block.batcherHash(), a.batcherHash);
        vm.assertEq(l1Block.operatorFeeScalar(), a.operatorFeeScalar);
        vm.assertEq(l1Block.operatorFeeConstant(), a.operatorFeeConstant);
        vm.assertTrue(l1Block.isCustomGasToken());
    }

    /// Nodes read the slots, not the functions.
    function test_every_value_lies_where_nodes_read_it(Attributes memory a) public {
        vm.prank(Predeploys.DEPOSITOR);
        set(a);
        vm.assertEq(slot(0), bytes32(uint256(a.timestamp) << 64 | a.number));
        vm.assertEq(slot(1), bytes32(a.basefee));
        vm.assertEq(slot(2), a.hash);
        vm.assertEq(
            slot(3),
            bytes32(uint256(a.baseFeeScalar) << 96 | uint256(a.blobBaseFeeScalar) << 64 | a.sequenceNumber)
        );
        vm.assertEq(slot(4), a.batcherHash);
        vm.assertEq(slot(7), bytes32(a.blobBaseFee));
        vm.assertEq(slot(8), bytes32(uint256(a.operatorFeeScalar) << 64 | a.operatorFeeConstant));
    }

    function slot(uint256 index) private view returns (bytes32) {
        return vm.load(address(l1Block), bytes32(index));
    }

    function test_only_the_depositor_sets(address caller, Attributes memory a) public {
        vm.assume(caller != Predeploys.DEPOSITOR);
        vm.prank(caller);
        (bool ok, bytes memory answer) = set(a);
        vm.assertFalse(ok);
        vm.assertEq(answer, abi.encodeWithSelector(L1Block.NotDepositor.selector));
        vm.prank(caller);
        vm.expectRevert(L1Block.NotDepositor.selector);
        l1Block.setCustomGasToken();
    }

    function test_values_of_another_length_are_refused() public {
        vm.prank(Predeploys.DEPOSITOR);
        vm.expectRevert(abi.encodeWithSelector(L1Block.BadLength.selector, 4));
        l1Block.setL1BlockValuesIsthmus();
    }

    function test_the_mode_is_set_once() public {
        vm.prank(Predeploys.DEPOSITOR);
        vm.expectRevert(L1Block.CustomGasTokenAlreadySet.selector);
        l1Block.setCustomGasToken();
        vm.assertEq(l1Block.gasPayingTokenName(), "OpenLedger");
        vm.assertEq(l1Block.gasPayingTokenSymbol(), "OPEN");
        (address token, uint8 decimals) = l1Block.gasPayingToken();
        vm.assertEq(token, Predeploys.LIQUIDITY_CONTROLLER);
        vm.assertEq(decimals, 18);
    }

    function test_without_the_mode_the_asset_is_ether() public {
        L1Block plain = L1Block(create(vm.getCode("L1Block.sol")));
        vm.assertFalse(plain.isCustomGasToken());
        vm.assertEq(plain.gasPayingTokenName(), "Ether");
        vm.assertEq(plain.gasPayingTokenSymbol(), "ETH");
    }

    function test_a_message_is_recorded_under_its_hash(
        address sender,
        address target,
        uint256 gasLimit,
        bytes calldata data
    ) public {
        for (uint256 i = 0; i < 2; ++i) {
            uint256 nonce = 1 << 240 | i;
            vm.assertEq(messagePasser.messageNonce(), nonce);
            bytes32 hash = keccak256(abi.encode(nonce, sender, target, uint256(0), gasLimit, data));
            vm.assertFalse(messagePasser.sentMessages(hash));
            vm.expectEmit();
            emit L2ToL1MessagePasser.MessagePassed(nonce, sender, target, 0, gasLimit, data, hash);
            vm.prank(sender);
            messagePasser.initiateWithdrawal(target, gasLimit, data);
            vm.assertTrue(messagePasser.sentMessages(hash));
            bytes32 place = keccak256(abi.encode(hash, uint256(0)));
            vm.assertEq(vm.load(address(messagePasser), place), bytes32(uint256(1)));
        }
    }

    function test_no_message_carries_open(address sender, uint256 value) public {
        value = bound(value, 1, type(uint128).max);
        vm.deal(sender, value);
        vm.startPrank(sender);
        vm.expectRevert(L2ToL1MessagePasser.L2ToL1MessagePasser_NotAllowedOnCGTMode.selector);
        messagePasser.initiateWithdrawal{value: value}(sender, 1, "");
        (bool ok,) = address(messagePasser).call{value: value}("");
        vm.assertFalse(ok);
        vm.assertEq(sender.balance, value);
    }

    /// What the same contract does where the native asset is ether.
    function test_a_message_carries_ether() public {
        place(Predeploys.L1_BLOCK, vm.getCode("L1Block.sol"));
        vm.store(Predeploys.L1_BLOCK, bytes32(uint256(keccak256("l1block.isCustomGasToken")) - 1), 0);
        vm.deal(address(this), 2);
        messagePasser.initiateWithdrawal{value: 1}(address(1), 1, "");
        (bool ok,) = address(messagePasser).call{value: 1}("");
        vm.assertTrue(ok);
        vm.assertEq(address(messagePasser).balance, 2);
    }
}
