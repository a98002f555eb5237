// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice One wallet's part of the data pot.
struct Payee {
    /// Who is paid.
    address account;
    /// Part of the data pot in parts of 2³².
    uint64 share;
}

/// @notice What one answer cost and who is paid for it. Signed by the operator.
struct Receipt {
    /// Unique per operator and model.
    bytes32 id;
    /// The model that answered.
    uint256 modelId;
    /// Whose balance is charged.
    address payer;
    /// Prompt tokens.
    uint64 tokensIn;
    /// Answer tokens.
    uint64 tokensOut;
    /// What the payer pays, in wei; must be what price and split of `issuedAt` give.
    uint256 fee;
    /// Salted hash of the request.
    bytes32 requestHash;
    /// Salted hash of the answer.
    bytes32 answerHash;
    /// Commits to everything the shares were derived from.
    bytes32 evidenceHash;
    /// Unix time of the answer, in seconds.
    uint64 issuedAt;
    /// Who is paid from the data pot, strictly ascending by account.
    Payee[] payees;
}

/// @title EIP-712 hashing of receipts
library Receipts {
    bytes32 internal constant PAYEE_TYPEHASH = keccak256("Payee(address account,uint64 share)");
    bytes32 internal constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 id,uint256 modelId,address payer,uint64 tokensIn,uint64 tokensOut,uint256 fee,"
        "bytes32 requestHash,bytes32 answerHash,bytes32 evidenceHash,uint64 issuedAt,Payee[] payees)"
        "Payee(address account,uint64 share)"
    );

    /// @notice `hashStruct` of a receipt (EIP-712).
    function hash(Receipt calldata receipt) internal pure returns (bytes32) {
        bytes32[] memory payees = new bytes32[](receipt.payees.length);
        for (uint256 i = 0; i < payees.length; ++i) {
            Payee calldata payee = receipt.payees[i];
            payees[i] = keccak256(abi.encode(PAYEE_TYPEHASH, payee.account, payee.share));
        }
        return keccak256(
            abi.encode(
                RECEIPT_TYPEHASH,
                receipt.id,
                receipt.modelId,
                receipt.payer,
                receipt.tokensIn,
                receipt.tokensOut,
                receipt.fee,
                receipt.requestHash,
                receipt.answerHash,
                receipt.evidenceHash,
                receipt.issuedAt,
                keccak256(abi.encodePacked(payees))
            )
        );
    }
}
