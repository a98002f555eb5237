// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {InferenceMarket} from "../src/inference/InferenceMarket.sol";
import {FidelityCertificates, Fidelity} from "../src/model/FidelityCertificates.sol";
import {ModelRegistry} from "../src/model/ModelRegistry.sol";
import {World} from "./World.sol";

contract FidelityTest is World {
    bytes32 private constant HASH = keccak256("certificate");

    function fidelity(int32 low, int32 lds, int32 high) private pure returns (Fidelity memory) {
        return Fidelity({ldsPpm: lds, lowPpm: low, highPpm: high, subsets: 40});
    }

    function commit(Fidelity memory made) private {
        vm.prank(builder);
        models.commitCertificate(modelId, HASH, made);
    }

    function test_a_certificate_counts_after_its_notice_and_the_one_before_stays_known() public {
        vm.expectEmit();
        emit FidelityCertificates.CertificateCommitted(
            modelId, HASH, fidelity(880_000, 910_000, 930_000), NOW + 60
        );
        commit(fidelity(880_000, 910_000, 930_000));
        vm.assertEq(models.certificateOf(modelId), HASH);
        vm.assertEq(models.fidelityAt(modelId, NOW + 59).subsets, 0);
        vm.assertEq(keccak256(abi.encode(models.fidelityAt(modelId, NOW + 60))), known(880_000));
        vm.warp(NOW + 1 days);
        commit(fidelity(-880_000, 910_000, 930_000));
        vm.assertEq(keccak256(abi.encode(models.fidelityAt(modelId, NOW + 1 days))), known(880_000));
        vm.assertEq(keccak256(abi.encode(models.fidelityAt(modelId, NOW + 2 days))), known(-880_000));
    }

    function known(int32 low) private pure returns (bytes32) {
        return keccak256(abi.encode(fidelity(low, 910_000, 930_000)));
    }

    function testFuzz_figures_are_kept_as_committed(int32 low, int32 lds, int32 high, uint32 subsets) public {
        Fidelity memory made = Fidelity({ldsPpm: lds, lowPpm: low, highPpm: high, subsets: subsets});
        bool good = subsets != 0 && -1_000_000 <= low && low <= lds && lds <= high && high <= 1_000_000;
        vm.prank(builder);
        if (!good) {
            vm.expectRevert(abi.encodeWithSelector(FidelityCertificates.BadCertificate.selector, made));
        }
        models.commitCertificate(modelId, HASH, made);
        if (!good) return;
        vm.assertEq(keccak256(abi.encode(models.fidelityAt(modelId, NOW + 60))), keccak256(abi.encode(made)));
    }

    function testFuzz_good_figures_are_kept_as_committed(uint32 a, uint32 b, uint32 c) public {
        int32 low = int32(uint32(a % 2_000_001)) - 1_000_000;
        int32 lds = low + int32(uint32(b % uint32(1_000_001 - low)));
        int32 high = lds + int32(uint32(c % uint32(1_000_001 - lds)));
        testFuzz_figures_are_kept_as_committed(low, lds, high, 1);
    }

    function test_only_the_models_owner_certifies_it() public {
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotModelOwner.selector, modelId, alice));
        models.commitCertificate(modelId, HASH, fidelity(0, 0, 0));
        vm.stopPrank();
        vm.prank(builder);
        Fidelity memory made = fidelity(0, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(FidelityCertificates.BadCertificate.selector, made));
        models.commitCertificate(modelId, 0, made);
    }

    function test_effects_are_paid_until_governance_sets_a_floor_that_the_model_misses() public {
        vm.assertTrue(market.influencePaidAt(modelId, NOW));
        commit(fidelity(850_000, 900_000, 930_000));
        vm.warp(NOW + 100);
        vm.prank(owner);
        vm.expectEmit();
        emit InferenceMarket.FidelityFloorSet(850_000, NOW + 131);
        market.setFidelityFloor(850_000);
        vm.assertTrue(market.influencePaidAt(modelId, NOW + 200));
        vm.warp(NOW + 200);
        vm.prank(owner);
        // The lower end decides, not the score: chance must not lift a model over the floor.
        market.setFidelityFloor(850_001);
        vm.assertTrue(market.influencePaidAt(modelId, NOW + 230));
        vm.assertFalse(market.influencePaidAt(modelId, NOW + 231));
        uint256 uncertified = registerModel(builder, params("uncertified"));
        vm.assertTrue(market.influencePaidAt(uncertified, NOW + 130));
        vm.assertFalse(market.influencePaidAt(uncertified, NOW + 131));
    }

    function test_only_governance_sets_the_floor_and_no_higher_than_one() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this)));
        market.setFidelityFloor(1);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(InferenceMarket.FidelityFloorTooHigh.selector, 1_000_001));
        market.setFidelityFloor(1_000_001);
    }
}
