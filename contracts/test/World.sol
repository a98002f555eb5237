// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Genesis} from "../script/Genesis.s.sol";
import {Contribution, DatanetRegistry} from "../src/datanet/DatanetRegistry.sol";
import {InferenceMarket} from "../src/inference/InferenceMarket.sol";
import {Payee, Receipt} from "../src/inference/Receipts.sol";
import {SpendingLimit} from "../src/inference/SpendingLimits.sol";
import {DatanetVersion, ModelParams} from "../src/model/ModelTypes.sol";
import {ModelRegistry} from "../src/model/ModelRegistry.sol";
import {Base} from "./Base.sol";

/// @notice The devnet a moment after genesis: one Datanet with two contributors, one model at devnet
/// prices, one payer with 100 OPEN who lets one operator charge 10 of them.
abstract contract World is Base {
    uint64 internal constant NOW = 1_800_000_000;
    uint256 internal constant OPERATOR_KEY = 0xA11CE;
    uint256 internal constant PAYER_KEY = 0xB0B;
    uint256 internal constant PRICE_IN = 0.01 ether;
    uint256 internal constant PRICE_OUT = 0.03 ether;

    Genesis internal genesis = new Genesis();
    DatanetRegistry internal datanets = DatanetRegistry(genesis.DATANET_REGISTRY());
    ModelRegistry internal models = ModelRegistry(genesis.MODEL_REGISTRY());
    InferenceMarket internal market = InferenceMarket(genesis.INFERENCE_MARKET());

    address internal owner = genesis.OWNER();
    address internal operator = vm.addr(OPERATOR_KEY);
    address internal payer = vm.addr(PAYER_KEY);
    address internal curator = address(0xC0);
    address internal builder = address(0xD0);
    address internal alice = address(0xE0);
    address internal bob = address(0xE1);

    uint256 internal datanetId;
    uint256 internal modelId;

    function setUp() public virtual {
        placeContracts();
        vm.warp(NOW);
        datanetId = createDatanet();
        modelId = registerModel(builder, params("handbook"));
        vm.deal(payer, 1_000 ether);
        vm.startPrank(payer);
        market.deposit{value: 100 ether}();
        market.setSpendingLimit(operator, 10 ether, NOW + 1 days);
        vm.stopPrank();
    }

    function placeContracts() internal virtual {
        genesis.deploy();
    }

    function createDatanet() internal returns (uint256 id) {
        vm.startPrank(curator);
        id = datanets.createDatanet("handbook", "CC-BY-4.0", "");
        datanets.commitVersion(id, bytes32(uint256(1)), 5, twoContributions());
        vm.stopPrank();
    }

    function twoContributions() internal view returns (Contribution[] memory list) {
        list = new Contribution[](2);
        list[0] = Contribution({contributor: alice, records: 2, root: bytes32(uint256(2))});
        list[1] = Contribution({contributor: bob, records: 3, root: bytes32(uint256(3))});
    }

    function params(string memory name) internal view returns (ModelParams memory made) {
        made.name = name;
        made.baseHash = keccak256("base");
        made.adapterHash = keccak256(bytes(name));
        made.recipeRoot = keccak256("recipe");
        made.traceRoot = keccak256("trace");
        made.designRoot = keccak256("design");
        made.datanets = new DatanetVersion[](1);
        made.datanets[0] = DatanetVersion({datanetId: datanetId, version: 1});
        made.priceIn = PRICE_IN;
        made.priceOut = PRICE_OUT;
    }

    function registerModel(address by, ModelParams memory made) internal returns (uint256) {
        vm.prank(by);
        return models.register(made);
    }

    function twoPayees(uint64 first, uint64 second) internal view returns (Payee[] memory payees) {
        payees = new Payee[](2);
        payees[0] = Payee({account: alice, share: first});
        payees[1] = Payee({account: bob, share: second});
    }

    /// A receipt with the right fee for now and payees with half and a quarter of the data pot.
    function receipt(bytes32 id, uint64 tokensIn, uint64 tokensOut) internal view returns (Receipt memory) {
        return receiptAt(id, tokensIn, tokensOut, clock());
    }

    function receiptAt(bytes32 id, uint64 tokensIn, uint64 tokensOut, uint64 issuedAt)
        internal
        view
        returns (Receipt memory)
    {
        return Receipt({
            id: id,
            modelId: modelId,
            payer: payer,
            tokensIn: tokensIn,
            tokensOut: tokensOut,
            fee: market.quote(modelId, tokensIn, tokensOut, issuedAt).fee,
            requestHash: keccak256("request"),
            answerHash: keccak256("answer"),
            evidenceHash: keccak256("evidence"),
            issuedAt: issuedAt,
            payees: twoPayees(1 << 31, 1 << 30)
        });
    }

    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function signed(Receipt memory made, uint256 key) internal view returns (bytes memory) {
        return sign(key, market.receiptDigest(made));
    }

    function batch(Receipt memory made, uint256 key)
        internal
        view
        returns (Receipt[] memory receipts, bytes[] memory signatures)
    {
        receipts = new Receipt[](1);
        signatures = new bytes[](1);
        receipts[0] = made;
        signatures[0] = signed(made, key);
    }

    function settle(Receipt memory made) internal returns (uint256) {
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, OPERATOR_KEY);
        return market.settle(receipts, signatures);
    }

    /// As `settle`, and it must revert with exactly this.
    function settleReverts(Receipt memory made, bytes memory why) internal {
        (Receipt[] memory receipts, bytes[] memory signatures) = batch(made, OPERATOR_KEY);
        vm.expectRevert(why);
        market.settle(receipts, signatures);
    }

    function consent(uint256 limit, uint64 deadline) internal view returns (SpendingLimit memory) {
        return SpendingLimit({
            payer: payer, operator: operator, limit: limit, nonce: market.nonces(payer), deadline: deadline
        });
    }

    /// What a payer signs, written out here once more, independent of the contract.
    function consentDigest(address payer_, address operator_, uint256 limit, uint256 nonce, uint64 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 typeHash = keccak256(
            "SpendingLimit(address payer,address operator,uint256 limit,uint256 nonce,uint64 deadline)"
        );
        bytes32 structHash = keccak256(abi.encode(typeHash, payer_, operator_, limit, nonce, deadline));
        return keccak256(abi.encodePacked(hex"1901", market.DOMAIN_SEPARATOR(), structHash));
    }
}
