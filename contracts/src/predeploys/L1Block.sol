// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {LiquidityController} from "./LiquidityController.sol";
import {Predeploys} from "./Predeploys.sol";

/// @title What L2 knows of L1
/// @notice The first transaction of every block sets these values. The storage layout is fixed: nodes
/// read the fee parameters from it. Also says that this chain's native asset is not ether (custom gas
/// token mode, version 2). The setters of forks before Isthmus are left out: a chain that begins at
/// Isthmus is never set by them.
contract L1Block {
    /// @notice Semantic version of this implementation.
    string public constant version = "1.0.0";
    /// `setL1BlockValuesIsthmus()` packs 172 bytes after its selector.
    uint256 private constant ISTHMUS_BYTES = 176;
    /// Where the chain keeps that its native asset is not ether, away from the fixed slots below.
    bytes32 private constant CUSTOM_GAS_TOKEN_SLOT =
        bytes32(uint256(keccak256("l1block.isCustomGasToken")) - 1);

    /// @notice Number of the L1 origin.
    uint64 public number;
    /// @notice Its time, in seconds.
    uint64 public timestamp;
    /// @notice Its base fee, in wei.
    uint256 public basefee;
    /// @notice Its hash.
    bytes32 public hash;
    /// @notice How many L2 blocks with this origin came before.
    uint64 public sequenceNumber;
    /// @notice Scales the blob base fee, in millionths.
    uint32 public blobBaseFeeScalar;
    /// @notice Scales the base fee, in millionths.
    uint32 public baseFeeScalar;
    /// @notice The account that posts batches.
    bytes32 public batcherHash;
    /// @notice Not used since Ecotone; zero.
    uint256 public l1FeeOverhead;
    /// @notice Not used since Ecotone; zero.
    uint256 public l1FeeScalar;
    /// @notice The L1 origin's blob base fee, in wei.
    uint256 public blobBaseFee;
    /// @notice Operator fee per transaction, in wei.
    uint64 public operatorFeeConstant;
    /// @notice Operator fee per gas, in millionths of a wei.
    uint32 public operatorFeeScalar;

    /// @notice Only the protocol calls this.
    error NotDepositor();
    /// @notice The values are not packed as Isthmus has them.
    error BadLength(uint256 length);
    /// @notice The mode is set for good.
    error CustomGasTokenAlreadySet();

    modifier onlyDepositor() {
        if (msg.sender != Predeploys.DEPOSITOR) revert NotDepositor();
        _;
    }

    /// @notice Sets all values, packed behind the selector: baseFeeScalar, blobBaseFeeScalar (4 bytes each),
    /// sequenceNumber, timestamp, number (8 each), basefee, blobBaseFee, hash, batcherHash (32 each),
    /// operatorFeeScalar (4), operatorFeeConstant (8).
    function setL1BlockValuesIsthmus() external onlyDepositor {
        if (msg.data.length != ISTHMUS_BYTES) revert BadLength(msg.data.length);
        baseFeeScalar = uint32(bytes4(msg.data[4:8]));
        blobBaseFeeScalar = uint32(bytes4(msg.data[8:12]));
        sequenceNumber = uint64(bytes8(msg.data[12:20]));
        timestamp = uint64(bytes8(msg.data[20:28]));
        number = uint64(bytes8(msg.data[28:36]));
        basefee = uint256(bytes32(msg.data[36:68]));
        blobBaseFee = uint256(bytes32(msg.data[68:100]));
        hash = bytes32(msg.data[100:132]);
        batcherHash = bytes32(msg.data[132:164]);
        operatorFeeScalar = uint32(bytes4(msg.data[164:168]));
        operatorFeeConstant = uint64(bytes8(msg.data[168:176]));
    }

    /// @notice Says for good that the native asset is not ether. Called once, at genesis.
    function setCustomGasToken() external onlyDepositor {
        if (isCustomGasToken()) revert CustomGasTokenAlreadySet();
        bytes32 slot = CUSTOM_GAS_TOKEN_SLOT;
        assembly ("memory-safe") {
            sstore(slot, 1)
        }
    }

    /// @notice Whether the native asset is something else than ether.
    function isCustomGasToken() public view returns (bool custom) {
        bytes32 slot = CUSTOM_GAS_TOKEN_SLOT;
        assembly ("memory-safe") {
            custom := sload(slot)
        }
    }

    /// @notice Name of the native asset.
    function gasPayingTokenName() external view returns (string memory) {
        return isCustomGasToken() ? _controller().gasPayingTokenName() : "Ether";
    }

    /// @notice Symbol of the native asset.
    function gasPayingTokenSymbol() external view returns (string memory) {
        return isCustomGasToken() ? _controller().gasPayingTokenSymbol() : "ETH";
    }

    /// @notice Version 1 of the mode named an ERC-20 on L1 here. Version 2 has none, but the messenger and
    /// the bridges refuse value only while this is not the mark for ether, so it is the controller.
    function gasPayingToken() external view returns (address token, uint8 decimals) {
        address ether_ = 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE;
        return (isCustomGasToken() ? Predeploys.LIQUIDITY_CONTROLLER : ether_, 18);
    }

    /// @notice In whose name the values are set.
    function DEPOSITOR_ACCOUNT() external pure returns (address) {
        return Predeploys.DEPOSITOR;
    }

    function _controller() private pure returns (LiquidityController) {
        return LiquidityController(payable(Predeploys.LIQUIDITY_CONTROLLER));
    }
}
