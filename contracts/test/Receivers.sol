// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {InferenceMarket} from "../src/inference/InferenceMarket.sol";
import {Receipt} from "../src/inference/Receipts.sol";

/// Refuses money until told otherwise.
contract Reverting {
    bool public open;

    function accept() external {
        open = true;
    }

    receive() external payable {
        require(open, "no");
    }
}

/// Burns all the gas it is given.
contract GasGriefing {
    receive() external payable {
        while (true) {}
    }
}

/// Answers a push with a megabyte of return data.
contract ReturnBomb {
    fallback() external payable {
        assembly {
            revert(0, 1000000)
        }
    }
}

/// Tries every way back into the market while it is being paid, and takes the money if all are closed.
contract Reentering {
    InferenceMarket private immutable MARKET;
    uint256 public attempts;
    uint256 public entered;

    constructor(InferenceMarket market) {
        MARKET = market;
    }

    receive() external payable {
        attempts += 1;
        try MARKET.claim() {
            entered += 1;
        } catch {}
    }
}

/// As `Reentering`, but with all gas, through a claim, and for somebody else's money too.
contract ReenteringClaimer {
    InferenceMarket private immutable MARKET;
    address private immutable OTHER;
    uint256 public attempts;
    uint256 public entered;

    constructor(InferenceMarket market, address other) {
        MARKET = market;
        OTHER = other;
    }

    receive() external payable {
        attempts += 1;
        if (gasleft() < 100_000) revert("only with all gas");
        try MARKET.claimFor(address(this)) {
            entered += 1;
        } catch {}
        try MARKET.claimFor(OTHER) {
            entered += 1;
        } catch {}
        try MARKET.settle(new Receipt[](1), new bytes[](1)) {
            entered += 1;
        } catch {}
        try MARKET.withdraw() {
            entered += 1;
        } catch {}
    }
}

/// Takes money only with all the gas a push is promised, and gives back what gas it has if not.
contract Fussy {
    bool public open;

    function accept() external {
        open = true;
    }

    receive() external payable {
        require(open && gasleft() >= 30_000, "too little gas");
    }
}
