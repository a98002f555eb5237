//! What every chain of ours begins with: the attributes of L1, messages to it, the native asset, and
//! the contracts that tools expect.

use alloy_eips::BlockNumberOrTag;
use alloy_network::TransactionBuilder;
use alloy_primitives::{Address, B256, Bytes, U256, address, b256, bytes, keccak256};
use alloy_provider::Provider;
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::{SolCall, SolError, SolEvent, SolValue, sol};
use alloy_trie::{Nibbles, proof::verify_proof};
use openledger_chain::{DEVNET_CHAIN_ID, Genesis};
use serde_json::json;

use super::support::{GENESIS_TIME, TestNode, eager, manual, signer};

sol! {
    function number() returns (uint64);
    function timestamp() returns (uint64);
    function basefee() returns (uint256);
    function blobBaseFee() returns (uint256);
    function hash() returns (bytes32);
    function sequenceNumber() returns (uint64);
    function batcherHash() returns (bytes32);
    function baseFeeScalar() returns (uint32);
    function blobBaseFeeScalar() returns (uint32);
    function operatorFeeScalar() returns (uint32);
    function operatorFeeConstant() returns (uint64);
    function isCustomGasToken() returns (bool);

    function name() returns (string);
    function symbol() returns (string);
    function owner() returns (address);
    function balanceOf(address who) returns (uint256);
    function deposit();
    function getProxyImplementation(address proxy) returns (address);
    function RECIPIENT() returns (address);
    function WITHDRAWAL_NETWORK() returns (uint8);
    function withdraw();

    function initiateWithdrawal(address target, uint256 gasLimit, bytes data);
    function sendMessage(address target, bytes message, uint32 minGasLimit);
    function bridgeETH(uint32 minGasLimit, bytes extraData);
    function otherMessenger() returns (address);
    event MessagePassed(uint256 indexed nonce, address indexed sender, address indexed target,
        uint256 value, uint256 gasLimit, bytes data, bytes32 withdrawalHash);
    error L2ToL1MessagePasser_NotAllowedOnCGTMode();

    function authorizeMinter(address minter);
    function mint(address to, uint256 amount);
    function burn();

    function getChainId() returns (uint256);
    function DOMAIN_SEPARATOR() returns (bytes32);
}

const WETH: Address = address!("0x4200000000000000000000000000000000000006");
const MESSENGER: Address = address!("0x4200000000000000000000000000000000000007");
const BRIDGE: Address = address!("0x4200000000000000000000000000000000000010");
const L1_BLOCK: Address = address!("0x4200000000000000000000000000000000000015");
const MESSAGE_PASSER: Address = address!("0x4200000000000000000000000000000000000016");
const PROXY_ADMIN: Address = address!("0x4200000000000000000000000000000000000018");
const BASE_FEE_VAULT: Address = address!("0x4200000000000000000000000000000000000019");
const OPERATOR_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001b");
const LIQUIDITY: Address = address!("0x4200000000000000000000000000000000000029");
const CONTROLLER: Address = address!("0x420000000000000000000000000000000000002a");

async fn ask<C: SolCall>(node: &TestNode, to: Address, call: C, block: u64) -> C::Return {
    let request = TransactionRequest::default().with_to(to).with_input(call.abi_encode());
    let answer = node.wallet(0).call(request).number(block).await.unwrap();
    C::abi_decode_returns(&answer).unwrap()
}

/// Asks at the latest block.
async fn now<C: SolCall>(node: &TestNode, to: Address, call: C) -> C::Return {
    ask(node, to, call, node.node.head().number).await
}

/// A transaction of development account `from`, with gas enough for any of these.
async fn send(
    node: &TestNode,
    from: u32,
    to: Address,
    value: U256,
    call: impl SolCall,
) -> alloy_rpc_types_eth::TransactionReceipt {
    let request = TransactionRequest::default()
        .with_to(to)
        .with_value(value)
        .with_gas_limit(1_000_000)
        .with_input(call.abi_encode());
    node.wallet(from).send_transaction(request).await.unwrap().get_receipt().await.unwrap()
}

