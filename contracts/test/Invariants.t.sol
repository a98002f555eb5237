// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Payee, Receipt} from "../src/inference/Receipts.sol";
import {InferenceMarket} from "../src/inference/InferenceMarket.sol";
import {ModelRegistry} from "../src/model/ModelRegistry.sol";
import {Base, Vm} from "./Base.sol";
import {Reverting} from "./Receivers.sol";
import {World} from "./World.sol";

/// @notice Payers, operators, builders and the owner doing whatever they may, in any order. Keeps its own
/// books from what it did and from the events, never from the market's storage.
contract Handler is Base {
    InferenceMarket private immutable MARKET;
    ModelRegistry private immutable MODELS;
    address private immutable OWNER;
    address private immutable BUILDER;
    uint256 private immutable MODEL_ID;

    uint256[2] private operatorKeys = [uint256(0xA1), uint256(0xA2)];
    address[3] public payers = [address(0xB1), address(0xB2), address(0xB3)];
    address[] public earners;

    Receipt[] private issued;
    uint256[] private issuedBy;

    // What an off-chain reader knows.
    mapping(address payer => uint256) public balance;
    mapping(address account => uint256) public accrued;
    mapping(address account => uint256) public claimable;
    mapping(uint256 datanetId => uint256) public commons;
    mapping(bytes32 digest => uint256) public timesCharged;
    uint256 public deposited;
    uint256 public left;
    uint256 public settlements;
    bytes32[] public digests;

    constructor(
        InferenceMarket market,
        ModelRegistry models,
        address owner,
        address builder,
        uint256 modelId,
        address[] memory receivers
    ) {
        (MARKET, MODELS, OWNER, BUILDER, MODEL_ID) = (market, models, owner, builder, modelId);
        earners = receivers;
    }

    function earnerCount() external view returns (uint256) {
        return earners.length;
    }

    function digestCount() external view returns (uint256) {
        return digests.length;
    }

    function wait(uint256 duration) external {
        vm.warp(clock() + bound(duration, 1, 1 hours));
    }

    function deposit(uint256 who, uint256 amount) external {
        address payer = payers[who % 3];
        amount = bound(amount, 1, 10 ether);
        vm.deal(payer, payer.balance + amount);
        vm.recordLogs();
        vm.prank(payer);
        MARKET.deposit{value: amount}();
        read();
    }

    function limit(uint256 who, uint256 by, uint256 amount, uint256 duration) external {
        vm.prank(payers[who % 3]);
        MARKET.setSpendingLimit(
            vm.addr(operatorKeys[by % 2]),
            bound(amount, 0, 20 ether),
            clock() + uint64(bound(duration, 0, 2 days))
        );
    }

    function askBack(uint256 who, uint256 amount) external {
        address payer = payers[who % 3];
        vm.prank(payer);
        MARKET.requestWithdrawal(bound(amount, 0, balance[payer]));
    }

    function withdraw(uint256 who) external {
        vm.recordLogs();
        vm.prank(payers[who % 3]);
        try MARKET.withdraw() {
            read();
        } catch {}
    }

    function reprice(uint256 priceIn, uint256 priceOut) external {
        vm.prank(BUILDER);
        MODELS.setPrice(MODEL_ID, bound(priceIn, 0, 0.1 ether), bound(priceOut, 0, 0.1 ether));
    }

    function threshold(uint256 amount) external {
        vm.prank(OWNER);
        MARKET.setDustThreshold(bound(amount, 0, 0.01 ether));
    }

    function issue(uint256 who, uint256 by, uint64 tokensIn, uint64 tokensOut, uint32[5] memory shares)
        external
    {
        Receipt storage made = issued.push();
        made.id = bytes32(issued.length);
        made.modelId = MODEL_ID;
        made.payer = payers[who % 3];
        made.tokensIn = uint64(bound(tokensIn, 0, 10_000));
        made.tokensOut = uint64(bound(tokensOut, 0, 10_000));
        made.issuedAt = clock();
        made.fee = MARKET.quote(MODEL_ID, made.tokensIn, made.tokensOut, made.issuedAt).fee;
        for (uint256 i = 0; i < earners.length; ++i) {
            // A fifth of the whole at most each; now and then somebody is left out.
            if (shares[i] % 4 == 0) continue;
            made.payees.push(Payee({account: earners[i], share: uint64(shares[i]) / 5 + 1}));
        }
        issuedBy.push(operatorKeys[by % 2]);
    }

    /// Submits a receipt, old or new, settled before or not; also one that was tampered with.
    function submit(uint256 which, uint256 tamper) external {
        if (issued.length == 0) return;
        which = which % issued.length;
        Receipt[] memory receipts = new Receipt[](1);
        bytes[] memory signatures = new bytes[](1);
        receipts[0] = issued[which];
        bytes32 digest = MARKET.receiptDigest(receipts[0]);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(issuedBy[which], digest);
        signatures[0] = abi.encodePacked(r, s, v);
        if (tamper % 8 == 0) receipts[0].fee += 1;
        vm.recordLogs();
        try MARKET.settle(receipts, signatures) returns (uint256 settledNow) {
            vm.assertTrue(tamper % 8 != 0);
            vm.assertEq(settledNow, 1);
            read();
            settlements += 1;
            timesCharged[digest] += 1;
            digests.push(digest);
        } catch {}
    }

    function claim(uint256 who) external {
        vm.recordLogs();
        try MARKET.claimFor(earners[who % earners.length]) {
            read();
        } catch {}
    }

    function grant(uint256 amount) external {
        amount = bound(amount, 0, commons[1]);
        vm.recordLogs();
        vm.prank(OWNER);
        MARKET.grantFromCommons(1, address(0x6A), amount);
        read();
    }

    function open(uint256 which) external {
        // The fourth earner refuses money until somebody opens it.
        if (which % 16 == 0) Reverting(payable(earners[3])).accept();
    }

    /// Rebuilds every balance from the market's events of the last call.
    function read() private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter == address(MARKET)) account(logs[i]);
        }
    }

    function account(Vm.Log memory log) private {
        bytes32 topic = log.topics[0];
        if (topic == keccak256("Deposited(address,address,uint256)")) {
            uint256 amount = abi.decode(log.data, (uint256));
            balance[wallet(log.topics[1])] += amount;
            deposited += amount;
        } else if (topic == keccak256("Withdrawn(address,uint256)")) {
            uint256 amount = abi.decode(log.data, (uint256));
            balance[wallet(log.topics[1])] -= amount;
            left += amount;
        } else if (topic == InferenceMarket.Settled.selector) {
            (, uint256 fee,,,,,,) =
                abi.decode(log.data, (address, uint256, uint256, uint256, uint256, uint256, uint256, uint256));
            balance[wallet(log.topics[3])] -= fee;
        } else if (topic == keccak256("PaidOut(bytes32,address,uint256,uint256,uint8,uint8)")) {
            paidOut(wallet(log.topics[2]), log.data);
        } else if (topic == keccak256("CommonsCredited(uint256,bytes32,uint256)")) {
            commons[uint256(log.topics[1])] += abi.decode(log.data, (uint256));
        } else if (topic == keccak256("CommonsGranted(uint256,address,uint256)")) {
            uint256 amount = abi.decode(log.data, (uint256));
            commons[uint256(log.topics[1])] -= amount;
            left += amount;
        } else if (topic == keccak256("Claimed(address,uint256,uint256)")) {
            (uint256 fromAccrued, uint256 fromClaimable) = abi.decode(log.data, (uint256, uint256));
            accrued[wallet(log.topics[1])] -= fromAccrued;
            claimable[wallet(log.topics[1])] -= fromClaimable;
            left += fromAccrued + fromClaimable;
        } else {
            revert("an event the reader does not know");
        }
    }

    function paidOut(address to, bytes memory data) private {
        (uint256 amount, uint256 released, uint8 kind,) = abi.decode(data, (uint256, uint256, uint8, uint8));
        if (kind == 1) {
            accrued[to] += amount;
            return;
        }
        accrued[to] -= released;
        if (kind == 0) left += amount + released;
        else claimable[to] += amount + released;
    }

    function wallet(bytes32 topic) private pure returns (address) {
        return address(uint160(uint256(topic)));
    }
}

