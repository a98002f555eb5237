// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Checkpoints of a model's training runs
/// @notice The state after a step of a run, committed by the model's owner and never changed, so that one
/// segment between two checkpoints can be trained again and compared.
abstract contract TrainingCheckpoints {
    /// @notice Most runs of one model: a design of order 64, folded.
    uint256 public constant MAX_RUNS = 128;

    mapping(uint256 modelId => mapping(uint256 run => mapping(uint64 step => bytes32))) private _roots;

    /// @notice After `step` steps the state of `run` has this root. Run 0 is the published adapter.
    event TrainingCheckpoint(uint256 indexed modelId, uint256 indexed run, uint64 indexed step, bytes32 root);

    /// @notice A run beyond `MAX_RUNS`, or no root.
    error BadCheckpoint(uint256 run, bytes32 root);
    /// @notice The run has a checkpoint at this step already.
    error CheckpointTaken(uint256 modelId, uint256 run, uint64 step);

    /// @notice Commits to the state of a run. Token owner only, once per step. Emits
    /// {TrainingCheckpoint}.
    function trainingCheckpoint(uint256 modelId, uint256 run, uint64 step, bytes32 root) external {
        _checkModelOwner(modelId);
        if (run >= MAX_RUNS || root == 0) revert BadCheckpoint(run, root);
        if (_roots[modelId][run][step] != 0) revert CheckpointTaken(modelId, run, step);
        _roots[modelId][run][step] = root;
        emit TrainingCheckpoint(modelId, run, step, root);
    }

    /// @notice Root of a run's state after `step` steps; zero if it was not committed.
    function checkpointOf(uint256 modelId, uint256 run, uint64 step) external view returns (bytes32) {
        return _roots[modelId][run][step];
    }

    /// Reverts unless the caller owns the model's token.
    function _checkModelOwner(uint256 modelId) internal view virtual;
}
