// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title The ERC-20 of the chain benchmark
/// @notice OpenZeppelin's, unchanged; whoever deploys it holds the whole supply.
contract Token is ERC20 {
    constructor() ERC20("Benchmark", "BENCH") {
        _mint(msg.sender, 1_000_000_000 ether);
    }
}
