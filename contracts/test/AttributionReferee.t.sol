// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AttributionReferee} from "../src/attribution/AttributionReferee.sol";
import {DesignEncoding, EvidenceInputs, Outcome, SpanInput} from "../src/attribution/AttributionTypes.sol";
import {Effects} from "../src/attribution/Effects.sol";
import {SpanCharge} from "../src/attribution/SpanCharge.sol";
import {Payee, Receipt} from "../src/inference/Receipts.sol";
import {AttributionCases} from "./AttributionCases.sol";

/// The contract against the Rust library on random answers, to the last unit, and what it refuses.
contract AttributionRefereeTest is AttributionCases {
    AttributionReferee private referee;
    string private json;

    function setUp() public {
        referee = AttributionReferee(create(vm.getCode("AttributionReferee.sol")));
        json = vm.readFile("test/vectors/shares.json");
        readDesigns(json);
    }

    /// 300 answers every day, all 10,000 with the profile `full`.
    function test_the_contract_gives_the_shares_of_rust_to_the_last_unit() public {
        bytes32[] memory inputs = vm.parseJsonBytes32Array(json, ".inputs");
        bytes32[] memory outcomes = vm.parseJsonBytes32Array(json, ".outcomes");
        uint256 size = vm.parseJsonUint(json, ".block");
        vm.assertEq(inputs.length * size, 10_000, "vectors");
        vm.assertEq(outcomes.length, inputs.length, "vectors");
        bool all = keccak256(bytes(vm.envOr("FOUNDRY_PROFILE", "default"))) == keccak256("full");
        uint256 blocks = all ? outcomes.length : 3;
        for (uint256 i = 0; i < blocks; ++i) {
            // A call of its own, so that its memory is given back.
            (bytes32 made, bytes32 derived) = this.digests(i * size, size);
            string memory why = string.concat("answers from ", vm.toString(i * size));
            vm.assertEq(made, inputs[i], why);
            vm.assertEq(derived, outcomes[i], why);
        }
    }

    /// Digests over `count` answers from `first` on: of their inputs, of everything that follows.
    function digests(uint256 first, uint256 count) external returns (bytes32 made, bytes32 derived) {
        for (uint256 i = first; i < first + count; ++i) {
            (DesignEncoding memory design, EvidenceInputs memory inputs) = makeCase(i);
            made = keccak256(abi.encodePacked(made, keccak256(abi.encode(inputs))));
            Outcome memory outcome = referee.derive(design, inputs);
            derived = keccak256(abi.encodePacked(derived, keccak256(abi.encode(outcome))));
        }
    }

    function testFuzz_shares_and_commons_are_the_whole(uint256 number) public {
        (DesignEncoding memory design, EvidenceInputs memory inputs) = makeCase(number);
        Outcome memory outcome = referee.derive(design, inputs);
        uint256 players = 0;
        for (uint256 i = 0; i < outcome.shares.length; ++i) {
            players += outcome.shares[i];
            bool cleared = outcome.effects[i] > int256(outcome.noiseFloor) && inputs.influencePaid;
            if (!cleared && outcome.credit.perPlayer[i] == 0) vm.assertEq(outcome.shares[i], 0, "unpaid");
        }
        vm.assertLe(players, outcome.explained, "players get at most what is explained");
        vm.assertEq(players + outcome.commons, 1 << 32, "conservation");
        (uint64[] memory shares, uint64 commons) = referee.sharesOf(design, inputs);
        vm.assertEq(keccak256(abi.encode(shares)), keccak256(abi.encode(outcome.shares)));
        vm.assertEq(commons, outcome.commons, "one answer");
    }

    function testFuzz_a_receipt_pays_what_follows_or_is_found_out(uint256 number, uint256 change) public {
        (DesignEncoding memory design, EvidenceInputs memory inputs) = makeCase(number);
        (uint64[] memory shares,) = referee.sharesOf(design, inputs);
        // Every other player shares a wallet with the one before.
        address[] memory wallets = new address[](shares.length);
        for (uint256 i = 0; i < wallets.length; ++i) {
            wallets[i] = address(uint160(0xF000 + i / 2));
        }
        Receipt memory honest;
        honest.payees = payees(shares, wallets);
        bytes32 documentHash = keccak256("document");
        honest.evidenceHash =
            keccak256(abi.encodePacked(bytes1(0x01), keccak256(abi.encode(inputs)), documentHash));
        vm.assertTrue(referee.paysWhatFollows(honest, documentHash, design, inputs, wallets));
        if (honest.payees.length == 0) return;
        uint256 picked = change % honest.payees.length;
        honest.payees[picked].share += 1;
        vm.assertFalse(referee.paysWhatFollows(honest, documentHash, design, inputs, wallets));
        honest.payees[picked].share -= 2;
        vm.assertFalse(referee.paysWhatFollows(honest, documentHash, design, inputs, wallets));
        honest.payees[picked].share += 1;
        honest.payees[picked].account = address(0xE000);
        vm.assertFalse(referee.paysWhatFollows(honest, documentHash, design, inputs, wallets));
        honest.payees = new Payee[](0);
        vm.assertFalse(referee.paysWhatFollows(honest, documentHash, design, inputs, wallets));
    }

    function payees(uint64[] memory shares, address[] memory wallets)
        private
        pure
        returns (Payee[] memory made)
    {
        made = new Payee[](shares.length);
        uint256 count = 0;
        for (uint256 i = 0; i < shares.length; ++i) {
            if (shares[i] == 0) continue;
            bool again = count != 0 && made[count - 1].account == wallets[i];
            if (again) made[count - 1].share += shares[i];
            else made[count++] = Payee({account: wallets[i], share: shares[i]});
        }
        assembly ("memory-safe") {
            mstore(made, count)
        }
    }

    function test_another_receipts_evidence_is_refused() public {
        (DesignEncoding memory design, EvidenceInputs memory inputs) = makeCase(1);
        Receipt memory other;
        bytes32 hash =
            keccak256(abi.encodePacked(bytes1(0x01), keccak256(abi.encode(inputs)), keccak256("document")));
        vm.expectRevert(
            abi.encodeWithSelector(AttributionReferee.EvidenceHashMismatch.selector, bytes32(0), hash)
        );
        referee.paysWhatFollows(other, keccak256("document"), design, inputs, new address[](design.players));
        other.evidenceHash = hash;
        vm.expectRevert(
            abi.encodeWithSelector(AttributionReferee.BadWalletCount.selector, design.players, 64)
        );
        referee.paysWhatFollows(other, keccak256("document"), design, inputs, new address[](64));
    }

    function refuses(DesignEncoding memory design, EvidenceInputs memory inputs, bytes memory why) private {
        inputs.designHash = keccak256(abi.encode(design));
        vm.expectRevert(why);
        referee.derive(design, inputs);
    }

    /// Two players, order 2, one token: honest but for what each test changes.
    function plain() private pure returns (DesignEncoding memory design, EvidenceInputs memory inputs) {
        design = DesignEncoding({players: 2, order: 2, rows: new uint64[](2)});
        (design.rows[0], design.rows[1]) = (3, 1);
        inputs.values = new int64[](4);
        inputs.surprisals = new uint64[](10);
    }

    function test_a_design_that_is_not_the_committed_one_is_refused() public {
        (DesignEncoding memory design, EvidenceInputs memory inputs) = plain();
        bytes32 found = keccak256(abi.encode(design));
        vm.expectRevert(
            abi.encodeWithSelector(AttributionReferee.DesignHashMismatch.selector, bytes32(0), found)
        );
        referee.derive(design, inputs);
        design.players = 0;
        refuses(design, inputs, abi.encodeWithSelector(Effects.BadDesign.selector, 0, 2, 2));
        design.players = 3;
        refuses(design, inputs, abi.encodeWithSelector(Effects.BadDesign.selector, 3, 2, 2));
        (design.players, design.order) = (2, 4);
        refuses(design, inputs, abi.encodeWithSelector(Effects.BadDesign.selector, 2, 4, 2));
        (design.players, design.order) = (64, 64);
        design.rows = new uint64[](64);
        refuses(design, inputs, abi.encodeWithSelector(Effects.BadDesign.selector, 64, 64, 64));
        (design.players, design.order) = (63, 65);
        design.rows = new uint64[](65);
        refuses(design, inputs, abi.encodeWithSelector(Effects.BadDesign.selector, 63, 65, 65));
    }

    function test_values_must_be_one_per_run_and_in_bounds() public {
        (DesignEncoding memory design, EvidenceInputs memory inputs) = plain();
        inputs.values = new int64[](3);
        refuses(design, inputs, abi.encodeWithSelector(Effects.BadRunCount.selector, 4, 3));
        inputs.values = new int64[](4);
        inputs.values[2] = (1 << 44) + 1;
        refuses(design, inputs, abi.encodeWithSelector(Effects.ValueTooLarge.selector, 2));
        inputs.values[2] = type(int64).min;
        refuses(design, inputs, abi.encodeWithSelector(Effects.ValueTooLarge.selector, 2));
        inputs.values[2] = 0;
        inputs.surprisals[9] = (1 << 32) + 1;
        refuses(design, inputs, abi.encodeWithSelector(SpanCharge.SurprisalTooLarge.selector, 9));
        inputs.surprisals = new uint64[]((1 << 17) + 1);
        refuses(design, inputs, abi.encodeWithSelector(SpanCharge.AnswerTooLong.selector, (1 << 17) + 1));
    }

    function test_matches_that_no_index_returns_are_refused() public {
        matchRefused(SpanInput(3, 8, 1, 0, 0));
        matchRefused(SpanInput(3, 0, 1, 0, 0));
        matchRefused(SpanInput(type(uint32).max, type(uint32).max, 1, 0, 0));
        matchRefused(SpanInput(0, 8, 0, 0, 0));
        matchRefused(SpanInput(0, 8, 1, 0, 2));
        matchRefused(SpanInput(0, 8, 51, 0, 1));
        matchRefused(SpanInput(0, 8, 51, 0, 255));
        matchRefused(SpanInput(0, 8, 50, type(uint32).max, 255));
        (DesignEncoding memory design, EvidenceInputs memory inputs) = plain();
        inputs.matches = new SpanInput[](2);
        inputs.matches[0] = SpanInput(0, 8, 1, 0, 0);
        inputs.matches[1] = SpanInput(1, 7, 1, 0, 0);
        refuses(design, inputs, abi.encodeWithSelector(SpanCharge.BadMatch.selector, 1));
        inputs.matches[0] = SpanInput(2, 6, 1, 0, 0);
        inputs.matches[1] = SpanInput(1, 9, 1, 0, 0);
        refuses(design, inputs, abi.encodeWithSelector(SpanCharge.BadMatch.selector, 1));
    }

    function matchRefused(SpanInput memory span) private {
        (DesignEncoding memory design, EvidenceInputs memory inputs) = plain();
        inputs.matches = new SpanInput[](1);
        inputs.matches[0] = span;
        refuses(design, inputs, abi.encodeWithSelector(SpanCharge.BadMatch.selector, 0));
    }
}
