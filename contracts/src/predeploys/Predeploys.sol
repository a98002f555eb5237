// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Addresses that the OP Stack fixes
library Predeploys {
    /// @notice In whose name the protocol sets the L1 attributes; nobody has its key.
    address internal constant DEPOSITOR = 0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001;
    /// @notice What L2 knows of L1.
    address internal constant L1_BLOCK = 0x4200000000000000000000000000000000000015;
    /// @notice Messages to L1; its storage root is in every header.
    address internal constant L2_TO_L1_MESSAGE_PASSER = 0x4200000000000000000000000000000000000016;
    /// @notice OPEN that does not circulate.
    address internal constant NATIVE_ASSET_LIQUIDITY = 0x4200000000000000000000000000000000000029;
    /// @notice Who may bring it into circulation, and what the asset is called.
    address internal constant LIQUIDITY_CONTROLLER = 0x420000000000000000000000000000000000002a;
}