async fn balance(node: &TestNode, of: Address) -> U256 {
    node.wallet(0).get_balance(of).await.unwrap()
}

#[tokio::test]
async fn every_block_tells_its_l1_origin() {
    let node = manual().await;
    for _ in 0..25 {
        node.node.mine_block().await.unwrap();
    }
    let batcher = Genesis::devnet().batcher;
    for block in [1, 11, 12, 13, 23, 24, 25] {
        let (origin, sequence) = (block / 12, block % 12);
        assert_eq!(ask(&node, L1_BLOCK, numberCall {}, block).await, origin);
        assert_eq!(ask(&node, L1_BLOCK, sequenceNumberCall {}, block).await, sequence);
        let time = ask(&node, L1_BLOCK, timestampCall {}, block).await;
        assert_eq!(time, GENESIS_TIME + 12 * origin);
        let base_fee = ask(&node, L1_BLOCK, basefeeCall {}, block).await;
        assert_eq!(base_fee, U256::from(1_000_000_000));
        assert_eq!(ask(&node, L1_BLOCK, blobBaseFeeCall {}, block).await, U256::ONE);
        assert_eq!(ask(&node, L1_BLOCK, batcherHashCall {}, block).await, batcher.into_word());
        let hash = ask(&node, L1_BLOCK, hashCall {}, block).await;
        let first = ask(&node, L1_BLOCK, hashCall {}, (block - sequence).max(1)).await;
        assert_eq!(hash, first, "one origin, one hash");
        // The deposit says the same.
        let number = BlockNumberOrTag::Number(block);
        let txs = node.rpc("eth_getBlockByNumber", json!([number, true])).await.unwrap();
        let input: Bytes = serde_json::from_value(txs["transactions"][0]["input"].clone()).unwrap();
        assert_eq!(hash, B256::from_slice(&input[100..132]));
        let receipt = &node.rpc("eth_getBlockReceipts", json!([number])).await.unwrap()[0];
        assert_eq!(receipt["status"], "0x1");
        assert_eq!(receipt["depositNonce"], format!("{:#x}", block - 1));
    }
    for call in [baseFeeScalarCall::SELECTOR, blobBaseFeeScalarCall::SELECTOR] {
        let request = TransactionRequest::default().with_to(L1_BLOCK).with_input(call.to_vec());
        let scalar = node.wallet(0).call(request).await.unwrap();
        assert_eq!(U256::from_be_slice(&scalar), U256::ZERO, "a devnet charges nothing for L1");
    }
    assert_eq!(now(&node, L1_BLOCK, operatorFeeScalarCall {}).await, 0);
    assert_eq!(now(&node, L1_BLOCK, operatorFeeConstantCall {}).await, 0);
}

#[tokio::test]
async fn a_message_to_l1_is_proven_against_the_header() {
    let node = eager().await;
    let wallet = node.wallet(0);
    let before = wallet.get_block_by_number(BlockNumberOrTag::Latest).await.unwrap().unwrap();
    let target = address!("0x00000000000000000000000000000000000000aa");
    let message =
        initiateWithdrawalCall { target, gasLimit: U256::from(90_000), data: bytes!("c0ffee") };
    let receipt = send(&node, 0, MESSAGE_PASSER, U256::ZERO, message).await;
    assert!(receipt.status());
    let passed = MessagePassed::decode_log(&receipt.inner.logs()[0].inner).unwrap();
    let nonce = U256::from(1) << 240;
    let fields =
        (nonce, signer(0).address(), target, U256::ZERO, U256::from(90_000), bytes!("c0ffee"));
    assert_eq!(passed.withdrawalHash, keccak256(fields.abi_encode_params()));

    let number = receipt.block_number.unwrap();
    let header = wallet.get_block_by_number(number.into()).await.unwrap().unwrap().header;
    assert_ne!(header.withdrawals_root, before.header.withdrawals_root);
    let slot = keccak256((passed.withdrawalHash, U256::ZERO).abi_encode());
    let proof = wallet.get_proof(MESSAGE_PASSER, vec![slot]).number(number).await.unwrap();
    assert_eq!(header.withdrawals_root, Some(proof.storage_hash));
    verify_proof(
        proof.storage_hash,
        Nibbles::unpack(keccak256(slot)),
        Some(alloy_rlp::encode(U256::ONE)),
        &proof.storage_proof[0].proof,
    )
    .unwrap();
    node.node.mine_block().await.unwrap();
    let later = wallet.get_block_by_number(BlockNumberOrTag::Latest).await.unwrap().unwrap();
    assert_eq!(later.header.withdrawals_root, header.withdrawals_root, "no message, same root");
}

