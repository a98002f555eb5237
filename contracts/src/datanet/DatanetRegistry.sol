// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice One contributor's part of a Datanet version.
struct Contribution {
    /// Wallet that is paid for these records.
    address contributor;
    /// Number of records it brought.
    uint64 records;
    /// Merkle root over them.
    bytes32 root;
}

/// @notice A committed state of a Datanet.
struct Version {
    /// Merkle root over all records.
    bytes32 root;
    /// Number of records; the sum over contributions.
    uint64 records;
    /// Block timestamp of the commitment.
    uint64 committedAt;
    /// Block number of the commitment.
    uint64 committedIn;
}

/// @notice A community-owned data set.
struct Datanet {
    /// Who commits versions.
    address curator;
    /// Who has been offered the role and has not taken it yet; zero for nobody.
    address pendingCurator;
    /// Block timestamp of creation.
    uint64 createdAt;
    /// Number of versions committed so far.
    uint64 versions;
    /// Name for people; not unique.
    string name;
    /// SPDX licence expression of the records.
    string licence;
    /// Where the records live.
    string uri;
}

/// @title Datanets and their append-only versions
/// @notice Anybody creates a Datanet and becomes its curator. The curator commits versions; a version
/// never changes. Contributors are listed in ascending order, so that a duplicate cannot hide and one
/// of them is found by bisection. Holds no money.
contract DatanetRegistry {
    /// @notice Longest name and licence, in bytes.
    uint256 public constant MAX_TEXT_BYTES = 64;
    /// @notice Longest URI, in bytes.
    uint256 public constant MAX_URI_BYTES = 256;
    /// @notice Most contributors in one version: about 12 million gas.
    uint256 public constant MAX_CONTRIBUTORS = 256;

    uint256 private _datanets;
    mapping(uint256 datanetId => Datanet) private _datanet;
    mapping(uint256 datanetId => mapping(uint256 versionNumber => Version)) private _version;
    mapping(uint256 datanetId => mapping(uint256 versionNumber => Contribution[])) private _contributions;

    /// @notice A Datanet exists.
    event DatanetCreated(
        uint256 indexed datanetId, address indexed curator, string name, string licence, string uri
    );
    /// @notice A version is committed for good.
    event VersionCommitted(
        uint256 indexed datanetId,
        uint64 indexed version,
        bytes32 root,
        uint64 records,
        Contribution[] contributions
    );
    /// @notice The curator offers the role to `to`; zero withdraws the offer.
    event CuratorOffered(uint256 indexed datanetId, address indexed from, address indexed to);
    /// @notice The role has passed.
    event CuratorChanged(uint256 indexed datanetId, address indexed from, address indexed to);

    /// @notice There is no such Datanet.
    error UnknownDatanet(uint256 datanetId);
    /// @notice There is no such version.
    error UnknownVersion(uint256 datanetId, uint64 version);
    /// @notice Only the curator may do this.
    error NotCurator(uint256 datanetId, address caller);
    /// @notice Only the account that was offered the role may take it.
    error NotOffered(uint256 datanetId, address caller);
    /// @notice A text is empty or longer than its bound.
    error BadTextLength(uint256 length, uint256 maximum);
    /// @notice A version needs 1 to `MAX_CONTRIBUTORS` contributions.
    error BadContributorCount(uint256 count);
    /// @notice Contributors must be non-zero and ascend strictly.
    error ContributorsNotAscending(uint256 index);
    /// @notice A contribution without records.
    error EmptyContribution(uint256 index);
    /// @notice The contributions do not add up to the version.
    error RecordsMismatch(uint64 stated, uint256 sum);
    /// @notice A root is zero.
    error ZeroRoot();

    /// @notice Creates a Datanet curated by the caller. Anybody may call. Emits {DatanetCreated}.
    /// @param name Name for people, 1 to 64 bytes.
    /// @param licence SPDX licence expression, 1 to 64 bytes.
    /// @param uri Where the records live, at most 256 bytes; may be empty.
    /// @return datanetId Its number, from 1.
    function createDatanet(string calldata name, string calldata licence, string calldata uri)
        external
        returns (uint256 datanetId)
    {
        _checkText(bytes(name).length, 1, MAX_TEXT_BYTES);
        _checkText(bytes(licence).length, 1, MAX_TEXT_BYTES);
        _checkText(bytes(uri).length, 0, MAX_URI_BYTES);
        datanetId = ++_datanets;
        Datanet storage created = _datanet[datanetId];
        created.curator = msg.sender;
        created.createdAt = uint64(block.timestamp);
        created.name = name;
        created.licence = licence;
        created.uri = uri;
        emit DatanetCreated(datanetId, msg.sender, name, licence, uri);
    }

    /// @notice Commits the next version. Curator only. Emits {VersionCommitted}.
    /// @param datanetId The Datanet.
    /// @param root Merkle root over all its records.
    /// @param records How many there are.
    /// @param contributions Who brought how many, strictly ascending by contributor; the sum is `records`.
    /// @return number Its number, from 1.
    function commitVersion(
        uint256 datanetId,
        bytes32 root,
        uint64 records,
        Contribution[] calldata contributions
    ) external returns (uint64 number) {
        Datanet storage target = _existing(datanetId);
        if (msg.sender != target.curator) revert NotCurator(datanetId, msg.sender);
        if (root == 0) revert ZeroRoot();
        _checkContributions(records, contributions);
        number = ++target.versions;
        _version[datanetId][number] = Version({
            root: root,
            records: records,
            committedAt: uint64(block.timestamp),
            committedIn: uint64(block.number)
        });
        Contribution[] storage kept = _contributions[datanetId][number];
        for (uint256 i = 0; i < contributions.length; ++i) {
            kept.push(contributions[i]);
        }
        emit VersionCommitted(datanetId, number, root, records, contributions);
    }

    /// @notice Offers the curator's role; it passes when `to` accepts. Curator only. Emits {CuratorOffered}.
    /// @param datanetId The Datanet.
    /// @param to Who may accept; zero withdraws an offer.
    function offerCurator(uint256 datanetId, address to) external {
        Datanet storage target = _existing(datanetId);
        if (msg.sender != target.curator) revert NotCurator(datanetId, msg.sender);
        target.pendingCurator = to;
        emit CuratorOffered(datanetId, msg.sender, to);
    }

    /// @notice Takes the curator's role that was offered to the caller. Emits {CuratorChanged}.
    /// @param datanetId The Datanet.
    function acceptCurator(uint256 datanetId) external {
        Datanet storage target = _existing(datanetId);
        if (msg.sender != target.pendingCurator) revert NotOffered(datanetId, msg.sender);
        address from = target.curator;
        target.curator = msg.sender;
        target.pendingCurator = address(0);
        emit CuratorChanged(datanetId, from, msg.sender);
    }

    /// @notice Number of Datanets; their ids run from 1 to this.
    function datanetCount() external view returns (uint256) {
        return _datanets;
    }

    /// @notice A Datanet. Reverts with {UnknownDatanet}.
    function datanet(uint256 datanetId) external view returns (Datanet memory) {
        return _existing(datanetId);
    }

    /// @notice Number of versions; they run from 1 to this. Zero for an unknown Datanet.
    function versionCount(uint256 datanetId) external view returns (uint64) {
        return _datanet[datanetId].versions;
    }

    /// @notice Whether a version has been committed.
    function exists(uint256 datanetId, uint64 versionNumber) external view returns (bool) {
        return versionNumber != 0 && versionNumber <= _datanet[datanetId].versions;
    }

    /// @notice A version. Reverts with {UnknownVersion}.
    function version(uint256 datanetId, uint64 versionNumber) external view returns (Version memory found) {
        found = _version[datanetId][versionNumber];
        if (found.root == 0) revert UnknownVersion(datanetId, versionNumber);
    }

    /// @notice The contributions of a version, ascending by contributor; empty for an unknown version.
    function contributors(uint256 datanetId, uint64 versionNumber)
        external
        view
        returns (Contribution[] memory)
    {
        return _contributions[datanetId][versionNumber];
    }

    /// @notice What `contributor` brought to a version; all zero if nothing.
    function contributionOf(uint256 datanetId, uint64 versionNumber, address contributor)
        external
        view
        returns (Contribution memory found)
    {
        Contribution[] storage list = _contributions[datanetId][versionNumber];
        uint256 low = 0;
        uint256 high = list.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            address candidate = list[middle].contributor;
            if (candidate == contributor) return list[middle];
            if (candidate < contributor) low = middle + 1;
            else high = middle;
        }
    }

    function _existing(uint256 datanetId) private view returns (Datanet storage found) {
        found = _datanet[datanetId];
        if (found.curator == address(0)) revert UnknownDatanet(datanetId);
    }

    function _checkContributions(uint64 records, Contribution[] calldata contributions) private pure {
        uint256 count = contributions.length;
        if (count == 0 || count > MAX_CONTRIBUTORS) revert BadContributorCount(count);
        uint256 sum = 0;
        address previous = address(0);
        for (uint256 i = 0; i < count; ++i) {
            Contribution calldata one = contributions[i];
            if (one.contributor <= previous) revert ContributorsNotAscending(i);
            if (one.records == 0) revert EmptyContribution(i);
            if (one.root == 0) revert ZeroRoot();
            previous = one.contributor;
            sum += one.records;
        }
        if (sum != records) revert RecordsMismatch(records, sum);
    }

    function _checkText(uint256 length, uint256 minimum, uint256 maximum) private pure {
        if (length < minimum || length > maximum) revert BadTextLength(length, maximum);
    }
}
