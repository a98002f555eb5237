// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Merkle trees in the shape of RFC 6962 with keccak-256
/// @notice Leaf hash = keccak256(0x00 ‖ data), node hash = keccak256(0x01 ‖ left ‖ right), as
/// everywhere in OpenLedger.
library MerkleTree {
    /// @notice Hash of a leaf that holds one word.
    function leaf(bytes32 data) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x00), data));
    }

    /// @notice Hash of an inner node.
    function node(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x01), left, right));
    }

    /// @notice Root over leaf hashes, at least one. Overwrites `leaves`.
    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        // Level by level, a last one without a neighbour moving up as it is: the splits at powers of two
        // of RFC 6962 §2.1.
        uint256 count = leaves.length;
        while (count > 1) {
            uint256 half = count / 2;
            for (uint256 i = 0; i < half; ++i) {
                leaves[i] = node(leaves[2 * i], leaves[2 * i + 1]);
            }
            if (count % 2 == 1) leaves[half++] = leaves[count - 1];
            count = half;
        }
        return leaves[0];
    }
}
