// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {NativeAssetLiquidity} from "./NativeAssetLiquidity.sol";
import {Predeploys} from "./Predeploys.sol";

/// @title Who may bring the native asset into circulation
/// @notice The owner authorises minters, such as the L2 side of a bridge. A minter moves OPEN out of the
/// NativeAssetLiquidity and back. Also says what the asset is called. Custom gas token mode, version 2.
///
/// Invariant: holds nothing between transactions; what comes goes on at once.
contract LiquidityController is Initializable, Ownable {
    /// @notice Semantic version of this implementation.
    string public constant version = "1.0.0";

    /// Owns the implementation, which nobody uses; the proxy's owner is set by `initialize`.
    address private constant NOBODY = 0x000000000000000000000000000000000000dEaD;
    NativeAssetLiquidity private constant LIQUIDITY = NativeAssetLiquidity(Predeploys.NATIVE_ASSET_LIQUIDITY);

    /// @notice Who may mint and burn.
    mapping(address account => bool) public minters;
    /// @notice Name of the native asset.
    string public gasPayingTokenName;
    /// @notice Its symbol.
    string public gasPayingTokenSymbol;

    /// @notice `minter` may mint and burn from now on.
    event MinterAuthorized(address indexed minter);
    /// @notice `minter` may no longer.
    event MinterDeauthorized(address indexed minter);
    /// @notice `amount` wei began to circulate, at `to`.
    event LiquidityMinted(address indexed minter, address indexed to, uint256 amount);
    /// @notice `amount` wei ceased to circulate.
    event LiquidityBurned(address indexed minter, uint256 amount);

    /// @notice The caller may not do that.
    error LiquidityController_Unauthorized();
    /// @notice Nothing was sent to burn.
    error LiquidityController_NothingToBurn();

    modifier onlyMinter() {
        if (!minters[msg.sender]) revert LiquidityController_Unauthorized();
        _;
    }

    constructor() Ownable(NOBODY) {
        _disableInitializers();
    }

    /// @notice Sets the owner and what the native asset is called. Once.
    function initialize(address owner_, string calldata name_, string calldata symbol_) external initializer {
        if (owner_ == address(0)) revert OwnableInvalidOwner(owner_);
        _transferOwnership(owner_);
        (gasPayingTokenName, gasPayingTokenSymbol) = (name_, symbol_);
    }

    /// @notice Takes what the NativeAssetLiquidity sends on the way to its receiver.
    receive() external payable {
        if (msg.sender != address(LIQUIDITY)) revert LiquidityController_Unauthorized();
    }

    /// @notice Lets `minter` mint and burn.
    function authorizeMinter(address minter) external onlyOwner {
        minters[minter] = true;
        emit MinterAuthorized(minter);
    }

    /// @notice No longer lets `minter` mint and burn.
    function deauthorizeMinter(address minter) external onlyOwner {
        minters[minter] = false;
        emit MinterDeauthorized(minter);
    }

    /// @notice Sends exactly `amount` wei that did not circulate to `to`, which must accept it.
    function mint(address to, uint256 amount) external onlyMinter {
        emit LiquidityMinted(msg.sender, to, amount);
        LIQUIDITY.withdraw(amount);
        Address.sendValue(payable(to), amount);
    }

    /// @notice Takes the value sent out of circulation.
    function burn() external payable onlyMinter {
        if (msg.value == 0) revert LiquidityController_NothingToBurn();
        emit LiquidityBurned(msg.sender, msg.value);
        LIQUIDITY.deposit{value: msg.value}();
    }

    /// @notice Name of the native asset, by the specification's name for it.
    function gasPayingAssetName() external view returns (string memory) {
        return gasPayingTokenName;
    }

    /// @notice Its symbol, by the specification's name for it.
    function gasPayingAssetSymbol() external view returns (string memory) {
        return gasPayingTokenSymbol;
    }
}
