// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Split} from "../src/inference/FeeSplit.sol";
import {IModelTerms} from "../src/model/ModelTypes.sol";

/// @notice The few forge cheatcodes a genesis needs.
interface Vm {
    function chainId(uint256 id) external;
    function warp(uint256 timestamp) external;
    function etch(address target, bytes calldata code) external;
    function setNonce(address account, uint64 nonce) external;
    function getCode(string calldata artifact) external view returns (bytes memory creation);
    function dumpState(string calldata path) external;
}

/// @title The devnet's genesis state
/// @notice Runs each constructor at its fixed address and on the devnet's chain id, so that immutables
/// (the EIP-712 domain among them) and storage are what a deployment there would leave, and dumps it.
contract Genesis {
    address public constant DATANET_REGISTRY = 0x4F4C000000000000000000000000000000000001;
    address public constant MODEL_REGISTRY = 0x4f4C000000000000000000000000000000000002;
    address public constant INFERENCE_MARKET = 0x4F4C000000000000000000000000000000000003;
    address public constant ATTRIBUTION_REFEREE = 0x4F4C000000000000000000000000000000000004;
    uint256 public constant CHAIN_ID = 161337;
    /// First account of the well-known development mnemonic.
    address public constant OWNER = 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266;

    Vm internal constant VM = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    function run() external {
        deploy();
        VM.dumpState("cache/genesis.json");
    }

    /// @notice The same state for tests, without the dump.
    function deploy() public {
        VM.chainId(CHAIN_ID);
        // Before any block, so that the split is in force from the first epoch on.
        VM.warp(0);
        _place(DATANET_REGISTRY, VM.getCode("DatanetRegistry.sol"));
        _place(MODEL_REGISTRY, bytes.concat(VM.getCode("ModelRegistry.sol"), abi.encode(DATANET_REGISTRY)));
        _place(INFERENCE_MARKET, marketCreation());
        _place(ATTRIBUTION_REFEREE, VM.getCode("AttributionReferee.sol"));
    }

    /// @notice Creation code and arguments of the market, with the devnet's defaults.
    function marketCreation() public view returns (bytes memory) {
        Split memory split = Split({
            platformBps: 500, computeBps: 1_500, modelBps: 1_500, stakersBps: 1_000, stakers: address(0)
        });
        bytes memory arguments = abi.encode(OWNER, OWNER, IModelTerms(MODEL_REGISTRY), split);
        return bytes.concat(VM.getCode("InferenceMarket.sol"), arguments);
    }

    function _place(address where, bytes memory creation) private {
        VM.etch(where, creation);
        (bool ok, bytes memory runtime) = where.call("");
        require(ok, "constructor reverted");
        VM.etch(where, runtime);
        VM.setNonce(where, 1);
    }
}
