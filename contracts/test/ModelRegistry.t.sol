// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {DatanetVersion, Holder, Model, ModelParams} from "../src/model/ModelTypes.sol";
import {ModelRegistry} from "../src/model/ModelRegistry.sol";
import {World} from "./World.sol";

contract ModelRegistryTest is World {
    function registerReverts(ModelParams memory made, bytes memory why) private {
        vm.prank(builder);
        vm.expectRevert(why);
        models.register(made);
    }

    function assertPrice(uint64 timestamp, uint256 priceIn, uint256 priceOut) private view {
        (uint256 gotIn, uint256 gotOut) = models.priceAt(modelId, timestamp);
        vm.assertEq(gotIn, priceIn);
        vm.assertEq(gotOut, priceOut);
    }

    function test_registering_mints_the_model_to_its_builder() public {
        ModelParams memory made = params("law-7b_v1.2");
        vm.expectEmit();
        emit ModelRegistry.ModelRegistered(2, alice, made.adapterHash, made.name, 0, 0, made.datanets);
        vm.assertEq(registerModel(alice, made), 2);
        vm.assertEq(models.ownerOf(2), alice);
        vm.assertEq(models.name(), "OpenLedger Model");
        vm.assertEq(models.symbol(), "OLM");
        vm.assertEq(models.modelCount(), 2);
        vm.assertEq(models.modelByName("law-7b_v1.2"), 2);
        vm.assertEq(models.modelByName("nobody"), 0);
        Model memory kept = models.model(2);
        vm.assertEq(kept.name, made.name);
        vm.assertEq(kept.baseHash, made.baseHash);
        vm.assertEq(kept.adapterHash, made.adapterHash);
        vm.assertEq(kept.recipeRoot, made.recipeRoot);
        vm.assertEq(kept.traceRoot, made.traceRoot);
        vm.assertEq(kept.designRoot, made.designRoot);
        vm.assertEq(kept.registeredAt, NOW);
        vm.assertEq(kept.datanets[0].datanetId, datanetId);
    }

    function test_a_name_is_taken_once() public {
        registerReverts(
            params("handbook"), abi.encodeWithSelector(ModelRegistry.NameTaken.selector, "handbook", modelId)
        );
    }

    function test_a_name_is_a_slug() public {
        string[8] memory bad = ["", "Upper", "a b", "-a", ".a", "a/b", 'a"b', unicode"é"];
        for (uint256 i = 0; i < bad.length; ++i) {
            registerReverts(params(bad[i]), abi.encodeWithSelector(ModelRegistry.BadName.selector, bad[i]));
        }
        string memory long = "a2345678901234567890123456789012345678901234567890123456789012345";
        registerReverts(params(long), abi.encodeWithSelector(ModelRegistry.BadName.selector, long));
    }

    function testFuzz_only_slugs_are_registered(bytes memory name) public {
        vm.prank(builder);
        try models.register(params(string(name))) {
            vm.assertTrue(name.length > 0 && name.length <= 64);
            for (uint256 i = 0; i < name.length; ++i) {
                uint8 c = uint8(name[i]);
                bool letter = (c >= 97 && c <= 122) || (c >= 48 && c <= 57);
                vm.assertTrue(letter || (i > 0 && (c == 45 || c == 46 || c == 95)));
            }
        } catch {}
    }

    function test_base_adapter_and_recipe_are_required() public {
        for (uint256 i = 0; i < 3; ++i) {
            ModelParams memory made = params("x");
            if (i == 0) made.baseHash = 0;
            if (i == 1) made.adapterHash = 0;
            if (i == 2) made.recipeRoot = 0;
            registerReverts(made, abi.encodeWithSelector(ModelRegistry.ZeroHash.selector));
        }
    }

    function test_a_model_stands_on_committed_datanet_versions() public {
        ModelParams memory made = params("x");
        made.datanets[0].version = 2;
        registerReverts(
            made, abi.encodeWithSelector(ModelRegistry.UnknownDatanetVersion.selector, datanetId, uint64(2))
        );
        made.datanets = new DatanetVersion[](0);
        registerReverts(made, abi.encodeWithSelector(ModelRegistry.BadDatanetCount.selector, 0));
        made.datanets = new DatanetVersion[](17);
        registerReverts(made, abi.encodeWithSelector(ModelRegistry.BadDatanetCount.selector, 17));
        made.datanets = new DatanetVersion[](2);
        made.datanets[0] = DatanetVersion({datanetId: datanetId, version: 1});
        made.datanets[1] = DatanetVersion({datanetId: datanetId, version: 1});
        registerReverts(made, abi.encodeWithSelector(ModelRegistry.DatanetsNotAscending.selector, 1));
    }

    function test_prices_are_bounded() public {
        uint256 highest = models.MAX_PRICE();
        ModelParams memory made = params("x");
        made.priceIn = highest + 1;
        registerReverts(made, abi.encodeWithSelector(ModelRegistry.PriceTooHigh.selector, highest + 1));
        (made.priceIn, made.priceOut) = (highest, highest);
        modelId = registerModel(builder, made);
        assertPrice(NOW, highest, highest);
        vm.prank(builder);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.PriceTooHigh.selector, highest + 1));
        models.setPrice(modelId, 0, highest + 1);
    }

    function test_a_price_change_takes_effect_after_a_minute() public {
        vm.expectEmit();
        emit ModelRegistry.PriceChanged(modelId, 1, 2, NOW + 60);
        vm.prank(builder);
        models.setPrice(modelId, 1, 2);
        assertPrice(NOW + 59, PRICE_IN, PRICE_OUT);
        assertPrice(NOW + 60, 1, 2);
    }

    function testFuzz_every_past_price_stays_known(uint32[12] memory waits, uint64[12] memory prices) public {
        uint64 time = NOW;
        uint64[12] memory from;
        for (uint256 i = 0; i < 12; ++i) {
            time += uint64(bound(waits[i], 1, 1 days));
            vm.warp(time);
            vm.prank(builder);
            models.setPrice(modelId, prices[i], uint256(prices[i]) * 3);
            from[i] = time + 60;
        }
        assertPrice(from[0] - 1, PRICE_IN, PRICE_OUT);
        for (uint256 i = 0; i < 12; ++i) {
            assertPrice(from[i], prices[i], uint256(prices[i]) * 3);
            if (i < 11) assertPrice(from[i + 1] - 1, prices[i], uint256(prices[i]) * 3);
        }
    }

    function test_only_the_tokens_owner_sets_the_price() public {
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotModelOwner.selector, modelId, address(this)));
        models.setPrice(modelId, 1, 1);
        vm.prank(builder);
        models.transferFrom(builder, alice, modelId);
        vm.prank(builder);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotModelOwner.selector, modelId, builder));
        models.setPrice(modelId, 1, 1);
        vm.prank(alice);
        models.setPrice(modelId, 1, 1);
    }

    function test_there_is_no_price_before_registration_or_without_a_model() public {
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotYetRegistered.selector, modelId, NOW - 1));
        models.priceAt(modelId, NOW - 1);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.UnknownModel.selector, 9));
        models.priceAt(9, NOW);
    }

    function test_lineage_follows_parents_and_owners_of_today() public {
        ModelParams memory child = params("child");
        (child.parentId, child.royaltyBps) = (modelId, 2_500);
        uint256 childId = registerModel(alice, child);
        vm.prank(builder);
        models.transferFrom(builder, bob, modelId);
        Holder[] memory holders = models.lineage(childId);
        vm.assertEq(holders.length, 2);
        vm.assertEq(holders[0].owner, alice);
        vm.assertEq(holders[0].royaltyBps, 2_500);
        vm.assertEq(holders[1].owner, bob);
        vm.assertEq(holders[1].royaltyBps, 0);
    }

    function test_a_lineage_is_at_most_eight_long() public {
        uint256 parent = modelId;
        for (uint256 i = 0; i < 7; ++i) {
            ModelParams memory made = params(string.concat("m", vm.toString(i)));
            made.parentId = parent;
            parent = registerModel(builder, made);
        }
        vm.assertEq(models.lineage(parent).length, 8);
        ModelParams memory last = params("last");
        last.parentId = parent;
        registerReverts(last, abi.encodeWithSelector(ModelRegistry.LineageTooLong.selector, parent));
    }

    function test_a_royalty_needs_a_parent_and_is_at_most_the_whole() public {
        ModelParams memory made = params("x");
        made.royaltyBps = 1;
        registerReverts(made, abi.encodeWithSelector(ModelRegistry.BadRoyalty.selector, uint16(1)));
        (made.parentId, made.royaltyBps) = (modelId, 10_001);
        registerReverts(made, abi.encodeWithSelector(ModelRegistry.BadRoyalty.selector, uint16(10_001)));
        (made.parentId, made.royaltyBps) = (77, 1);
        registerReverts(made, abi.encodeWithSelector(ModelRegistry.UnknownModel.selector, 77));
    }

    function test_the_token_carries_the_model_card() public view {
        string memory json = string.concat(
            '{"name":"handbook","description":"OpenLedger model","base_hash":"',
            hexOf(keccak256("base")),
            '","adapter_hash":"',
            hexOf(keccak256("handbook")),
            '","recipe_root":"',
            hexOf(keccak256("recipe")),
            '","trace_root":"',
            hexOf(keccak256("trace")),
            '","design_root":"',
            hexOf(keccak256("design")),
            '","price_in_wei":"10000000000000000","price_out_wei":"30000000000000000","parent_id":0,',
            '"royalty_bps":0,"training_job":0,"datanets":[{"id":1,"version":1}]}'
        );
        vm.assertEq(
            models.tokenURI(modelId),
            string.concat("data:application/json;base64,", Base64.encode(bytes(json)))
        );
    }

    function hexOf(bytes32 word) private pure returns (string memory) {
        return vm.toString(word);
    }
}
