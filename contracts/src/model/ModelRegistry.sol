// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {DatanetRegistry} from "../datanet/DatanetRegistry.sol";
import {FidelityCertificates} from "./FidelityCertificates.sol";
import {ModelCard} from "./ModelCard.sol";
import {
    DatanetVersion,
    Holder,
    IModelTerms,
    Model,
    ModelParams,
    OpenedDesign,
    Terms,
    TrainingJob
} from "./ModelTypes.sol";
import {OpenedGroups} from "./OpenedGroups.sol";
import {TrainingJobs} from "./TrainingJobs.sol";

/// @title Registered models as ERC-721 tokens
/// @notice Registering a model mints its token to the caller. What a model *is* (hashes, training data,
/// lineage, royalty) never changes; its price can, with notice, and every past price stays known, so a
/// receipt is charged at the price of the moment it was issued. Its training can be announced before, its
/// certificate and designs that open groups of its contributors follow. Holds no money.
contract ModelRegistry is ERC721, IModelTerms, FidelityCertificates, TrainingJobs, OpenedGroups {
    using Checkpoints for Checkpoints.Trace208;

    /// @notice Longest name, in bytes.
    uint256 public constant MAX_NAME_BYTES = 64;
    /// @notice Most Datanets behind one model.
    uint256 public constant MAX_DATANETS = 16;
    /// @notice Longest line of ancestors, the model included.
    uint256 public constant MAX_LINEAGE = 8;
    /// @notice Highest price in wei per 1,000 tokens: the whole supply of OPEN.
    uint256 public constant MAX_PRICE = 1_000_000_000 ether;
    /// @notice Seconds until a price change takes effect. Longer than the market's clock tolerance, so
    /// that nobody is charged a price that could not be known when the receipt was issued.
    uint64 public constant PRICE_NOTICE = 60;

    uint256 private constant BPS = 10_000;

    /// @notice Where the Datanet versions are committed.
    DatanetRegistry public immutable DATANETS;

    uint256 private _models;
    mapping(uint256 modelId => Model) private _model;
    mapping(bytes32 nameHash => uint256 modelId) private _byName;
    /// Keyed by timestamp; a value holds the input price in its upper and the output price in its lower
    /// 104 bits, enough for `MAX_PRICE`.
    mapping(uint256 modelId => Checkpoints.Trace208) private _prices;

    /// @notice A model exists.
    event ModelRegistered(
        uint256 indexed modelId,
        address indexed owner,
        bytes32 indexed adapterHash,
        string name,
        uint256 parentId,
        uint16 royaltyBps,
        DatanetVersion[] datanets
    );
    /// @notice From `from` on the model costs this. Follows a registration, too.
    event PriceChanged(uint256 indexed modelId, uint256 priceIn, uint256 priceOut, uint64 from);

    /// @notice There is no such model.
    error UnknownModel(uint256 modelId);
    /// @notice The model was registered after `timestamp`.
    error NotYetRegistered(uint256 modelId, uint64 timestamp);
    /// @notice Only the token's owner may do this.
    error NotModelOwner(uint256 modelId, address caller);
    /// @notice A name is 1 to 64 of `a-z 0-9 - . _`, beginning with a letter or digit.
    error BadName(string name);
    /// @notice Another model has this name.
    error NameTaken(string name, uint256 modelId);
    /// @notice Base, adapter and recipe hashes are required.
    error ZeroHash();
    /// @notice A model has 1 to `MAX_DATANETS` Datanets.
    error BadDatanetCount(uint256 count);
    /// @notice Datanets must ascend strictly by id.
    error DatanetsNotAscending(uint256 index);
    /// @notice The Datanet version is not committed.
    error UnknownDatanetVersion(uint256 datanetId, uint64 version);
    /// @notice A price is above `MAX_PRICE`.
    error PriceTooHigh(uint256 price);
    /// @notice A royalty above 100 %, or one without a parent.
    error BadRoyalty(uint16 royaltyBps);
    /// @notice The line of ancestors is full.
    error LineageTooLong(uint256 parentId);

    /// @param datanets Where the Datanet versions are committed.
    constructor(DatanetRegistry datanets) ERC721("OpenLedger Model", "OLM") {
        DATANETS = datanets;
    }

    /// @notice Registers a model and mints its token to the caller. Anybody may call; one that names a
    /// training must be what that training, announced by the caller, gave. Emits {ModelRegistered},
    /// {PriceChanged} and ERC-721's `Transfer`, and {TrainingFinished} for a training.
    /// @param params What the model is and costs.
    /// @return modelId Its number and token id, from 1.
    function register(ModelParams calldata params) external returns (uint256 modelId) {
        bytes32 nameHash = _checkName(params.name);
        if (params.baseHash == 0 || params.adapterHash == 0 || params.recipeRoot == 0) revert ZeroHash();
        if (params.royaltyBps > BPS || (params.parentId == 0 && params.royaltyBps != 0)) {
            revert BadRoyalty(params.royaltyBps);
        }
        modelId = ++_models;
        _byName[nameHash] = modelId;
        _store(modelId, params);
        if (params.jobId != 0) {
            bytes32 datanets = keccak256(abi.encode(params.datanets));
            TrainingJob storage job =
                _finishTraining(params.jobId, modelId, params.baseHash, datanets, params.traceRoot);
            if (job.recipeRoot != params.recipeRoot) revert JobMismatch(params.jobId);
        }
        emit ModelRegistered(
            modelId,
            msg.sender,
            params.adapterHash,
            params.name,
            params.parentId,
            params.royaltyBps,
            params.datanets
        );
        _pushPrice(modelId, uint64(block.timestamp), params.priceIn, params.priceOut);
        // Not `_safeMint`: a caller that registers asks for the token, and a callback here would only
        // open the door to re-entry.
        _mint(msg.sender, modelId);
    }

    /// @notice Changes the price after `PRICE_NOTICE`. Token owner only. Emits {PriceChanged}.
    /// @param modelId The model.
    /// @param priceIn Wei per 1,000 prompt tokens.
    /// @param priceOut Wei per 1,000 answer tokens.
    function setPrice(uint256 modelId, uint256 priceIn, uint256 priceOut) external {
        _checkModelOwner(modelId);
        _pushPrice(modelId, uint64(block.timestamp) + PRICE_NOTICE, priceIn, priceOut);
    }

    /// @notice Adds a design that opens groups of the model's contributors. Token owner only. Emits
    /// {GroupsOpened} and {TrainingFinished}.
    /// @param modelId The model.
    /// @param jobId The training it comes from, announced by the caller on the model's base and data.
    /// @param designRoot Commits to its counterfactual adapters.
    /// @param traceRoot Commits to the states of training.
    /// @return index Number of the opening, from 0.
    function openGroups(uint256 modelId, uint256 jobId, bytes32 designRoot, bytes32 traceRoot)
        external
        returns (uint256 index)
    {
        _checkModelOwner(modelId);
        Model storage opened = _model[modelId];
        bytes32 datanets = keccak256(abi.encode(opened.datanets));
        TrainingJob storage job = _finishTraining(jobId, modelId, opened.baseHash, datanets, traceRoot);
        return _open(
            modelId,
            OpenedDesign({
                jobId: jobId,
                openedAt: uint64(block.timestamp),
                recipeRoot: job.recipeRoot,
                designRoot: designRoot,
                traceRoot: traceRoot
            })
        );
    }

    /// @notice Number of models; their ids run from 1 to this.
    function modelCount() external view returns (uint256) {
        return _models;
    }

    /// @notice A model. Reverts with {UnknownModel}.
    function model(uint256 modelId) external view returns (Model memory) {
        return _existing(modelId);
    }

    /// @notice The id of the model with this name; 0 if there is none.
    function modelByName(string calldata name_) external view returns (uint256) {
        return _byName[keccak256(bytes(name_))];
    }

    /// @notice The price of a model for a receipt issued at `timestamp`.
    /// @return priceIn Wei per 1,000 prompt tokens.
    /// @return priceOut Wei per 1,000 answer tokens.
    function priceAt(uint256 modelId, uint64 timestamp)
        public
        view
        returns (uint256 priceIn, uint256 priceOut)
    {
        if (timestamp < _existing(modelId).registeredAt) revert NotYetRegistered(modelId, timestamp);
        uint208 packed = _prices[modelId].upperLookupRecent(SafeCast.toUint48(timestamp));
        return (packed >> 104, uint104(packed));
    }

    /// @inheritdoc IModelTerms
    function termsAt(uint256 modelId, uint64 timestamp) external view returns (Terms memory terms) {
        (terms.priceIn, terms.priceOut) = priceAt(modelId, timestamp);
        DatanetVersion[] storage datanets = _model[modelId].datanets;
        terms.datanetIds = new uint256[](datanets.length);
        for (uint256 i = 0; i < datanets.length; ++i) {
            terms.datanetIds[i] = datanets[i].datanetId;
        }
        terms.lineage = lineage(modelId);
    }

    /// @inheritdoc IModelTerms
    function certifiedPpmAt(uint256 modelId, uint64 timestamp) external view returns (int32) {
        return fidelityAt(modelId, timestamp).lowPpm;
    }

    /// @notice The model's owner, its parent's owner and so on up, at most `MAX_LINEAGE` of them, each
    /// with the part of what reaches it that goes further up.
    function lineage(uint256 modelId) public view returns (Holder[] memory holders) {
        holders = new Holder[](_existing(modelId).depth);
        uint256 current = modelId;
        for (uint256 i = 0; i < holders.length; ++i) {
            Model storage ancestor = _model[current];
            holders[i] = Holder({owner: _ownerOf(current), royaltyBps: ancestor.royaltyBps});
            current = ancestor.parentId;
        }
    }

    /// @notice The model card as a JSON data URI.
    function tokenURI(uint256 modelId) public view override returns (string memory) {
        Model memory found = _existing(modelId);
        (uint256 priceIn, uint256 priceOut) = priceAt(modelId, uint64(block.timestamp));
        return ModelCard.dataUri(found, priceIn, priceOut);
    }

    function _checkModelOwner(uint256 modelId) internal view override {
        if (_ownerOf(modelId) != msg.sender) revert NotModelOwner(modelId, msg.sender);
    }

    function _store(uint256 modelId, ModelParams calldata params) private {
        Model storage created = _model[modelId];
        created.name = params.name;
        created.baseHash = params.baseHash;
        created.adapterHash = params.adapterHash;
        created.recipeRoot = params.recipeRoot;
        created.traceRoot = params.traceRoot;
        created.designRoot = params.designRoot;
        created.parentId = params.parentId;
        created.royaltyBps = params.royaltyBps;
        created.registeredAt = uint64(block.timestamp);
        created.depth = _depthBelow(params.parentId);
        created.jobId = params.jobId;
        _checkDatanets(params.datanets);
        for (uint256 i = 0; i < params.datanets.length; ++i) {
            created.datanets.push(params.datanets[i]);
        }
    }

    function _checkDatanets(DatanetVersion[] calldata datanets) internal view override {
        uint256 count = datanets.length;
        if (count == 0 || count > MAX_DATANETS) revert BadDatanetCount(count);
        uint256 previous = 0;
        for (uint256 i = 0; i < count; ++i) {
            DatanetVersion calldata one = datanets[i];
            if (one.datanetId <= previous) revert DatanetsNotAscending(i);
            if (!DATANETS.exists(one.datanetId, one.version)) {
                revert UnknownDatanetVersion(one.datanetId, one.version);
            }
            previous = one.datanetId;
        }
    }

    function _pushPrice(uint256 modelId, uint64 from, uint256 priceIn, uint256 priceOut) private {
        if (priceIn > MAX_PRICE) revert PriceTooHigh(priceIn);
        if (priceOut > MAX_PRICE) revert PriceTooHigh(priceOut);
        _prices[modelId].push(SafeCast.toUint48(from), (uint208(priceIn) << 104) | uint208(priceOut));
        emit PriceChanged(modelId, priceIn, priceOut, from);
    }

    function _depthBelow(uint256 parentId) private view returns (uint8) {
        if (parentId == 0) return 1;
        uint8 depth = _existing(parentId).depth + 1;
        if (depth > MAX_LINEAGE) revert LineageTooLong(parentId);
        return depth;
    }

    function _existing(uint256 modelId) private view returns (Model storage found) {
        found = _model[modelId];
        if (found.depth == 0) revert UnknownModel(modelId);
    }

    function _checkName(string calldata name_) private view returns (bytes32 nameHash) {
        bytes calldata text = bytes(name_);
        if (text.length == 0 || text.length > MAX_NAME_BYTES) revert BadName(name_);
        for (uint256 i = 0; i < text.length; ++i) {
            bytes1 c = text[i];
            bool alphanumeric = (c >= "a" && c <= "z") || (c >= "0" && c <= "9");
            bool joint = i != 0 && (c == "-" || c == "." || c == "_");
            if (!alphanumeric && !joint) revert BadName(name_);
        }
        nameHash = keccak256(text);
        if (_byName[nameHash] != 0) revert NameTaken(name_, _byName[nameHash]);
    }
}
