// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {MerkleTree} from "./MerkleTree.sol";
import {Checkpoint, DatanetVersion, TrainingJob} from "./ModelTypes.sol";

/// @title Training that is told while it goes
/// @notice A builder announces a training before it begins: base, recipe and data. As the runs of the
/// design go on it commits to their states, each commitment covering every state of the run so far. A
/// model that names the job must have this base, recipe and data, and the trace that was committed, so
/// what was trained cannot be made up afterwards, and one segment between two states can be trained
/// again and compared.
abstract contract TrainingJobs {
    /// @notice Most runs of one job: a design of order 64, folded.
    uint256 public constant MAX_RUNS = 128;

    uint256 private _jobs;
    mapping(uint256 jobId => TrainingJob) private _job;
    mapping(uint256 jobId => mapping(uint256 run => Checkpoint)) private _latest;

    /// @notice A training begins. `runs` counts the published adapter, run 0, and the base among them.
    event TrainingAnnounced(
        uint256 indexed jobId,
        address indexed builder,
        bytes32 indexed recipeRoot,
        bytes32 baseHash,
        uint16 runs,
        DatanetVersion[] datanets
    );
    /// @notice After `step` steps the states of `run` have this Merkle root.
    event TrainingCheckpoint(uint256 indexed jobId, uint256 indexed run, uint64 indexed step, bytes32 root);
    /// @notice The training has ended; nothing is added to it any more.
    event TrainingFinished(uint256 indexed jobId, uint256 indexed modelId, bytes32 traceRoot);

    /// @notice No hashes, or no or too many runs.
    error BadTraining(bytes32 baseHash, bytes32 recipeRoot, uint16 runs);
    /// @notice There is no such job.
    error UnknownJob(uint256 jobId);
    /// @notice Only the builder that announced the job may do this.
    error NotJobBuilder(uint256 jobId, address caller);
    /// @notice The job has become a model.
    error JobFinished(uint256 jobId, uint256 modelId);
    /// @notice A run that the job does not have, no root, or a step that is not after the last one.
    error BadCheckpoint(uint256 jobId, uint256 run, uint64 step);
    /// @notice The model has another base, recipe or data than the job that it names.
    error JobMismatch(uint256 jobId);
    /// @notice The states that were committed while training have another root.
    error TraceMismatch(uint256 jobId, bytes32 committed, bytes32 stated);

    /// @notice Announces a training. Anybody may call. Emits {TrainingAnnounced}.
    /// @param baseHash Hash of the base model.
    /// @param recipeRoot Commits to recipe, design and players.
    /// @param runs Runs of the design, 1 to `MAX_RUNS`.
    /// @param datanets What it is trained on, strictly ascending by Datanet.
    /// @return jobId Its number, from 1.
    function announceTraining(
        bytes32 baseHash,
        bytes32 recipeRoot,
        uint16 runs,
        DatanetVersion[] calldata datanets
    ) external returns (uint256 jobId) {
        if (baseHash == 0 || recipeRoot == 0 || runs == 0 || runs > MAX_RUNS) {
            revert BadTraining(baseHash, recipeRoot, runs);
        }
        _checkDatanets(datanets);
        jobId = ++_jobs;
        _job[jobId] = TrainingJob({
            builder: msg.sender,
            announcedAt: uint64(block.timestamp),
            runs: runs,
            modelId: 0,
            baseHash: baseHash,
            recipeRoot: recipeRoot,
            datanetsHash: keccak256(abi.encode(datanets))
        });
        emit TrainingAnnounced(jobId, msg.sender, recipeRoot, baseHash, runs, datanets);
    }

    /// @notice Commits to states of a job's runs. Its builder only, until a model names the job; the
    /// steps of a run ascend. Emits {TrainingCheckpoint} for each.
    function trainingCheckpoints(uint256 jobId, Checkpoint[] calldata made) external {
        TrainingJob storage job = _ongoing(jobId);
        for (uint256 i = 0; i < made.length; ++i) {
            Checkpoint calldata one = made[i];
            Checkpoint storage latest = _latest[jobId][one.run];
            if (one.run >= job.runs || one.root == 0 || one.step <= latest.step) {
                revert BadCheckpoint(jobId, one.run, one.step);
            }
            (latest.run, latest.step, latest.root) = (one.run, one.step, one.root);
            emit TrainingCheckpoint(jobId, one.run, one.step, one.root);
        }
    }

    /// @notice A job. Reverts with {UnknownJob}.
    function trainingJob(uint256 jobId) external view returns (TrainingJob memory) {
        return _announced(jobId);
    }

    /// @notice What was committed last of a run; all zero before that. Earlier ones are in the events.
    function checkpointOf(uint256 jobId, uint256 run) external view returns (Checkpoint memory) {
        return _latest[jobId][run];
    }

    /// @notice Merkle root over what was committed last of each run, zero for a run without states: the
    /// trace root of the model that is made.
    function committedTraceRoot(uint256 jobId) public view returns (bytes32) {
        bytes32[] memory leaves = new bytes32[](_announced(jobId).runs);
        for (uint256 run = 0; run < leaves.length; ++run) {
            leaves[run] = MerkleTree.leaf(_latest[jobId][run].root);
        }
        return MerkleTree.root(leaves);
    }

    /// Ends a job with the model that it gave. Reverts unless the caller announced it with this base and
    /// data, and the committed states are those of `traceRoot`.
    function _finishTraining(
        uint256 jobId,
        uint256 modelId,
        bytes32 baseHash,
        bytes32 datanetsHash,
        bytes32 traceRoot
    ) internal returns (TrainingJob storage job) {
        job = _ongoing(jobId);
        if (job.baseHash != baseHash || job.datanetsHash != datanetsHash) revert JobMismatch(jobId);
        bytes32 committed = committedTraceRoot(jobId);
        if (committed != traceRoot) revert TraceMismatch(jobId, committed, traceRoot);
        job.modelId = modelId;
        emit TrainingFinished(jobId, modelId, traceRoot);
    }

    /// Reverts unless these are committed versions, 1 to the most a model has, strictly ascending.
    function _checkDatanets(DatanetVersion[] calldata datanets) internal view virtual;

    function _announced(uint256 jobId) private view returns (TrainingJob storage job) {
        job = _job[jobId];
        if (job.builder == address(0)) revert UnknownJob(jobId);
    }

    function _ongoing(uint256 jobId) private view returns (TrainingJob storage job) {
        job = _announced(jobId);
        if (job.builder != msg.sender) revert NotJobBuilder(jobId, msg.sender);
        if (job.modelId != 0) revert JobFinished(jobId, job.modelId);
    }
}
