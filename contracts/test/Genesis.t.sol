// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {AttributionReferee} from "../src/attribution/AttributionReferee.sol";
import {DesignEncoding, EvidenceInputs} from "../src/attribution/AttributionTypes.sol";
import {Split} from "../src/inference/FeeSplit.sol";
import {Payee, Receipt} from "../src/inference/Receipts.sol";
import {World} from "./World.sol";

contract GenesisTest is World {
    string private json;
    string private path;

    function test_the_domain_is_right_at_the_genesis_address() public view {
        bytes32 expected = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("OpenLedger InferenceMarket"),
                keccak256("1"),
                uint256(161337),
                0x4F4C000000000000000000000000000000000003
            )
        );
        vm.assertEq(market.DOMAIN_SEPARATOR(), expected);
    }

    function test_the_contracts_know_each_other_and_their_owner() public view {
        vm.assertEq(address(market.MODELS()), address(models));
        vm.assertEq(address(models.DATANETS()), address(datanets));
        vm.assertEq(market.owner(), owner);
        vm.assertEq(market.treasury(), owner);
        vm.assertEq(market.dustThreshold(), 1 gwei);
    }

    function test_the_default_split_holds_from_the_first_second() public view {
        Split memory split = market.splitAt(0);
        vm.assertEq(split.platformBps, 500);
        vm.assertEq(split.computeBps, 1_500);
        vm.assertEq(split.modelBps, 1_500);
        vm.assertEq(split.stakersBps, 1_000);
        vm.assertEq(split.stakers, address(0));
    }

    function test_the_referee_pays_a_lone_contributor_what_training_added() public view {
        AttributionReferee referee = AttributionReferee(genesis.ATTRIBUTION_REFEREE());
        DesignEncoding memory design = DesignEncoding({players: 1, order: 1, rows: new uint64[](1)});
        design.rows[0] = 1;
        EvidenceInputs memory inputs;
        inputs.designHash = keccak256(abi.encode(design));
        inputs.influencePaid = true;
        // One token, likelier by one nat: 1 − 1/e.
        (inputs.values, inputs.surprisals) = (new int64[](2), new uint64[](1));
        inputs.values[1] = -(1 << 20);
        (uint64[] memory shares, uint64 commons) = referee.sharesOf(design, inputs);
        vm.assertEq(shares[0], 2714937127);
        vm.assertEq(shares[0] + commons, 1 << 32);
    }

    function test_the_owner_changes_in_two_steps() public {
        vm.prank(owner);
        market.transferOwnership(alice);
        vm.assertEq(market.owner(), owner);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, bob));
        market.acceptOwnership();
        vm.prank(alice);
        market.acceptOwnership();
        vm.assertEq(market.owner(), alice);
    }

    function test_only_the_owner_sets_the_split() public {
        Split memory split = market.splitAt(0);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        market.setSplit(split);
    }

    function test_the_contract_hashes_every_receipt_as_rust_signs_it() public {
        json = vm.readFile("test/vectors/receipt.json");
        uint256 count = vm.parseJsonUint(json, ".count");
        vm.assertGt(count, 10);
        for (uint256 i = 0; i < count; ++i) {
            path = string.concat(".cases[", vm.toString(i), "].");
            vm.assertEq(market.receiptDigest(readReceipt()), word("digest"));
        }
    }

    function test_the_contract_hashes_every_consent_as_rust_signs_it() public {
        json = vm.readFile("test/vectors/spending_limit.json");
        uint256 count = vm.parseJsonUint(json, ".count");
        vm.assertGt(count, 10);
        for (uint256 i = 0; i < count; ++i) {
            path = string.concat(".cases[", vm.toString(i), "].");
            vm.assertEq(
                consentDigest(
                    account("payer"),
                    account("operator"),
                    number("limit"),
                    number("nonce"),
                    uint64(number("deadline"))
                ),
                word("digest")
            );
        }
    }

    function readReceipt() private view returns (Receipt memory made) {
        made.id = word("id");
        made.modelId = number("modelId");
        made.payer = account("payer");
        made.tokensIn = uint64(number("tokensIn"));
        made.tokensOut = uint64(number("tokensOut"));
        made.fee = number("fee");
        made.requestHash = word("requestHash");
        made.answerHash = word("answerHash");
        made.evidenceHash = word("evidenceHash");
        made.issuedAt = uint64(number("issuedAt"));
        address[] memory accounts = vm.parseJsonAddressArray(json, string.concat(path, "accounts"));
        uint256[] memory shares = vm.parseJsonUintArray(json, string.concat(path, "shares"));
        made.payees = new Payee[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            made.payees[i] = Payee({account: accounts[i], share: uint64(shares[i])});
        }
    }

    function number(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(path, key));
    }

    function word(string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(path, key));
    }

    function account(string memory key) private view returns (address) {
        return vm.parseJsonAddress(json, string.concat(path, key));
    }
}

/// The same of the allocation that is committed and that nodes start from.
contract CommittedGenesisTest is GenesisTest {
    function placeContracts() internal override {
        vm.chainId(161337);
        vm.loadAllocs("../crates/contracts/genesis/devnet.json");
    }

    function test_a_receipt_is_settled_on_the_committed_genesis() public {
        vm.assertEq(settle(receipt("a", 1_000, 1_000)), 1);
        vm.assertEq(alice.balance, 0.012 ether);
        vm.assertEq(address(market).balance, market.liabilities());
    }
}
