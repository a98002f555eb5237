// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {FeeParts, FeeSplit, Split} from "../src/inference/FeeSplit.sol";
import {Deposits} from "../src/inference/Deposits.sol";
import {InferenceMarket} from "../src/inference/InferenceMarket.sol";
import {Payee, Receipt} from "../src/inference/Receipts.sol";
import {SpendingLimits} from "../src/inference/SpendingLimits.sol";
import {ModelRegistry} from "../src/model/ModelRegistry.sol";
import {DatanetVersion, ModelParams} from "../src/model/ModelTypes.sol";
import {World} from "./World.sol";

contract SettlementTest is World {
    function test_every_wei_of_a_fee_reaches_its_owner() public {
        // 1,000 in and 1,000 out: token fee 0.04 OPEN, fee 0.042.
        Receipt memory made = receipt("a", 1_000, 1_000);
        vm.assertEq(made.fee, 0.042 ether);
        vm.assertEq(settle(made), 1);
        vm.assertEq(owner.balance, 0.002 ether);
        vm.assertEq(operator.balance, 0.006 ether);
        vm.assertEq(builder.balance, 0.006 ether);
        vm.assertEq(alice.balance, 0.012 ether);
        vm.assertEq(bob.balance, 0.006 ether);
        // A quarter of the data pot nobody earned, and the stakers' part while nobody stakes.
        vm.assertEq(market.commonsOf(datanetId), 0.006 ether + 0.004 ether);
        vm.assertEq(market.balanceOf(payer), 100 ether - 0.042 ether);
        vm.assertEq(market.settledAt(operator, modelId, "a"), NOW);
        (uint256 left,) = market.spendingLimit(payer, operator);
        vm.assertEq(left, 10 ether - 0.042 ether);
    }

    function test_the_settlement_is_told_in_full() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, OPERATOR_KEY);
        vm.expectEmit();
        emit InferenceMarket.Settled(
            "a",
            modelId,
            payer,
            operator,
            0.042 ether,
            0.002 ether,
            0.006 ether,
            0.006 ether,
            0,
            0.018 ether,
            0.01 ether
        );
        market.settle(receipts, signatures);
    }

    function testFuzz_conservation_to_the_wei(
        uint64 tokensIn,
        uint64 tokensOut,
        uint256 priceIn,
        uint256 priceOut,
        uint32[4] memory shares,
        uint8 datanetCount,
        address stakers
    ) public {
        tokensIn = uint64(bound(tokensIn, 0, 1_000_000));
        tokensOut = uint64(bound(tokensOut, 0, 1_000_000));
        setUpTerms(bound(priceIn, 0, 1 ether), bound(priceOut, 0, 1 ether), 1 + datanetCount % 16, stakers);
        Receipt memory made = receipt("fuzz", tokensIn, tokensOut);
        made.payees = payeesFrom(shares);
        vm.deal(payer, made.fee);
        vm.startPrank(payer);
        if (made.fee != 0) market.deposit{value: made.fee}();
        market.setSpendingLimit(operator, made.fee + 10 ether, type(uint64).max);
        vm.stopPrank();

        uint256 balance = market.balanceOf(payer);
        uint256 outside = address(market).balance;
        settle(made);
        vm.assertEq(market.balanceOf(payer), balance - made.fee);
        // What left the contract and what it still owes to others than the payer is the fee.
        uint256 left = outside - address(market).balance;
        uint256 kept = market.liabilities() - market.balanceOf(payer);
        vm.assertEq(left + kept, made.fee);
        vm.assertEq(address(market).balance, market.liabilities());
    }

    function setUpTerms(uint256 priceIn, uint256 priceOut, uint256 count, address stakers) private {
        ModelParams memory made = params("fuzz");
        made.datanets = new DatanetVersion[](count);
        for (uint256 i = 0; i < count; ++i) {
            made.datanets[i] = DatanetVersion({datanetId: createDatanet(), version: 1});
        }
        (made.priceIn, made.priceOut) = (priceIn, priceOut);
        (made.parentId, made.royaltyBps) = (modelId, 3_333);
        vm.warp(NOW + 2 days);
        modelId = registerModel(builder, made);
        Split memory split = market.splitAt(NOW);
        split.stakers = uint160(stakers) < 1 << 20 ? address(0) : stakers;
        vm.prank(owner);
        market.setSplit(split);
        vm.warp(NOW + 4 days);
    }

    function payeesFrom(uint32[4] memory shares) private pure returns (Payee[] memory payees) {
        payees = new Payee[](4);
        for (uint160 i = 0; i < 4; ++i) {
            // A quarter of the whole at most each, never zero.
            payees[i] = Payee({account: address(0xF000 + i), share: uint64(shares[i] / 4) + 1});
        }
    }

    function test_a_second_settlement_of_a_receipt_reverts() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        vm.assertEq(settle(made), 1);
        vm.warp(NOW + 1);
        settleReverts(made, abi.encodeWithSelector(InferenceMarket.AlreadySettled.selector, bytes32("a")));
        vm.assertEq(market.balanceOf(payer), 100 ether - made.fee);
        vm.assertEq(market.settledAt(operator, modelId, "a"), NOW);
    }

    function test_the_same_receipt_twice_in_a_batch_is_charged_once() public {
        Receipt[] memory receipts = new Receipt[](2);
        bytes[] memory signatures = new bytes[](2);
        receipts[0] = receipt("a", 1_000, 1_000);
        receipts[1] = receipts[0];
        signatures[0] = signed(receipts[0], OPERATOR_KEY);
        signatures[1] = signatures[0];
        vm.assertEq(market.settle(receipts, signatures), 1);
        vm.assertEq(market.balanceOf(payer), 100 ether - receipts[0].fee);
    }

    function test_another_receipt_cannot_use_the_id_again() public {
        settle(receipt("a", 1_000, 1_000));
        settleReverts(
            receipt("a", 1_000, 1_001),
            abi.encodeWithSelector(InferenceMarket.ReceiptIdUsed.selector, bytes32("a"))
        );
    }

    function test_another_operator_cannot_use_up_an_id() public {
        uint256 rivalKey = 0xBAD;
        vm.prank(payer);
        market.setSpendingLimit(vm.addr(rivalKey), 1 ether, NOW + 1);
        Receipt memory made = receipt("a", 1, 1);
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, rivalKey);
        market.settle(receipts, signatures);
        vm.assertEq(settle(receipt("a", 1_000, 1_000)), 1);
    }

    function test_submitting_a_part_first_does_not_stop_the_batch() public {
        Receipt[] memory receipts = new Receipt[](2);
        bytes[] memory signatures = new bytes[](2);
        receipts[0] = receipt("a", 1_000, 1_000);
        receipts[1] = receipt("b", 1_000, 1_000);
        signatures[0] = signed(receipts[0], OPERATOR_KEY);
        signatures[1] = signed(receipts[1], OPERATOR_KEY);
        vm.prank(address(0xBAD));
        settle(receipts[1]);
        vm.assertEq(market.settle(receipts, signatures), 1);
        vm.assertEq(market.settledAt(operator, modelId, "a"), NOW);
    }

    function test_a_receipt_means_nothing_on_another_chain() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, OPERATOR_KEY);
        vm.chainId(1);
        // Recovers some other signer, whom the payer never let charge anything.
        vm.expectPartialRevert(SpendingLimits.SpendingLimitExpired.selector);
        market.settle(receipts, signatures);
    }

    function test_a_receipt_means_nothing_in_another_contract() public {
        InferenceMarket other = InferenceMarket(create(genesis.marketCreation()));
        vm.startPrank(payer);
        other.deposit{value: 1 ether}();
        other.setSpendingLimit(operator, 1 ether, NOW + 1);
        vm.stopPrank();
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(receipt("a", 1, 1), OPERATOR_KEY);
        vm.expectPartialRevert(SpendingLimits.SpendingLimitExpired.selector);
        other.settle(receipts, signatures);
    }

    function test_a_receipt_means_nothing_for_another_model() public {
        uint256 twin = registerModel(builder, params("twin"));
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(receipt("a", 1, 1), OPERATOR_KEY);
        receipts[0].modelId = twin;
        vm.expectPartialRevert(SpendingLimits.SpendingLimitExpired.selector);
        market.settle(receipts, signatures);
    }

    function testFuzz_no_field_can_be_changed_after_signing(uint8 field, uint256 by) public {
        by = bound(by, 1, type(uint32).max);
        (Receipt[] memory receipts, bytes[] memory signatures) =
            batch(receipt("a", 1_000, 1_000), OPERATOR_KEY);
        bytes32 before = market.receiptDigest(receipts[0]);
        Receipt memory made = receipts[0];
        field = field % 12;
        if (field == 0) made.id = bytes32(uint256(made.id) ^ by);
        if (field == 1) made.modelId ^= by;
        if (field == 2) made.payer = address(uint160(made.payer) ^ uint160(by));
        if (field == 3) made.tokensIn ^= uint64(by);
        if (field == 4) made.tokensOut ^= uint64(by);
        if (field == 5) made.fee ^= by;
        if (field == 6) made.requestHash = bytes32(uint256(made.requestHash) ^ by);
        if (field == 7) made.answerHash = bytes32(uint256(made.answerHash) ^ by);
        if (field == 8) made.evidenceHash = bytes32(uint256(made.evidenceHash) ^ by);
        if (field == 9) made.issuedAt ^= uint64(by);
        if (field == 10) made.payees[0].account = address(uint160(made.payees[0].account) ^ uint160(by));
        if (field == 11) made.payees[1].share ^= uint64(by);
        vm.assertTrue(market.receiptDigest(made) != before);
        vm.expectRevert();
        market.settle(receipts, signatures);
    }

    function test_a_stranger_signing_charges_nobody() public {
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(receipt("a", 1_000, 1_000), 0xBAD);
        vm.expectRevert(
            abi.encodeWithSelector(
                SpendingLimits.SpendingLimitExpired.selector, payer, vm.addr(0xBAD), uint64(0)
            )
        );
        market.settle(receipts, signatures);
    }

    function test_a_malformed_signature_is_refused() public {
        (Receipt[] memory receipts, bytes[] memory signatures) =
            batch(receipt("a", 1_000, 1_000), OPERATOR_KEY);
        signatures[0] = hex"1234";
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureLength.selector, 2));
        market.settle(receipts, signatures);
    }

    function test_a_wrong_fee_is_refused_in_either_direction() public {
        for (uint256 i = 0; i < 2; ++i) {
            Receipt memory made = receipt("a", 1_000, 1_000);
            made.fee = i == 0 ? made.fee + 1 : made.fee - 1;
            settleReverts(
                made,
                abi.encodeWithSelector(
                    InferenceMarket.FeeMismatch.selector, bytes32("a"), 0.042 ether, made.fee
                )
            );
        }
    }

    function test_a_receipt_costs_what_the_model_cost_when_it_was_issued() public {
        Receipt memory before = receipt("a", 1_000, 1_000);
        vm.prank(builder);
        models.setPrice(modelId, PRICE_IN * 2, PRICE_OUT * 2);
        vm.warp(NOW + 60);
        Receipt memory later = receipt("b", 1_000, 1_000);
        vm.assertEq(later.fee, 2 * before.fee);
        settle(before);
        settle(later);
        vm.assertEq(market.balanceOf(payer), 100 ether - 3 * before.fee);
    }

    function test_a_split_changes_with_the_next_epoch_and_not_for_old_receipts() public {
        Receipt memory before = receipt("a", 1_000, 1_000);
        vm.prank(owner);
        market.setSplit(
            Split({platformBps: 1_000, computeBps: 0, modelBps: 0, stakersBps: 0, stakers: address(0)})
        );
        vm.assertEq(receipt("b", 1_000, 1_000).fee, before.fee);
        uint64 epoch = market.EPOCH();
        vm.warp((NOW / epoch + 1) * epoch);
        vm.prank(payer);
        market.setSpendingLimit(operator, 10 ether, NOW + 10 days);
        vm.assertEq(receipt("b", 1_000, 1_000).fee, 0.044 ether);
        settle(before);
        vm.assertEq(operator.balance, 0.006 ether);
        settle(receipt("b", 1_000, 1_000));
        vm.assertEq(operator.balance, 0.006 ether);
    }

    function test_a_split_set_in_the_last_seconds_of_an_epoch_skips_one() public {
        uint64 epoch = market.EPOCH();
        uint64 next = (NOW / epoch + 1) * epoch;
        vm.warp(next - 30);
        vm.prank(owner);
        market.setSplit(
            Split({platformBps: 0, computeBps: 0, modelBps: 0, stakersBps: 0, stakers: address(0)})
        );
        vm.assertEq(market.splitAt(next).platformBps, 500);
        vm.assertEq(market.splitAt(next + epoch).platformBps, 0);
    }

    function test_a_receipt_from_the_future_waits() public {
        Receipt memory made = receiptAt("a", 1_000, 1_000, NOW + 31);
        settleReverts(
            made, abi.encodeWithSelector(InferenceMarket.IssuedInFuture.selector, bytes32("a"), NOW + 31)
        );
        vm.warp(NOW + 1);
        settle(made);
    }

    function test_a_receipt_from_before_the_model_is_refused() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        made.issuedAt = NOW - 1;
        settleReverts(made, abi.encodeWithSelector(ModelRegistry.NotYetRegistered.selector, modelId, NOW - 1));
    }

    function test_an_unknown_model_is_refused() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        made.modelId = 77;
        settleReverts(made, abi.encodeWithSelector(ModelRegistry.UnknownModel.selector, 77));
    }

    function test_a_receipt_above_the_limit_is_refused() public {
        vm.prank(payer);
        market.setSpendingLimit(vm.addr(0xCAFE), 0.041 ether, NOW + 1 days);
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(receipt("a", 1_000, 1_000), 0xCAFE);
        vm.expectRevert(
            abi.encodeWithSelector(
                SpendingLimits.SpendingLimitExceeded.selector,
                payer,
                vm.addr(0xCAFE),
                0.041 ether,
                0.042 ether
            )
        );
        market.settle(receipts, signatures);
    }

    function test_a_receipt_above_the_balance_is_refused() public {
        vm.prank(payer);
        market.setSpendingLimit(operator, 1_000 ether, NOW + 1 days);
        Receipt memory made = receipt("a", 10_000_000, 0);
        settleReverts(
            made, abi.encodeWithSelector(Deposits.InsufficientBalance.selector, payer, 100 ether, 105 ether)
        );
    }

    function test_payees_must_ascend_and_share_at_most_the_whole() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        (made.payees[0].account, made.payees[1].account) = (bob, alice);
        settleReverts(made, abi.encodeWithSelector(FeeSplit.PayeesNotAscending.selector, 1));
        (made.payees[0].account, made.payees[1].account) = (alice, alice);
        settleReverts(made, abi.encodeWithSelector(FeeSplit.PayeesNotAscending.selector, 1));
        (made.payees[0].account, made.payees[1].account) = (address(0), alice);
        settleReverts(made, abi.encodeWithSelector(FeeSplit.PayeesNotAscending.selector, 0));
        made.payees = twoPayees(0, 1);
        settleReverts(made, abi.encodeWithSelector(FeeSplit.BadPayee.selector, 0));
        made.payees = twoPayees(1 << 32, 1);
        settleReverts(made, abi.encodeWithSelector(FeeSplit.SharesAboveWhole.selector, (1 << 32) + 1));
        made.payees = twoPayees(1, 1);
        made.payees[1].account = address(market);
        settleReverts(made, abi.encodeWithSelector(FeeSplit.BadPayee.selector, 1));
        made.payees = new Payee[](257);
        settleReverts(made, abi.encodeWithSelector(FeeSplit.TooManyPayees.selector, 257));
    }

    function test_as_many_payees_as_a_datanet_has_contributors_are_paid_in_half_a_block() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        made.payees = new Payee[](256);
        for (uint160 i = 0; i < 256; ++i) {
            made.payees[i] = Payee({account: address(0xF000 + i), share: 1 << 24});
        }
        uint256 gas = gasleft();
        settle(made);
        vm.assertLt(gas - gasleft(), 30_000_000);
        vm.assertEq(address(0xF000 + 255).balance, uint256(0.024 ether) / 256);
        vm.assertEq(market.commonsOf(datanetId), 0.004 ether);
    }

    function test_without_payees_the_data_pot_is_the_commons() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        made.payees = new Payee[](0);
        settle(made);
        vm.assertEq(market.commonsOf(datanetId), 0.024 ether + 0.004 ether);
    }

    function test_a_free_answer_is_recorded_and_still_needs_consent() public {
        ModelParams memory free = params("free");
        (free.priceIn, free.priceOut) = (0, 0);
        modelId = registerModel(builder, free);
        vm.assertEq(settle(receipt("a", 1_000, 1_000)), 1);
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(receipt("b", 1, 1), 0xBAD);
        vm.expectPartialRevert(SpendingLimits.SpendingLimitExpired.selector);
        market.settle(receipts, signatures);
    }

    function test_a_batch_is_bounded_and_has_a_signature_each() public {
        bytes memory none = abi.encodeWithSelector(InferenceMarket.BadBatch.selector, 0, 0);
        vm.expectRevert(none);
        market.settle(new Receipt[](0), new bytes[](0));
        vm.expectRevert(abi.encodeWithSelector(InferenceMarket.BadBatch.selector, 65, 65));
        market.settle(new Receipt[](65), new bytes[](65));
        vm.expectRevert(abi.encodeWithSelector(InferenceMarket.BadBatch.selector, 1, 2));
        market.settle(new Receipt[](1), new bytes[](2));
    }

    function test_royalties_climb_the_lineage_and_remainders_stay_below() public {
        address grandchildOwner = address(0xD2);
        address childOwner = address(0xD1);
        ModelParams memory child = params("child");
        (child.parentId, child.royaltyBps) = (modelId, 5_000);
        uint256 childId = registerModel(childOwner, child);
        ModelParams memory grandchild = params("grandchild");
        (grandchild.parentId, grandchild.royaltyBps) = (childId, 3_333);
        (grandchild.priceIn, grandchild.priceOut) = (0.010000000000000001 ether, 0.03 ether);
        modelId = registerModel(grandchildOwner, grandchild);
        FeeParts memory parts = market.quote(modelId, 900_000, 7, NOW);
        settle(receipt("a", 900_000, 7));
        uint256 up = parts.model * 3_333 / 10_000;
        vm.assertEq(grandchildOwner.balance, parts.model - up);
        vm.assertEq(builder.balance, up / 2);
        vm.assertEq(childOwner.balance, up - up / 2);
    }

    function test_stakers_are_paid_once_somebody_stakes() public {
        Split memory split = market.splitAt(NOW);
        split.stakers = address(0x57);
        vm.prank(owner);
        market.setSplit(split);
        vm.warp(NOW + 1 days);
        settle(receipt("a", 1_000, 1_000));
        vm.assertEq(address(0x57).balance, 0.004 ether);
        vm.assertEq(market.commonsOf(datanetId), 0.006 ether);
    }

    function test_commons_are_shared_by_the_datanets_and_the_first_gets_the_remainder() public {
        uint256 second = createDatanet();
        uint256 third = createDatanet();
        ModelParams memory made = params("three");
        made.datanets = new DatanetVersion[](3);
        made.datanets[0] = DatanetVersion({datanetId: datanetId, version: 1});
        made.datanets[1] = DatanetVersion({datanetId: second, version: 1});
        made.datanets[2] = DatanetVersion({datanetId: third, version: 1});
        modelId = registerModel(builder, made);
        settle(receipt("a", 1_000, 1_000));
        uint256 part = uint256(0.01 ether) / 3;
        vm.assertEq(market.commonsOf(datanetId), 0.01 ether - 2 * part);
        vm.assertEq(market.commonsOf(second), part);
        vm.assertEq(market.commonsOf(third), part);
    }
}
