// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Deposits} from "../src/inference/Deposits.sol";
import {Receipt} from "../src/inference/Receipts.sol";
import {World} from "./World.sol";

contract DepositsTest is World {
    function testFuzz_what_goes_in_comes_out(uint256 amount, uint256 asked) public {
        address someone = address(0x5050);
        amount = bound(amount, 1, 1_000_000 ether);
        asked = bound(asked, 1, amount);
        vm.deal(someone, amount);
        vm.startPrank(someone);
        market.deposit{value: amount}();
        market.requestWithdrawal(asked);
        vm.assertEq(market.balanceOf(someone), amount);
        vm.assertEq(market.availableOf(someone), amount - asked);
        vm.warp(NOW + 10 minutes);
        vm.assertEq(market.withdraw(), asked);
        vm.stopPrank();
        vm.assertEq(someone.balance, asked);
        vm.assertEq(market.balanceOf(someone), amount - asked);
        vm.assertEq(address(market).balance, market.liabilities());
    }

    function test_anybody_can_pay_in_for_somebody() public {
        vm.deal(address(this), 2 ether);
        vm.expectEmit();
        emit Deposits.Deposited(payer, address(this), 2 ether);
        market.depositFor{value: 2 ether}(payer);
        vm.assertEq(market.balanceOf(payer), 102 ether);
    }

    function test_an_empty_deposit_or_one_for_nobody_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Deposits.NothingToDeposit.selector));
        market.deposit();
        vm.deal(address(this), 1);
        vm.expectRevert(abi.encodeWithSelector(Deposits.ZeroPayer.selector));
        market.depositFor{value: 1}(address(0));
    }

    function test_a_withdrawal_waits_its_ten_minutes() public {
        vm.startPrank(payer);
        vm.expectEmit();
        emit Deposits.WithdrawalRequested(payer, 100 ether, NOW + 10 minutes);
        market.requestWithdrawal(100 ether);
        vm.warp(NOW + 10 minutes - 1);
        vm.expectRevert(abi.encodeWithSelector(Deposits.WithdrawalNotReady.selector, payer, NOW + 10 minutes));
        market.withdraw();
        vm.warp(NOW + 10 minutes);
        market.withdraw();
        vm.expectRevert(abi.encodeWithSelector(Deposits.WithdrawalNotReady.selector, payer, uint64(0)));
        market.withdraw();
        vm.stopPrank();
    }

    function test_no_more_can_be_asked_than_there_is() public {
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(Deposits.InsufficientBalance.selector, payer, 100 ether, 100 ether + 1)
        );
        market.requestWithdrawal(100 ether + 1);
    }

    function test_money_asked_back_still_pays_the_answers_given_before() public {
        Receipt memory made = receipt("a", 1_000, 1_000);
        vm.prank(payer);
        market.requestWithdrawal(100 ether);
        vm.assertEq(market.availableOf(payer), 0);
        vm.warp(NOW + 9 minutes);
        settle(made);
        vm.assertEq(market.availableOf(payer), 0);
        vm.warp(NOW + 10 minutes);
        vm.prank(payer);
        vm.assertEq(market.withdraw(), 100 ether - made.fee);
        vm.assertEq(market.balanceOf(payer), 0);
    }

    function test_a_request_can_be_taken_back() public {
        vm.startPrank(payer);
        market.requestWithdrawal(100 ether);
        market.requestWithdrawal(0);
        vm.assertEq(market.availableOf(payer), 100 ether);
        vm.warp(NOW + 1 days);
        vm.expectRevert(abi.encodeWithSelector(Deposits.WithdrawalNotReady.selector, payer, uint64(0)));
        market.withdraw();
        vm.stopPrank();
    }
}
