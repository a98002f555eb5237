// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice A version of a Datanet that a model was trained on.
struct DatanetVersion {
    /// The Datanet.
    uint256 datanetId;
    /// Its version.
    uint64 version;
}

/// @notice What its builder says of a model when registering it.
struct ModelParams {
    /// Unique name: 1 to 64 of `a-z 0-9 - . _`.
    string name;
    /// Hash of the base model.
    bytes32 baseHash;
    /// Hash of the adapter that is served.
    bytes32 adapterHash;
    /// Commits to recipe and settings.
    bytes32 recipeRoot;
    /// Commits to the checkpoints of training.
    bytes32 traceRoot;
    /// Commits to the counterfactual adapters; zero if there are none.
    bytes32 designRoot;
    /// What it was trained on, strictly ascending by Datanet.
    DatanetVersion[] datanets;
    /// Wei per 1,000 prompt tokens.
    uint256 priceIn;
    /// Wei per 1,000 answer tokens.
    uint256 priceOut;
    /// The model it was derived from; 0 for none.
    uint256 parentId;
    /// Part of this model's pot that goes to the parent, in basis points.
    uint16 royaltyBps;
    /// The training that it comes from; 0 if none was announced.
    uint256 jobId;
}

/// @notice A registered model.
struct Model {
    string name;
    bytes32 baseHash;
    bytes32 adapterHash;
    bytes32 recipeRoot;
    bytes32 traceRoot;
    bytes32 designRoot;
    uint256 parentId;
    /// Part of what reaches this model that goes to its parent, in basis points.
    uint16 royaltyBps;
    /// Models in its line of ancestors, itself included.
    uint8 depth;
    /// Block timestamp of registration.
    uint64 registeredAt;
    /// The training that it comes from; 0 if none was announced.
    uint256 jobId;
    DatanetVersion[] datanets;
}

/// @notice A training that was announced.
struct TrainingJob {
    /// Who trains.
    address builder;
    /// Block timestamp of the announcement.
    uint64 announcedAt;
    /// Runs of the design.
    uint16 runs;
    /// The model that came of it; 0 while it goes on.
    uint256 modelId;
    bytes32 baseHash;
    /// Commits to recipe, design and players.
    bytes32 recipeRoot;
    /// keccak256 of the ABI encoding of the Datanet versions.
    bytes32 datanetsHash;
}

/// @notice The states of a run so far.
struct Checkpoint {
    /// Run of the design; 0 is the published adapter.
    uint16 run;
    /// Steps done.
    uint64 step;
    /// Merkle root over the hashes of all traced states up to this step.
    bytes32 root;
}

/// @notice A design over the members of groups, added to a model.
struct OpenedDesign {
    /// The training that it comes from.
    uint256 jobId;
    /// Block timestamp of the opening.
    uint64 openedAt;
    /// Commits to recipe, design and players.
    bytes32 recipeRoot;
    /// Commits to the counterfactual adapters.
    bytes32 designRoot;
    /// Commits to the states of training.
    bytes32 traceRoot;
}

/// @notice One step of a model's lineage.
struct Holder {
    /// Owner of the model's token now.
    address owner;
    /// Part of what reaches it that goes one step up, in basis points.
    uint16 royaltyBps;
}

/// @notice What the market needs to know of a model to settle a receipt.
struct Terms {
    /// Wei per 1,000 prompt tokens.
    uint256 priceIn;
    /// Wei per 1,000 answer tokens.
    uint256 priceOut;
    /// Whose commons get what nobody earned, ascending.
    uint256[] datanetIds;
    /// Who shares the model's pot: the model first, then its ancestors.
    Holder[] lineage;
}

/// @notice The part of the model registry the market depends on.
interface IModelTerms {
    /// @notice Terms for a receipt issued at `timestamp`; reverts for an unknown model or an earlier time.
    function termsAt(uint256 modelId, uint64 timestamp) external view returns (Terms memory);

    /// @notice What a model's attribution is certified to reach: the lower end of the interval of its
    /// linear datamodeling score, in parts per million. 0 without a certificate.
    function certifiedPpmAt(uint256 modelId, uint64 timestamp) external view returns (int32);
}
