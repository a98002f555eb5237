// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {L1Block} from "./L1Block.sol";
import {Predeploys} from "./Predeploys.sol";

/// @title Messages to L1
/// @notice A withdrawal is proven on L1 against this contract's storage root, which is in every header;
/// hence its layout is fixed: `sentMessages` in slot 0, the counter in slot 1. On a chain whose native
/// asset is not ether a message carries no value. There is no `burn()`: value that is forced on the
/// contract stays where it is and out of circulation.
contract L2ToL1MessagePasser {
    /// @notice Semantic version of this implementation.
    string public constant version = "1.0.0";
    /// @notice In the upper two bytes of every nonce.
    uint16 public constant MESSAGE_VERSION = 1;
    /// L1 gas of a withdrawal made by plain transfer.
    uint256 private constant RECEIVE_GAS_LIMIT = 100_000;

    /// @notice Hashes of the messages that were sent.
    mapping(bytes32 withdrawalHash => bool) public sentMessages;
    uint240 private _nonce;

    /// @notice A message was sent.
    event MessagePassed(
        uint256 indexed nonce,
        address indexed sender,
        address indexed target,
        uint256 value,
        uint256 gasLimit,
        bytes data,
        bytes32 withdrawalHash
    );

    /// @notice The native asset cannot be withdrawn as ether.
    error L2ToL1MessagePasser_NotAllowedOnCGTMode();

    /// @notice Withdraws the value sent to the same address on L1.
    receive() external payable {
        _send(msg.sender, RECEIVE_GAS_LIMIT, "");
    }

    /// @notice Sends `data` to `target` on L1, to be run with at least `gasLimit` gas.
    function initiateWithdrawal(address target, uint256 gasLimit, bytes calldata data) external payable {
        _send(target, gasLimit, data);
    }

    /// @notice Nonce of the next message, with the version in its upper two bytes.
    function messageNonce() public view returns (uint256) {
        return (uint256(MESSAGE_VERSION) << 240) | _nonce;
    }

    function _send(address target, uint256 gasLimit, bytes memory data) private {
        if (msg.value > 0 && L1Block(Predeploys.L1_BLOCK).isCustomGasToken()) {
            revert L2ToL1MessagePasser_NotAllowedOnCGTMode();
        }
        uint256 nonce = messageNonce();
        bytes32 withdrawalHash = keccak256(abi.encode(nonce, msg.sender, target, msg.value, gasLimit, data));
        sentMessages[withdrawalHash] = true;
        _nonce += 1;
        emit MessagePassed(nonce, msg.sender, target, msg.value, gasLimit, data, withdrawalHash);
    }
}
