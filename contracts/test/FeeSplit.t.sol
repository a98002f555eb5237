// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {FeeParts, FeeSplit, Split} from "../src/inference/FeeSplit.sol";
import {Payee} from "../src/inference/Receipts.sol";
import {Base} from "./Base.sol";

/// The library as an external contract, so that payees are calldata and reverts can be expected.
contract FeeSplitHarness {
    function parts(uint64 tokensIn, uint64 tokensOut, uint256 priceIn, uint256 priceOut, Split memory split)
        external
        pure
        returns (FeeParts memory)
    {
        FeeSplit.check(split);
        return FeeSplit.partsDown(FeeSplit.tokenFeeDown(tokensIn, tokensOut, priceIn, priceOut), split);
    }

    function paid(uint256 data, Payee[] calldata payees) external view returns (uint256[] memory, uint256) {
        return FeeSplit.paidDown(data, payees);
    }

    function check(Split memory split) external pure {
        FeeSplit.check(split);
    }
}

contract FeeSplitTest is Base {
    FeeSplitHarness private split = new FeeSplitHarness();

    string private json;
    string private path;

    function test_the_contract_splits_every_vector_as_rust_does() public {
        json = vm.readFile("test/vectors/fee_split.json");
        uint256 count = vm.parseJsonUint(json, ".count");
        vm.assertGt(count, 50);
        for (uint256 i = 0; i < count; ++i) {
            path = string.concat(".cases[", vm.toString(i), "].");
            checkVector();
        }
    }

    function number(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(path, key));
    }

    function numbers(string memory key) private view returns (uint256[] memory) {
        return vm.parseJsonUintArray(json, string.concat(path, key));
    }

    function checkVector() private view {
        bool somebodyStakes = vm.parseJsonBool(json, string.concat(path, "somebodyStakes"));
        FeeParts memory parts = split.parts(
            uint64(number("tokensIn")),
            uint64(number("tokensOut")),
            number("priceIn"),
            number("priceOut"),
            Split({
                platformBps: uint16(number("platformBps")),
                computeBps: uint16(number("computeBps")),
                modelBps: uint16(number("modelBps")),
                stakersBps: uint16(number("stakersBps")),
                stakers: somebodyStakes ? address(1) : address(0)
            })
        );
        vm.assertEq(parts.fee, number("fee"), path);
        vm.assertEq(parts.platform, number("platform"), path);
        vm.assertEq(parts.compute, number("compute"), path);
        vm.assertEq(parts.model, number("model"), path);
        vm.assertEq(parts.stakers, number("stakers"), path);
        (uint256[] memory amounts, uint256 paid) = split.paid(parts.data, payees(numbers("shares")));
        uint256[] memory expected = numbers("paid");
        vm.assertEq(amounts.length, expected.length, path);
        for (uint256 i = 0; i < amounts.length; ++i) {
            vm.assertEq(amounts[i], expected[i], path);
        }
        uint256 commons = parts.fee - parts.platform - parts.compute - parts.model - parts.stakers - paid;
        vm.assertEq(commons, number("commons"), path);
    }

    function payees(uint256[] memory shares) private pure returns (Payee[] memory made) {
        made = new Payee[](shares.length);
        for (uint160 i = 0; i < shares.length; ++i) {
            made[i] = Payee({account: address(0xF000 + i), share: uint64(shares[i])});
        }
    }

    function testFuzz_no_part_is_ever_rounded_up(
        uint64 tokensIn,
        uint64 tokensOut,
        uint256 priceIn,
        uint256 priceOut,
        uint16[4] memory bps
    ) public view {
        (priceIn, priceOut) = (bound(priceIn, 0, 1e27), bound(priceOut, 0, 1e27));
        Split memory made = Split({
            platformBps: uint16(bound(bps[0], 0, 2_000)),
            computeBps: uint16(bound(bps[1], 0, 3_333)),
            modelBps: uint16(bound(bps[2], 0, 3_333)),
            stakersBps: uint16(bound(bps[3], 0, 3_333)),
            stakers: address(1)
        });
        FeeParts memory parts = split.parts(tokensIn, tokensOut, priceIn, priceOut, made);
        uint256 exact = tokensIn * priceIn + tokensOut * priceOut;
        uint256 tokenFee = parts.fee - parts.platform;
        vm.assertLe(tokenFee * 1_000, exact);
        vm.assertLt(exact, (tokenFee + 1) * 1_000);
        vm.assertLe(parts.platform * 10_000, tokenFee * made.platformBps);
        vm.assertLe(parts.compute * 10_000, tokenFee * made.computeBps);
        vm.assertLe(parts.model * 10_000, tokenFee * made.modelBps);
        vm.assertLe(parts.stakers * 10_000, tokenFee * made.stakersBps);
        vm.assertEq(parts.compute + parts.model + parts.stakers + parts.data, tokenFee);
    }

    function testFuzz_splitting_a_share_over_wallets_gains_nothing(uint256 data, uint32 whole, uint32 part)
        public
        view
    {
        data = bound(data, 0, 1e30);
        whole = uint32(bound(whole, 2, type(uint32).max));
        part = uint32(bound(part, 1, whole - 1));
        uint256[] memory one = new uint256[](1);
        one[0] = whole;
        uint256[] memory two = new uint256[](2);
        (two[0], two[1]) = (part, whole - part);
        (, uint256 paidToOne) = split.paid(data, payees(one));
        (, uint256 paidToTwo) = split.paid(data, payees(two));
        vm.assertLe(paidToTwo, paidToOne);
        vm.assertLe(paidToOne - paidToTwo, 1);
    }

    function test_a_split_gives_away_at_most_the_whole() public {
        Split memory made = Split({
            platformBps: 2_000, computeBps: 5_000, modelBps: 4_000, stakersBps: 1_000, stakers: address(0)
        });
        split.check(made);
        made.stakersBps = 1_001;
        vm.expectRevert(abi.encodeWithSelector(FeeSplit.BadSplit.selector, made));
        split.check(made);
        (made.stakersBps, made.platformBps) = (0, 2_001);
        vm.expectRevert(abi.encodeWithSelector(FeeSplit.BadSplit.selector, made));
        split.check(made);
    }
}
