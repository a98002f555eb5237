// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Contribution, Datanet, DatanetRegistry, Version} from "../src/datanet/DatanetRegistry.sol";
import {World} from "./World.sol";

contract DatanetRegistryTest is World {
    function commitReverts(address by, uint64 records, Contribution[] memory contributions, bytes memory why)
        private
    {
        vm.prank(by);
        vm.expectRevert(why);
        datanets.commitVersion(datanetId, bytes32(uint256(9)), records, contributions);
    }

    function test_whoever_creates_a_datanet_curates_it() public {
        vm.expectEmit();
        emit DatanetRegistry.DatanetCreated(2, alice, "law", "MIT", "ipfs://x");
        vm.prank(alice);
        vm.assertEq(datanets.createDatanet("law", "MIT", "ipfs://x"), 2);
        Datanet memory made = datanets.datanet(2);
        vm.assertEq(made.curator, alice);
        vm.assertEq(made.name, "law");
        vm.assertEq(made.licence, "MIT");
        vm.assertEq(made.uri, "ipfs://x");
        vm.assertEq(made.createdAt, NOW);
        vm.assertEq(made.versions, 0);
        vm.assertEq(datanets.datanetCount(), 2);
    }

    function test_texts_are_bounded() public {
        bytes memory long = new bytes(65);
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.BadTextLength.selector, 0, 64));
        datanets.createDatanet("", "MIT", "");
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.BadTextLength.selector, 65, 64));
        datanets.createDatanet(string(long), "MIT", "");
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.BadTextLength.selector, 0, 64));
        datanets.createDatanet("x", "", "");
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.BadTextLength.selector, 257, 256));
        datanets.createDatanet("x", "MIT", string(new bytes(257)));
    }

    function test_versions_are_numbered_from_one_and_stay() public {
        Version memory first = datanets.version(datanetId, 1);
        Contribution[] memory one = new Contribution[](1);
        one[0] = Contribution({contributor: alice, records: 7, root: bytes32(uint256(4))});
        vm.expectEmit();
        emit DatanetRegistry.VersionCommitted(datanetId, 2, bytes32(uint256(9)), 7, one);
        vm.prank(curator);
        vm.assertEq(datanets.commitVersion(datanetId, bytes32(uint256(9)), 7, one), 2);
        vm.assertEq(datanets.versionCount(datanetId), 2);
        vm.assertEq(datanets.version(datanetId, 1).root, first.root);
        vm.assertEq(datanets.version(datanetId, 2).root, bytes32(uint256(9)));
        vm.assertEq(datanets.version(datanetId, 2).committedAt, NOW);
        vm.assertEq(datanets.contributors(datanetId, 1).length, 2);
        vm.assertTrue(datanets.exists(datanetId, 2));
        vm.assertFalse(datanets.exists(datanetId, 3));
        vm.assertFalse(datanets.exists(datanetId, 0));
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.UnknownVersion.selector, datanetId, uint64(3)));
        datanets.version(datanetId, 3);
    }

    function test_only_the_curator_commits() public {
        commitReverts(
            alice,
            5,
            twoContributions(),
            abi.encodeWithSelector(DatanetRegistry.NotCurator.selector, datanetId, alice)
        );
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.UnknownDatanet.selector, 99));
        datanets.commitVersion(99, bytes32(uint256(1)), 5, twoContributions());
    }

    function test_records_must_add_up() public {
        commitReverts(
            curator,
            6,
            twoContributions(),
            abi.encodeWithSelector(DatanetRegistry.RecordsMismatch.selector, uint64(6), 5)
        );
    }

    function test_a_sum_of_records_cannot_wrap_around() public {
        Contribution[] memory list = twoContributions();
        list[0].records = type(uint64).max;
        list[1].records = 6;
        commitReverts(
            curator,
            5,
            list,
            abi.encodeWithSelector(
                DatanetRegistry.RecordsMismatch.selector, uint64(5), uint256(type(uint64).max) + 6
            )
        );
    }

    function test_a_contributor_is_listed_once_and_is_somebody() public {
        Contribution[] memory list = twoContributions();
        list[1].contributor = alice;
        commitReverts(
            curator, 5, list, abi.encodeWithSelector(DatanetRegistry.ContributorsNotAscending.selector, 1)
        );
        list[0].contributor = address(0);
        commitReverts(
            curator, 5, list, abi.encodeWithSelector(DatanetRegistry.ContributorsNotAscending.selector, 0)
        );
    }

    function test_empty_contributions_and_zero_roots_are_refused() public {
        Contribution[] memory list = twoContributions();
        (list[0].records, list[1].records) = (0, 5);
        commitReverts(curator, 5, list, abi.encodeWithSelector(DatanetRegistry.EmptyContribution.selector, 0));
        list = twoContributions();
        list[1].root = 0;
        commitReverts(curator, 5, list, abi.encodeWithSelector(DatanetRegistry.ZeroRoot.selector));
        vm.prank(curator);
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.ZeroRoot.selector));
        datanets.commitVersion(datanetId, 0, 5, twoContributions());
    }

    function test_contributors_are_bounded() public {
        commitReverts(
            curator,
            0,
            new Contribution[](0),
            abi.encodeWithSelector(DatanetRegistry.BadContributorCount.selector, 0)
        );
        commitReverts(
            curator,
            257,
            new Contribution[](257),
            abi.encodeWithSelector(DatanetRegistry.BadContributorCount.selector, 257)
        );
    }

    function testFuzz_every_contributor_of_a_full_version_is_found(uint8 count, uint160 step) public {
        step = uint160(bound(step, 1, type(uint160).max / 300));
        uint256 size = uint256(count) + 1;
        Contribution[] memory list = new Contribution[](size);
        for (uint160 i = 0; i < size; ++i) {
            list[i] = Contribution({
                contributor: address(step * (i + 1)), records: uint64(i + 1), root: bytes32(uint256(i) + 1)
            });
        }
        vm.prank(curator);
        uint64 version =
            datanets.commitVersion(datanetId, bytes32(uint256(1)), uint64(size * (size + 1) / 2), list);
        for (uint256 i = 0; i < size; i += 1 + size / 16) {
            vm.assertEq(datanets.contributionOf(datanetId, version, list[i].contributor).records, i + 1);
        }
        vm.assertEq(datanets.contributionOf(datanetId, version, address(step * 299)).records, 0);
        if (step > 1) vm.assertEq(datanets.contributionOf(datanetId, version, address(step + 1)).records, 0);
    }

    function test_the_curators_role_passes_in_two_steps() public {
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.NotCurator.selector, datanetId, alice));
        datanets.offerCurator(datanetId, alice);
        vm.prank(curator);
        datanets.offerCurator(datanetId, alice);
        vm.assertEq(datanets.datanet(datanetId).curator, curator);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.NotOffered.selector, datanetId, bob));
        datanets.acceptCurator(datanetId);
        vm.expectEmit();
        emit DatanetRegistry.CuratorChanged(datanetId, curator, alice);
        vm.prank(alice);
        datanets.acceptCurator(datanetId);
        vm.assertEq(datanets.datanet(datanetId).curator, alice);
        commitReverts(
            curator,
            5,
            twoContributions(),
            abi.encodeWithSelector(DatanetRegistry.NotCurator.selector, datanetId, curator)
        );
    }

    function test_an_offer_can_be_withdrawn() public {
        vm.startPrank(curator);
        datanets.offerCurator(datanetId, alice);
        datanets.offerCurator(datanetId, address(0));
        vm.stopPrank();
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(DatanetRegistry.NotOffered.selector, datanetId, alice));
        datanets.acceptCurator(datanetId);
    }
}