/// OPEN is not ether: no way to L1 takes it.
#[tokio::test]
async fn open_cannot_be_sent_to_l1_as_ether() {
    let node = eager().await;
    let (from, target) = (signer(0).address(), signer(1).address());
    let limit = U256::from(90_000);
    let raw = initiateWithdrawalCall { target, gasLimit: limit, data: Bytes::new() }.abi_encode();
    let message = sendMessageCall { target, message: Bytes::new(), minGasLimit: 1 }.abi_encode();
    let bridged = bridgeETHCall { minGasLimit: 1, extraData: Bytes::new() }.abi_encode();
    let ways = [
        (MESSAGE_PASSER, raw, None),
        (MESSAGE_PASSER, Vec::new(), None),
        (MESSENGER, message, Some("cannot send value with custom gas token")),
        (BRIDGE, bridged, Some("cannot bridge ETH with custom gas token")),
        (BRIDGE, Vec::new(), Some("cannot bridge ETH with custom gas token")),
    ];
    for (to, input, reason) in ways {
        let call = json!([{ "from": from, "to": to, "value": "0x1", "input": Bytes::from(input) }]);
        let error = node.rpc("eth_call", call).await.unwrap_err();
        assert_eq!(error["code"], 3, "{error}");
        match reason {
            Some(reason) => assert!(error["message"].as_str().unwrap().contains(reason), "{error}"),
            None => {
                let refusal = L2ToL1MessagePasser_NotAllowedOnCGTMode {}.abi_encode();
                assert_eq!(error["data"], json!(Bytes::from(refusal)));
            }
        }
    }
    // Without value a message goes its way.
    let call = sendMessageCall { target, message: Bytes::new(), minGasLimit: 1 };
    let receipt = send(&node, 0, MESSENGER, U256::ZERO, call).await;
    assert!(receipt.status());
    let passed = MessagePassed::decode_log(&receipt.inner.logs()[0].inner).unwrap();
    assert_eq!(passed.target, now(&node, MESSENGER, otherMessengerCall {}).await);
    assert_ne!(passed.target, Address::ZERO);
}

#[tokio::test]
async fn the_native_asset_is_called_open_and_wraps() {
    let node = eager().await;
    assert!(now(&node, L1_BLOCK, isCustomGasTokenCall {}).await);
    assert_eq!(now(&node, WETH, nameCall {}).await, "Wrapped OpenLedger");
    assert_eq!(now(&node, WETH, symbolCall {}).await, "WOPEN");
    let amount = U256::from(12_345);
    assert!(send(&node, 0, WETH, amount, depositCall {}).await.status());
    let held = now(&node, WETH, balanceOfCall { who: signer(0).address() }).await;
    assert_eq!(held, amount);
    assert_eq!(balance(&node, WETH).await, amount);
}

#[tokio::test]
async fn a_minter_moves_open_into_circulation_and_back() {
    let node = eager().await;
    let (owner, minter, to) = (signer(0).address(), signer(1).address(), Address::repeat_byte(9));
    assert_eq!(now(&node, CONTROLLER, ownerCall {}).await, owner);
    let held = balance(&node, LIQUIDITY).await;
    assert_eq!(held, U256::from(999_900_000) * U256::from(10).pow(U256::from(18)));

    let amount = U256::from(777);
    let mint = mintCall { to, amount };
    assert!(!send(&node, 1, CONTROLLER, U256::ZERO, mint.clone()).await.status());
    assert!(send(&node, 0, CONTROLLER, U256::ZERO, authorizeMinterCall { minter }).await.status());
    assert!(send(&node, 1, CONTROLLER, U256::ZERO, mint).await.status());
    assert_eq!(balance(&node, to).await, amount);
    assert_eq!(balance(&node, LIQUIDITY).await, held - amount);
    assert!(send(&node, 1, CONTROLLER, U256::from(700), burnCall {}).await.status());
    assert_eq!(balance(&node, LIQUIDITY).await, held - U256::from(77));
    assert_eq!(balance(&node, CONTROLLER).await, U256::ZERO);
}

