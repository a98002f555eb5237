// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AttributionReferee} from "../src/attribution/AttributionReferee.sol";
import {DesignEncoding, EvidenceInputs, Outcome} from "../src/attribution/AttributionTypes.sol";
import {Base} from "./Base.sol";

/// The vectors that also drive the Rust library: written by its reference in exact rationals.
contract AttributionVectorsTest is Base {
    AttributionReferee private referee;
    string private json;

    function setUp() public {
        referee = AttributionReferee(create(vm.getCode("AttributionReferee.sol")));
    }

    function test_every_vector_of_the_rust_library_gives_every_number() public {
        string[11] memory names = [
            "below_floor",
            "larger_order",
            "most_players",
            "nobody",
            "not_explained",
            "one_player",
            "paley_one",
            "paley_two",
            "sylvester",
            "three_equal",
            "two_players"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            check(names[i]);
        }
    }

    function check(string memory name) private {
        json = vm.readFile(string.concat("../crates/attribution/tests/vectors/", name, ".json"));
        bytes memory encoded = vm.parseJsonBytes(json, ".inputs_encoded");
        vm.assertEq(keccak256(encoded), vm.parseJsonBytes32(json, ".inputs_hash"), name);
        EvidenceInputs memory inputs = abi.decode(encoded, (EvidenceInputs));
        DesignEncoding memory design =
            abi.decode(vm.parseJsonBytes(json, ".design_encoded"), (DesignEncoding));
        Outcome memory found = referee.derive(design, inputs);
        int256[] memory effects = vm.parseJsonIntArray(json, ".evidence.outcome.effects");
        uint256[] memory shares = numbers(".shares.players");
        uint256[] memory credit = numbers(".credit.per_player");
        vm.assertEq(found.effects.length, effects.length, name);
        vm.assertEq(found.shares.length, effects.length, name);
        for (uint256 i = 0; i < effects.length; ++i) {
            vm.assertEq(found.effects[i], effects[i], name);
            vm.assertEq(found.shares[i], shares[i], name);
            vm.assertEq(found.credit.perPlayer[i], credit[i], name);
        }
        vm.assertEq(found.noiseFloor, number(".noise_floor"), name);
        vm.assertEq(found.explained, number(".explained"), name);
        vm.assertEq(found.credit.commons, number(".credit.commons"), name);
        vm.assertEq(found.credit.covered, number(".credit.covered"), name);
        vm.assertEq(found.credit.total, number(".credit.total"), name);
        vm.assertEq(found.commons, number(".shares.commons"), name);
    }

    function number(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(".evidence.outcome", key));
    }

    function numbers(string memory key) private view returns (uint256[] memory) {
        return vm.parseJsonUintArray(json, string.concat(".evidence.outcome", key));
    }
}