contract InvariantsTest is World {
    Handler private handler;

    function setUp() public override {
        super.setUp();
        // The payer of the other tests leaves, so that the handler's books are all there is.
        vm.prank(payer);
        market.requestWithdrawal(100 ether);
        vm.warp(NOW + 10 minutes);
        vm.prank(payer);
        market.withdraw();
        address[] memory receivers = new address[](4);
        (receivers[0], receivers[1], receivers[2]) = (alice, bob, address(0xE2));
        receivers[3] = address(0xE3);
        vm.etch(receivers[3], address(new Reverting()).code);
        handler = new Handler(market, models, owner, builder, modelId, receivers);
        for (uint256 i = 0; i < 6; ++i) {
            handler.deposit(i, 10 ether);
            handler.limit(i, i / 3, 20 ether, 2 days);
        }
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_the_market_holds_exactly_what_it_owes() external view {
        vm.assertEq(address(market).balance, market.liabilities());
        vm.assertEq(handler.deposited() - handler.left(), market.liabilities());
    }

    function invariant_events_tell_every_balance() external view {
        uint256 owed = market.commonsOf(datanetId);
        vm.assertEq(owed, handler.commons(datanetId));
        for (uint256 i = 0; i < 3; ++i) {
            address one = handler.payers(i);
            vm.assertEq(market.balanceOf(one), handler.balance(one));
            vm.assertLe(market.availableOf(one), market.balanceOf(one));
            owed += market.balanceOf(one);
        }
        for (uint256 i = 0; i < handler.earnerCount(); ++i) {
            owed += owedTo(handler.earners(i));
        }
        owed += owedTo(owner) + owedTo(builder) + owedTo(vm.addr(0xA1)) + owedTo(vm.addr(0xA2));
        vm.assertEq(owed, market.liabilities());
    }

    function owedTo(address one) private view returns (uint256) {
        vm.assertEq(market.accruedOf(one), handler.accrued(one));
        vm.assertEq(market.claimableOf(one), handler.claimable(one));
        return market.accruedOf(one) + market.claimableOf(one);
    }

    function invariant_no_receipt_is_charged_twice() external view {
        for (uint256 i = 0; i < handler.digestCount(); ++i) {
            vm.assertEq(handler.timesCharged(handler.digests(i)), 1);
        }
    }

    /// The handler would prove nothing if its receipts never settled.
    function test_the_handler_does_settle() public {
        handler.issue(0, 0, 1_000, 1_000, [uint32(1), 2, 3, 5, 0]);
        handler.submit(0, 1);
        handler.submit(0, 8);
        handler.submit(0, 1);
        vm.assertEq(handler.settlements(), 1);
        vm.assertGt(handler.left(), 0);
    }
}
