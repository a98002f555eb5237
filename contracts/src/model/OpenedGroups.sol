// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {OpenedDesign} from "./ModelTypes.sol";

/// @title Groups of contributors that were opened
/// @notice A model with more contributors than one design holds groups them. Later the groups that
/// earned most get a design of their own: what their members do to an answer is then measured, not
/// apportioned. The model stays what it is; each opening is added and never changed.
abstract contract OpenedGroups {
    mapping(uint256 modelId => OpenedDesign[]) private _opened;

    /// @notice From now on receipts of the model may name this opening.
    event GroupsOpened(
        uint256 indexed modelId,
        uint256 indexed index,
        uint256 indexed jobId,
        bytes32 recipeRoot,
        bytes32 designRoot
    );

    /// @notice An opening commits to its counterfactual adapters.
    error NoDesign(uint256 modelId);

    /// @notice Number of openings; they are numbered from 0.
    function openingCount(uint256 modelId) external view returns (uint256) {
        return _opened[modelId].length;
    }

    /// @notice An opening. Reverts if there is none of this number.
    function opening(uint256 modelId, uint256 index) external view returns (OpenedDesign memory) {
        return _opened[modelId][index];
    }

    function _open(uint256 modelId, OpenedDesign memory made) internal returns (uint256 index) {
        if (made.designRoot == 0) revert NoDesign(modelId);
        index = _opened[modelId].length;
        _opened[modelId].push(made);
        emit GroupsOpened(modelId, index, made.jobId, made.recipeRoot, made.designRoot);
    }
}
