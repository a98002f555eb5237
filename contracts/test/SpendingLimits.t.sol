// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Receipt} from "../src/inference/Receipts.sol";
import {SpendingLimit, SpendingLimits} from "../src/inference/SpendingLimits.sol";
import {World} from "./World.sol";

/// A wallet that accepts whatever its owner's key has signed (ERC-1271).
contract ContractWallet {
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        address signer =
            ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
        return signer == OWNER ? this.isValidSignature.selector : bytes4(0);
    }
}

contract SpendingLimitsTest is World {
    function digestOf(SpendingLimit memory made) private view returns (bytes32) {
        return consentDigest(made.payer, made.operator, made.limit, made.nonce, made.deadline);
    }

    function assertLimit(uint256 limit, uint64 deadline) private view {
        (uint256 left, uint64 until) = market.spendingLimit(payer, operator);
        vm.assertEq(left, limit);
        vm.assertEq(until, deadline);
    }

    function set(uint256 limit, uint64 deadline) private {
        vm.prank(payer);
        market.setSpendingLimit(operator, limit, deadline);
    }

    function test_a_signed_consent_sets_the_limit_whoever_submits_it() public {
        SpendingLimit memory made = consent(20 ether, NOW + 2 days);
        bytes memory signature = sign(PAYER_KEY, digestOf(made));
        vm.expectEmit();
        emit SpendingLimits.SpendingLimitSet(payer, operator, 20 ether, NOW + 2 days, 0);
        market.authorize(made, signature);
        assertLimit(20 ether, NOW + 2 days);
    }

    function test_a_consent_works_once() public {
        SpendingLimit memory made = consent(20 ether, NOW + 2 days);
        bytes memory signature = sign(PAYER_KEY, digestOf(made));
        market.authorize(made, signature);
        vm.expectRevert(
            abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, payer, market.nonces(payer))
        );
        market.authorize(made, signature);
    }

    function test_a_consent_by_somebody_else_is_refused() public {
        SpendingLimit memory made = consent(20 ether, NOW + 2 days);
        bytes memory signature = sign(OPERATOR_KEY, digestOf(made));
        vm.expectRevert(abi.encodeWithSelector(SpendingLimits.BadConsent.selector, payer));
        market.authorize(made, signature);
    }

    function testFuzz_a_changed_consent_is_refused(uint8 field, uint32 by) public {
        by = by == 0 ? 1 : by;
        SpendingLimit memory made = consent(20 ether, NOW + 2 days);
        bytes memory signature = sign(PAYER_KEY, digestOf(made));
        field = field % 4;
        if (field == 0) made.operator = address(uint160(made.operator) ^ by);
        if (field == 1) made.limit ^= by;
        if (field == 2) made.deadline += by;
        if (field == 3) made.payer = address(uint160(made.payer) ^ by);
        vm.expectRevert();
        market.authorize(made, signature);
    }

    function test_a_late_consent_is_refused() public {
        SpendingLimit memory made = consent(20 ether, NOW + 5);
        bytes memory signature = sign(PAYER_KEY, digestOf(made));
        vm.warp(NOW + 6);
        vm.expectRevert(abi.encodeWithSelector(SpendingLimits.ConsentExpired.selector, NOW + 5));
        market.authorize(made, signature);
    }

    function test_a_payer_who_sets_a_limit_voids_consents_not_yet_submitted() public {
        SpendingLimit memory made = consent(20 ether, NOW + 2 days);
        bytes memory signature = sign(PAYER_KEY, digestOf(made));
        set(0, NOW);
        vm.expectRevert(
            abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, payer, market.nonces(payer))
        );
        market.authorize(made, signature);
    }

    function test_a_contract_wallet_can_consent() public {
        address wallet = address(new ContractWallet(payer));
        SpendingLimit memory made =
            SpendingLimit({payer: wallet, operator: operator, limit: 3 ether, nonce: 0, deadline: NOW + 1});
        market.authorize(made, sign(PAYER_KEY, digestOf(made)));
        (uint256 left,) = market.spendingLimit(wallet, operator);
        vm.assertEq(left, 3 ether);
    }

    function test_an_answer_after_the_deadline_cannot_be_charged() public {
        set(10 ether, NOW + 2 days);
        vm.warp(NOW + 2 days + 1);
        assertLimit(0, NOW + 2 days);
        settleReverts(
            receipt("a", 1, 1),
            abi.encodeWithSelector(
                SpendingLimits.SpendingLimitExpired.selector, payer, operator, NOW + 2 days
            )
        );
    }

    function test_an_answer_before_the_deadline_can_be_charged_for_ten_minutes_after_it() public {
        Receipt memory first = receiptAt("a", 1_000, 1_000, NOW + 1 days);
        Receipt memory second = receiptAt("b", 1_000, 1_000, NOW + 1 days);
        vm.warp(NOW + 1 days + 10 minutes);
        settle(first);
        vm.warp(NOW + 1 days + 10 minutes + 1);
        settleReverts(
            second,
            abi.encodeWithSelector(
                SpendingLimits.SpendingLimitExpired.selector, payer, operator, NOW + 1 days
            )
        );
    }

    function test_revoking_stops_new_work_at_once_and_old_work_after_ten_minutes() public {
        Receipt memory first = receipt("a", 1_000, 1_000);
        Receipt memory second = receipt("b", 1_000, 1_000);
        vm.prank(payer);
        vm.expectEmit();
        emit SpendingLimits.SpendingLimitSet(payer, operator, 0, NOW, NOW + 10 minutes);
        market.setSpendingLimit(operator, 0, NOW);
        vm.warp(NOW + 1);
        assertLimit(0, NOW);
        vm.warp(NOW + 10 minutes - 1);
        settle(first);
        vm.warp(NOW + 10 minutes);
        settleReverts(
            second,
            abi.encodeWithSelector(
                SpendingLimits.SpendingLimitExceeded.selector, payer, operator, 0, second.fee
            )
        );
    }

    function test_what_is_charged_in_the_grace_counts_against_the_new_limit_too() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        set(1 ether, NOW + 1 days);
        settle(made);
        assertLimit(1 ether - made.fee, NOW + 1 days);
        vm.warp(NOW + 1 hours);
        assertLimit(1 ether - made.fee, NOW + 1 days);
    }

    function test_a_second_revocation_does_not_lengthen_what_the_first_has_ended() public {
        set(0, NOW);
        vm.warp(NOW + 10 minutes);
        set(0, NOW);
        Receipt memory made = receiptAt("a", 1_000, 1_000, NOW);
        settleReverts(
            made,
            abi.encodeWithSelector(
                SpendingLimits.SpendingLimitExceeded.selector, payer, operator, 0, made.fee
            )
        );
    }

    function test_raising_works_at_once_even_after_revoking() public {
        set(0, NOW);
        vm.warp(NOW + 1);
        set(50 ether, NOW + 3 days);
        assertLimit(50 ether, NOW + 3 days);
        settle(receipt("a", 1_000_000, 100_000));
    }

    function test_a_limit_without_bound_never_runs_out() public {
        set(type(uint256).max, type(uint64).max);
        settle(receipt("a", 1_000, 1_000));
        (uint256 left,) = market.spendingLimit(payer, operator);
        vm.assertEq(left, type(uint128).max - 0.042 ether);
    }

    function testFuzz_an_operator_never_gets_more_than_it_was_ever_allowed(
        uint256[6] memory limits,
        uint64[6] memory waits,
        uint64[6] memory tokens
    ) public {
        address fresh = vm.addr(0xF4E54);
        uint64 time = NOW;
        uint256 charged = 0;
        uint256 raised = 0;
        for (uint256 i = 0; i < 6; ++i) {
            uint256 limit = bound(limits[i], 0, 1 ether);
            vm.prank(payer);
            market.setSpendingLimit(fresh, limit, time + 1 days);
            raised += limit;
            time += uint64(bound(waits[i], 0, 20 minutes));
            vm.warp(time);
            Receipt memory made = receipt(bytes32(i), uint64(bound(tokens[i], 1, 80_000)), 0);
            (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, 0xF4E54);
            try market.settle(receipts, signatures) {
                charged += made.fee;
            } catch {}
            (uint256 left,) = market.spendingLimit(payer, fresh);
            vm.assertLe(left, limit);
        }
        vm.assertLe(charged, raised);
    }
}
