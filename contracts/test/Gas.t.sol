// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Payee, Receipt} from "../src/inference/Receipts.sol";
import {World} from "./World.sol";

/// What settling costs, whole transactions with calldata, in the steady state: everybody who is paid has
/// been paid before. `snapshots/GasTest.json` holds the figures.
contract GasTest is World {
    function receipts(uint256 first, uint256 count)
        private
        view
        returns (Receipt[] memory made, bytes[] memory signatures)
    {
        made = new Receipt[](count);
        signatures = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            made[i] = receipt(keccak256(abi.encode(first + i)), 1_000, 1_000);
            made[i].requestHash = keccak256(abi.encode("request", first + i));
            made[i].answerHash = keccak256(abi.encode("answer", first + i));
            made[i].evidenceHash = keccak256(abi.encode("evidence", first + i));
            made[i].payees = new Payee[](4);
            for (uint160 j = 0; j < 4; ++j) {
                // Addresses with random bytes, for their calldata costs.
                address account = address(uint160(uint256(keccak256("payee")) >> 96) + j);
                made[i].payees[j] = Payee({account: account, share: 0x2f3a5c7d + uint64(j)});
            }
            signatures[i] = signed(made[i], OPERATOR_KEY);
        }
    }

    function settleMany(uint256 first, uint256 count) private {
        (Receipt[] memory made, bytes[] memory signatures) = receipts(first, count);
        market.settle(made, signatures);
    }

    /// forge-config: default.isolate = true
    /// forge-config: full.isolate = true
    function test_gas_of_settling() public {
        settleMany(0, 1);
        settleMany(100, 1);
        uint256 one = vm.snapshotGasLastCall("settle 1 receipt with 4 payees");
        settleMany(200, 2);
        uint256 two = vm.snapshotGasLastCall("settle 2 receipts with 4 payees each");
        settleMany(300, 32);
        uint256 many = vm.snapshotGasLastCall("settle 32 receipts with 4 payees each");
        vm.assertLt(one, 250_000);
        vm.assertLt(two - one, 200_000);
        vm.assertLt(many / 32, 200_000);
        vm.prank(owner);
        market.setDustThreshold(0.01 ether);
        settleMany(400, 1);
        vm.snapshotGasLastCall("settle 1 receipt with 4 payees, first dust");
        settleMany(500, 1);
        vm.snapshotGasLastCall("settle 1 receipt with 4 payees, dust");
    }
}