#[tokio::test]
async fn vaults_pay_out_on_l2_and_the_owner_can_upgrade() {
    let node = eager().await;
    let owner = signer(0).address();
    assert_eq!(now(&node, PROXY_ADMIN, ownerCall {}).await, owner);
    for suffix in [0x11, 0x19, 0x1a, 0x1b] {
        let mut vault = BASE_FEE_VAULT;
        vault.0[19] = suffix;
        assert_eq!(now(&node, vault, WITHDRAWAL_NETWORKCall {}).await, 1, "L2");
        let recipient = if vault == OPERATOR_FEE_VAULT { BASE_FEE_VAULT } else { owner };
        assert_eq!(now(&node, vault, RECIPIENTCall {}).await, recipient);
        let behind = now(&node, PROXY_ADMIN, getProxyImplementationCall { proxy: vault }).await;
        assert_eq!(behind.0[..2], [0xc0, 0xd3]);
    }
    send(&node, 1, signer(2).address(), U256::ONE, depositCall {}).await;
    let (collected, had) = (balance(&node, BASE_FEE_VAULT).await, balance(&node, owner).await);
    assert!(!collected.is_zero());
    assert!(send(&node, 1, BASE_FEE_VAULT, U256::ZERO, withdrawCall {}).await.status());
    assert_eq!(balance(&node, owner).await, had + collected);
}

#[tokio::test]
async fn what_tools_expect_is_there() {
    let node = eager().await;
    let multicall3 = address!("0xcA11bde05977b3631167028862bE2a173976CA11");
    assert_eq!(now(&node, multicall3, getChainIdCall {}).await, U256::from(DEVNET_CHAIN_ID));

    let permit2 = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
    let type_hash = "EIP712Domain(string name,uint256 chainId,address verifyingContract)";
    let domain = (keccak256(type_hash), keccak256("Permit2"), U256::from(DEVNET_CHAIN_ID), permit2);
    let separator = now(&node, permit2, DOMAIN_SEPARATORCall {}).await;
    assert_eq!(separator, keccak256(domain.abi_encode()));

    // The deterministic deployment proxy: salt, then code that returns one byte of code.
    let deployer = address!("0x4e59b44847b379578588920cA78FbF26c0B4956C");
    let (salt, code) = (B256::repeat_byte(7), bytes!("60fe60005360016000f3"));
    let input = [salt.as_slice(), &code].concat();
    let request =
        TransactionRequest::default().with_to(deployer).with_input(input).with_gas_limit(200_000);
    let receipt =
        node.wallet(0).send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    let deployed = deployer.create2(salt, keccak256(&code));
    assert_eq!(node.wallet(0).get_code_at(deployed).await.unwrap(), bytes!("fe"));

    // Code as published: keccak256 of the same account on Ethereum.
    let multicall3_code = node.wallet(0).get_code_at(multicall3).await.unwrap();
    let published = b256!("0xd5c15df687b16f2ff992fc8d767b4216323184a2bbc6ee2f9c398c318e770891");
    assert_eq!(keccak256(multicall3_code), published);
    // EIP-2935: the hash of the block before, asked for by its number.
    let head = node.node.head();
    let history = address!("0x0000F90827F1C53a10cb7A02335B175320002935");
    let request = TransactionRequest::default()
        .with_to(history)
        .with_input(U256::from(head.number - 1).to_be_bytes::<32>().to_vec());
    let parent = node
        .wallet(0)
        .get_block_by_number(BlockNumberOrTag::Number(head.number))
        .await
        .unwrap()
        .unwrap()
        .header
        .parent_hash;
    assert_eq!(node.wallet(0).call(request).await.unwrap(), Bytes::from(parent.0));
}
