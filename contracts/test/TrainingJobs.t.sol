// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {MerkleTree} from "../src/model/MerkleTree.sol";
import {Checkpoint, DatanetVersion, ModelParams, OpenedDesign} from "../src/model/ModelTypes.sol";
import {ModelRegistry} from "../src/model/ModelRegistry.sol";
import {OpenedGroups} from "../src/model/OpenedGroups.sol";
import {TrainingJobs} from "../src/model/TrainingJobs.sol";
import {World} from "./World.sol";

contract TrainingJobsTest is World {
    bytes32 private constant ROOT = keccak256("states");

    function announce(uint16 runs) private returns (uint256 jobId) {
        ModelParams memory made = params("trained");
        vm.prank(builder);
        return models.announceTraining(made.baseHash, made.recipeRoot, runs, made.datanets);
    }

    function one(uint16 run, uint64 step, bytes32 root) private pure returns (Checkpoint[] memory made) {
        made = new Checkpoint[](1);
        made[0] = Checkpoint({run: run, step: step, root: root});
    }

    function commit(uint256 jobId, uint16 run, uint64 step, bytes32 root) private {
        vm.prank(builder);
        models.trainingCheckpoints(jobId, one(run, step, root));
    }

    /// The tree of RFC 6962 as it is defined: split at the largest power of two below the count.
    function byDefinition(bytes32[] memory leaves, uint256 start, uint256 count)
        private
        pure
        returns (bytes32)
    {
        if (count == 1) return leaves[start];
        uint256 split = 1;
        while (split * 2 < count) split *= 2;
        return MerkleTree.node(
            byDefinition(leaves, start, split), byDefinition(leaves, start + split, count - split)
        );
    }

    function testFuzz_the_root_is_that_of_the_definition(bytes32 seed, uint8 count) public pure {
        bytes32[] memory leaves = new bytes32[](uint256(count) + 1);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = keccak256(abi.encode(seed, i));
        }
        bytes32 expected = byDefinition(leaves, 0, leaves.length);
        vm.assertEq(MerkleTree.root(leaves), expected);
    }

    function test_states_are_told_while_training_and_the_model_must_be_what_they_give() public {
        ModelParams memory made = params("trained");
        vm.expectEmit();
        emit TrainingJobs.TrainingAnnounced(1, builder, made.recipeRoot, made.baseHash, 3, made.datanets);
        made.jobId = announce(3);
        vm.assertEq(models.trainingJob(1).builder, builder);
        vm.assertEq(models.trainingJob(1).announcedAt, NOW);
        vm.expectEmit();
        emit TrainingJobs.TrainingCheckpoint(1, 2, 50, keccak256("first"));
        commit(1, 2, 50, keccak256("first"));
        commit(1, 0, 100, ROOT);
        commit(1, 2, 100, keccak256("last"));
        vm.assertEq(models.checkpointOf(1, 2).root, keccak256("last"));
        vm.assertEq(models.checkpointOf(1, 2).step, 100);
        vm.assertEq(models.checkpointOf(1, 1).root, 0);

        bytes32 left = MerkleTree.node(MerkleTree.leaf(ROOT), MerkleTree.leaf(0));
        bytes32 committed = MerkleTree.node(left, MerkleTree.leaf(keccak256("last")));
        vm.assertEq(models.committedTraceRoot(1), committed);
        registerReverts(
            made, abi.encodeWithSelector(TrainingJobs.TraceMismatch.selector, 1, committed, made.traceRoot)
        );
        made.traceRoot = committed;
        vm.expectEmit();
        emit TrainingJobs.TrainingFinished(1, 2, committed);
        uint256 id = registerModel(builder, made);
        vm.assertEq(models.model(id).jobId, 1);
        vm.assertEq(models.trainingJob(1).modelId, id);

        bytes memory finished = abi.encodeWithSelector(TrainingJobs.JobFinished.selector, 1, id);
        vm.prank(builder);
        vm.expectRevert(finished);
        models.trainingCheckpoints(1, one(0, 150, ROOT));
        made.name = "again";
        registerReverts(made, finished);
    }

    function registerReverts(ModelParams memory made, bytes memory reason) private {
        vm.prank(builder);
        vm.expectRevert(reason);
        models.register(made);
    }

    function test_a_model_has_the_base_recipe_data_and_builder_of_its_job() public {
        uint256 jobId = announce(1);
        commit(jobId, 0, 50, ROOT);
        ModelParams memory made = params("trained");
        (made.jobId, made.traceRoot) = (jobId, models.committedTraceRoot(jobId));
        bytes memory mismatch = abi.encodeWithSelector(TrainingJobs.JobMismatch.selector, jobId);
        made.baseHash = ROOT;
        registerReverts(made, mismatch);
        made.baseHash = keccak256("base");
        made.recipeRoot = ROOT;
        registerReverts(made, mismatch);
        made.recipeRoot = keccak256("recipe");
        made.datanets[0].datanetId = createDatanet();
        registerReverts(made, mismatch);
        made.datanets[0].datanetId = datanetId;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(TrainingJobs.NotJobBuilder.selector, jobId, alice));
        models.register(made);
        made.jobId = 9;
        registerReverts(made, abi.encodeWithSelector(TrainingJobs.UnknownJob.selector, 9));
        made.jobId = jobId;
        registerModel(builder, made);
    }

    function test_the_steps_of_a_run_ascend_and_only_the_builder_commits_them() public {
        uint256 jobId = announce(2);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(TrainingJobs.NotJobBuilder.selector, jobId, alice));
        models.trainingCheckpoints(jobId, one(0, 50, ROOT));
        commit(jobId, 1, 50, ROOT);
        badCheckpoint(jobId, 1, 50, ROOT);
        badCheckpoint(jobId, 1, 49, ROOT);
        badCheckpoint(jobId, 0, 0, ROOT);
        badCheckpoint(jobId, 2, 50, ROOT);
        badCheckpoint(jobId, 0, 50, 0);
        commit(jobId, 1, 51, ROOT);
    }

    function badCheckpoint(uint256 jobId, uint16 run, uint64 step, bytes32 root) private {
        vm.prank(builder);
        vm.expectRevert(abi.encodeWithSelector(TrainingJobs.BadCheckpoint.selector, jobId, run, step));
        models.trainingCheckpoints(jobId, one(run, step, root));
    }

    function test_a_job_names_hashes_runs_and_committed_data() public {
        DatanetVersion[] memory data = params("x").datanets;
        badTraining(0, ROOT, 1, data);
        badTraining(ROOT, 0, 1, data);
        badTraining(ROOT, ROOT, 0, data);
        badTraining(ROOT, ROOT, 129, data);
        data[0].version = 7;
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.UnknownDatanetVersion.selector, datanetId, 7));
        models.announceTraining(ROOT, ROOT, 1, data);
    }

    function badTraining(bytes32 base, bytes32 recipe, uint16 runs, DatanetVersion[] memory data) private {
        vm.expectRevert(abi.encodeWithSelector(TrainingJobs.BadTraining.selector, base, recipe, runs));
        models.announceTraining(base, recipe, runs, data);
    }

    function test_groups_are_opened_by_the_owner_with_a_training_on_the_models_data() public {
        uint256 jobId = announce(2);
        commit(jobId, 1, 50, ROOT);
        bytes32 trace = models.committedTraceRoot(jobId);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.NotModelOwner.selector, modelId, alice));
        models.openGroups(modelId, jobId, ROOT, trace);
        vm.startPrank(builder);
        vm.expectRevert(abi.encodeWithSelector(OpenedGroups.NoDesign.selector, modelId));
        models.openGroups(modelId, jobId, 0, trace);
        vm.expectRevert(abi.encodeWithSelector(TrainingJobs.TraceMismatch.selector, jobId, trace, ROOT));
        models.openGroups(modelId, jobId, ROOT, ROOT);
        vm.expectEmit();
        emit OpenedGroups.GroupsOpened(modelId, 0, jobId, keccak256("recipe"), ROOT);
        vm.assertEq(models.openGroups(modelId, jobId, ROOT, trace), 0);
        vm.stopPrank();
        vm.assertEq(models.openingCount(modelId), 1);
        OpenedDesign memory opened = models.opening(modelId, 0);
        vm.assertEq(opened.designRoot, ROOT);
        vm.assertEq(opened.openedAt, NOW);
        vm.assertEq(opened.traceRoot, trace);
        vm.assertEq(models.trainingJob(jobId).modelId, modelId);
    }

    function test_the_longest_training_is_finished_in_one_transaction() public {
        ModelParams memory made = params("trained");
        made.jobId = announce(128);
        Checkpoint[] memory all = new Checkpoint[](128);
        for (uint16 run = 0; run < 128; ++run) {
            all[run] = Checkpoint({run: run, step: 400, root: keccak256(abi.encode(run))});
        }
        vm.prank(builder);
        models.trainingCheckpoints(made.jobId, all);
        made.traceRoot = models.committedTraceRoot(made.jobId);
        uint256 gas = gasleft();
        registerModel(builder, made);
        vm.assertLt(gas - gasleft(), 2_000_000);
    }
}
