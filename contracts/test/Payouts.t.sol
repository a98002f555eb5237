// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Commons} from "../src/inference/Commons.sol";
import {InferenceMarket} from "../src/inference/InferenceMarket.sol";
import {PayoutKind, Payouts, Pot} from "../src/inference/Payouts.sol";
import {Split} from "../src/inference/FeeSplit.sol";
import {Payee, Receipt} from "../src/inference/Receipts.sol";
import {Fussy, GasGriefing, Reentering, ReenteringClaimer, ReturnBomb, Reverting} from "./Receivers.sol";
import {World} from "./World.sol";

contract PayoutsTest is World {
    /// Half of the data pot of 1,000 tokens in and out.
    uint256 private constant HALF = 0.012 ether;

    function receiptFor(address account) private view returns (Receipt memory made) {
        made = receipt("a", 1_000, 1_000);
        made.payees = new Payee[](1);
        made.payees[0] = Payee({account: account, share: 1 << 31});
    }

    function assertOthersArePaid() private view {
        vm.assertEq(operator.balance, 0.006 ether);
        vm.assertEq(builder.balance, 0.006 ether);
        vm.assertEq(owner.balance, 0.002 ether);
        vm.assertEq(address(market).balance, market.liabilities());
    }

    function test_a_reverting_receiver_blocks_nobody_and_claims_later() public {
        Reverting receiver = new Reverting();
        Receipt memory made = receiptFor(address(receiver));
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, OPERATOR_KEY);
        vm.expectEmit();
        emit Payouts.PaidOut("a", address(receiver), HALF, 0, PayoutKind.Claimable, Pot.Data);
        market.settle(receipts, signatures);
        assertOthersArePaid();
        vm.assertEq(market.claimableOf(address(receiver)), HALF);

        vm.expectRevert();
        market.claimFor(address(receiver));
        vm.assertEq(market.claimableOf(address(receiver)), HALF);

        receiver.accept();
        vm.expectEmit();
        emit Payouts.Claimed(address(receiver), 0, HALF);
        vm.assertEq(market.claimFor(address(receiver)), HALF);
        vm.assertEq(address(receiver).balance, HALF);
        vm.assertEq(market.claimableOf(address(receiver)), 0);
    }

    function test_a_gas_griefing_receiver_burns_its_allowance_and_no_more() public {
        address receiver = address(new GasGriefing());
        settle(receiptFor(receiver));
        assertOthersArePaid();
        vm.assertEq(market.claimableOf(receiver), HALF);
        (, uint64 used,,,) = vm.lastCallGas();
        vm.assertLt(used, 500_000);
    }

    function test_a_return_bomb_is_not_read() public {
        address receiver = address(new ReturnBomb());
        settle(receiptFor(receiver));
        assertOthersArePaid();
        vm.assertEq(market.claimableOf(receiver), HALF);
        (, uint64 used,,,) = vm.lastCallGas();
        vm.assertLt(used, 500_000);
    }

    function test_a_reentering_receiver_finds_the_door_closed() public {
        Reentering receiver = new Reentering(market);
        // Something to claim, so that only the lock stands in the way.
        vm.prank(owner);
        market.setDustThreshold(0.01 ether);
        Receipt memory small = receiptFor(address(receiver));
        small.payees[0].share = 1;
        settle(small);
        vm.assertGt(market.accruedOf(address(receiver)), 0);
        Receipt memory made = receiptFor(address(receiver));
        made.id = "b";
        settle(made);
        vm.assertEq(receiver.entered(), 0);
        vm.assertEq(address(market).balance, market.liabilities());
        // Paid once: pushed, or left to claim when the attempt cost more gas than a push has.
        vm.assertEq(
            address(receiver).balance + market.claimableOf(address(receiver)),
            HALF + uint256(0.024 ether) / (1 << 32)
        );
    }

    function test_a_reentering_claimer_is_paid_once_and_moves_nobody_elses_money() public {
        ReenteringClaimer receiver = new ReenteringClaimer(market, bob);
        settle(receiptFor(address(receiver)));
        vm.assertEq(market.claimableOf(address(receiver)), HALF);
        assertOthersArePaid();
        vm.prank(owner);
        market.setDustThreshold(0.01 ether);
        Receipt memory small = receipt("b", 1_000, 1_000);
        settle(small);
        vm.assertEq(market.accruedOf(bob), 0.006 ether);
        market.claimFor(address(receiver));
        vm.assertEq(receiver.attempts(), 1);
        vm.assertEq(receiver.entered(), 0);
        vm.assertEq(address(receiver).balance, HALF);
        vm.assertEq(market.accruedOf(bob), 0.006 ether);
        vm.assertEq(address(market).balance, market.liabilities());
    }

    /// The last one pushed is the one a relayer could starve: little is left to do after it.
    function test_a_relayer_cannot_starve_a_receiver_of_gas() public {
        Fussy stakers = new Fussy();
        Split memory split = market.splitAt(NOW);
        split.stakers = address(stakers);
        vm.prank(owner);
        market.setSplit(split);
        vm.warp(NOW + 1 days);
        settle(receipt("a", 1_000, 1_000));
        vm.assertEq(market.claimableOf(address(stakers)), 0.004 ether);
        stakers.accept();
        (Receipt[] memory receipts, bytes[] memory signatures) =
            batch(receipt("b", 1_000, 1_000), OPERATOR_KEY);
        bytes memory call = abi.encodeCall(market.settle, (receipts, signatures));
        // With more and more gas the batch fails as a whole until it succeeds with everybody pushed.
        bool ok = false;
        for (uint256 gas = 50_000; !ok; gas += 500) {
            (ok,) = address(market).call{gas: gas}(call);
        }
        vm.assertEq(market.claimableOf(address(stakers)), 0.004 ether);
        vm.assertEq(address(stakers).balance, 0.004 ether);
    }

    function testFuzz_little_gas_never_turns_a_push_into_a_claim(uint256 gas) public {
        (Receipt[] memory receipts, bytes[] memory signatures) =
            batch(receipt("a", 1_000, 1_000), OPERATOR_KEY);
        (bool ok,) = address(market).call{gas: bound(gas, 30_000, 600_000)}(
            abi.encodeCall(market.settle, (receipts, signatures))
        );
        address[5] memory accounts = [alice, bob, builder, operator, owner];
        for (uint256 i = 0; i < 5; ++i) {
            vm.assertEq(market.claimableOf(accounts[i]), 0);
            vm.assertTrue((accounts[i].balance != 0) == ok);
        }
    }

    function test_dust_accrues_until_it_is_worth_a_transfer() public {
        vm.prank(owner);
        market.setDustThreshold(0.01 ether);
        // Alice gets 0.0048 of each.
        for (uint256 i = 0; i < 3; ++i) {
            Receipt memory made = receipt(bytes32(i + 1), 400, 400);
            (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, OPERATOR_KEY);
            if (i == 2) {
                vm.expectEmit();
                emit Payouts.PaidOut(
                    bytes32(i + 1), alice, 0.0048 ether, 0.0096 ether, PayoutKind.Transferred, Pot.Data
                );
            }
            market.settle(receipts, signatures);
            vm.assertEq(alice.balance, i == 2 ? 0.0144 ether : 0);
            vm.assertEq(market.accruedOf(alice), i == 2 ? 0 : 0.0048 ether * (i + 1));
        }
        vm.assertEq(market.accruedOf(bob), 0.0072 ether);
        vm.assertEq(market.claimFor(bob), 0.0072 ether);
        vm.assertEq(bob.balance, 0.0072 ether);
        vm.assertEq(address(market).balance, market.liabilities());
    }

    function test_a_receiver_that_refuses_accrued_money_can_claim_all_of_it() public {
        Reverting receiver = new Reverting();
        vm.prank(owner);
        market.setDustThreshold(0.01 ether);
        Receipt memory first = receiptFor(address(receiver));
        first.payees[0].share = 1 << 29;
        settle(first);
        vm.assertEq(market.accruedOf(address(receiver)), 0.003 ether);
        Receipt memory second = receiptFor(address(receiver));
        second.id = "b";
        settle(second);
        vm.assertEq(market.accruedOf(address(receiver)), 0);
        vm.assertEq(market.claimableOf(address(receiver)), 0.015 ether);
    }

    function test_there_must_be_something_to_claim() public {
        vm.expectRevert(abi.encodeWithSelector(Payouts.NothingToClaim.selector, address(this)));
        market.claim();
    }

    function test_the_dust_threshold_is_bounded_and_the_owners() public {
        uint256 highest = market.MAX_DUST_THRESHOLD();
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(Payouts.DustThresholdTooHigh.selector, highest + 1));
        market.setDustThreshold(highest + 1);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        market.setDustThreshold(0);
    }

    function test_the_owner_grants_from_the_commons_and_only_what_is_there() public {
        settle(receipt("a", 1_000, 1_000));
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        market.grantFromCommons(datanetId, alice, 1);
        vm.startPrank(owner);
        vm.expectRevert(
            abi.encodeWithSelector(Commons.InsufficientCommons.selector, datanetId, 0.01 ether, 0.02 ether)
        );
        market.grantFromCommons(datanetId, alice, 0.02 ether);
        vm.expectRevert(abi.encodeWithSelector(InferenceMarket.BadRecipient.selector, address(0)));
        market.grantFromCommons(datanetId, address(0), 1);
        vm.expectEmit();
        emit Commons.CommonsGranted(datanetId, address(0x99), 0.004 ether);
        market.grantFromCommons(datanetId, address(0x99), 0.004 ether);
        vm.stopPrank();
        vm.assertEq(address(0x99).balance, 0.004 ether);
        vm.assertEq(market.commonsOf(datanetId), 0.006 ether);
        vm.assertEq(address(market).balance, market.liabilities());
    }

    function test_the_treasury_can_move() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        market.setTreasury(address(0x77));
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(InferenceMarket.BadRecipient.selector, address(0)));
        market.setTreasury(address(0));
        vm.expectRevert(abi.encodeWithSelector(InferenceMarket.BadRecipient.selector, address(market)));
        market.setTreasury(address(market));
        market.setTreasury(address(0x77));
        vm.stopPrank();
        settle(receipt("a", 1_000, 1_000));
        vm.assertEq(address(0x77).balance, 0.002 ether);
    }

    function test_money_forced_in_belongs_to_nobody_and_breaks_nothing() public {
        vm.deal(address(market), address(market).balance + 5 ether);
        settle(receipt("a", 1_000, 1_000));
        vm.assertEq(address(market).balance, market.liabilities() + 5 ether);
    }

    function test_a_plain_transfer_is_refused() public {
        vm.deal(address(this), 1 ether);
        (bool ok,) = address(market).call{value: 1 ether}("");
        vm.assertFalse(ok);
    }
}
