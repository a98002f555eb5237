// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What the design hash of a model commits to: which players each run trains on.
struct DesignEncoding {
    /// Number of players C, 1 to 63.
    uint8 players;
    /// Order m of the Hadamard matrix, at least C and at most 64.
    uint8 order;
    /// Its rows: bit c of row r is set where the entry is +1.
    uint64[] rows;
}

/// @notice Text of the answer that stands in training records.
struct SpanInput {
    /// First answer token.
    uint32 start;
    /// Tokens.
    uint32 length;
    /// Distinct records that hold it.
    uint32 holders;
    /// The earliest committed of them; 2³² − 1 where the text belongs to the commons.
    uint32 record;
    /// Its player; 255 where the text belongs to the commons.
    uint8 player;
}

/// @notice What was measured about one answer. Shares follow from it.
struct EvidenceInputs {
    /// Hash of the design.
    bytes32 designHash;
    /// Decides between equal remainders.
    bytes32 tieSeed;
    /// Whether effects are paid, or go to the commons because the model's fidelity is too low.
    bool influencePaid;
    /// Log-likelihood of the answer under each run, in units of 2⁻²⁰ nat: m runs, then their folds.
    int64[] values;
    /// −log p of each answer token under the base, in units of 2⁻²⁰ nat.
    uint64[] surprisals;
    /// Spans of the answer, maximal, in its order.
    SpanInput[] matches;
}

/// @notice How the surprisal of an answer divides among those whose text it repeats.
struct SpanCredit {
    /// Charged to the text of each player.
    uint256[] perPlayer;
    /// Charged to text that too many records hold.
    uint256 commons;
    /// Charged in all.
    uint256 covered;
    /// Of the whole answer.
    uint256 total;
}

/// @notice What follows from the inputs of one answer.
struct Outcome {
    /// m·φ of each player, in units of 2⁻²⁰ nat.
    int256[] effects;
    /// What an effect must exceed to be paid.
    uint256 noiseFloor;
    /// ε, in parts of 2³².
    uint256 explained;
    /// Spans and their surprisal.
    SpanCredit credit;
    /// Parts of 2³², one per player.
    uint64[] shares;
    /// What nobody earned. Shares and commons sum to 2³².
    uint64 commons;
}
