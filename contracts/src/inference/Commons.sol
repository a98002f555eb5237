// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The commons of each Datanet
/// @notice Holds what an answer's fee leaves when every earner has been paid: shares nobody earned,
/// rounding, and the stakers' part while nobody stakes.
abstract contract Commons {
    mapping(uint256 datanetId => uint256) private _commons;

    /// @notice Receipt `receiptId` left `amount` to a Datanet's commons.
    event CommonsCredited(uint256 indexed datanetId, bytes32 indexed receiptId, uint256 amount);
    /// @notice `amount` of a Datanet's commons was granted to `to`.
    event CommonsGranted(uint256 indexed datanetId, address indexed to, uint256 amount);

    /// @notice The commons do not hold this much.
    error InsufficientCommons(uint256 datanetId, uint256 balance, uint256 needed);

    /// @notice What a Datanet's commons hold, in wei.
    function commonsOf(uint256 datanetId) external view returns (uint256) {
        return _commons[datanetId];
    }

    /// Credits `amount` in equal parts, rounded down; the remainder goes to the first. `datanetIds` is
    /// never empty and has at most 16 entries: the model registry sees to both.
    function _creditCommons(bytes32 receiptId, uint256[] memory datanetIds, uint256 amount) internal {
        if (amount == 0) return;
        uint256 part = amount / datanetIds.length;
        uint256 first = amount - part * (datanetIds.length - 1);
        for (uint256 i = 0; i < datanetIds.length; ++i) {
            uint256 credited = i == 0 ? first : part;
            if (credited == 0) continue;
            _commons[datanetIds[i]] += credited;
            emit CommonsCredited(datanetIds[i], receiptId, credited);
        }
    }

    function _debitCommons(uint256 datanetId, address to, uint256 amount) internal {
        uint256 balance = _commons[datanetId];
        if (amount > balance) revert InsufficientCommons(datanetId, balance, amount);
        _commons[datanetId] = balance - amount;
        emit CommonsGranted(datanetId, to, amount);
    }
}
