// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";

/// @notice How well the predicted effects of a model agree with retraining it.
struct Fidelity {
    /// Linear datamodeling score over held-out subsets, in parts per million: −1,000,000 to 1,000,000.
    int32 ldsPpm;
    /// Lower end of its 95 % interval.
    int32 lowPpm;
    /// Upper end.
    int32 highPpm;
    /// Held-out subsets that were retrained; 0 stands for no certificate.
    uint32 subsets;
}

/// @title Fidelity certificates of models
/// @notice What a model's owner has measured of its attribution, and can be held to: the certificate
/// names seeds and subsets, so anybody can train them again. Every past figure stays known, so a receipt
/// is judged by the certificate of its time.
abstract contract FidelityCertificates {
    using Checkpoints for Checkpoints.Trace208;

    /// @notice Seconds until a certificate counts. Longer than the market's clock tolerance, so that no
    /// receipt is judged by a certificate that its signer could not know.
    uint64 public constant CERTIFICATE_NOTICE = 60;

    int32 private constant PPM = 1_000_000;

    /// Four 32-bit numbers, keyed by timestamp.
    mapping(uint256 modelId => Checkpoints.Trace208) private _fidelity;
    mapping(uint256 modelId => bytes32) private _certificate;

    /// @notice From `from` on the model has this certificate; `certificateHash` commits to its subsets,
    /// seeds and values.
    event CertificateCommitted(
        uint256 indexed modelId, bytes32 indexed certificateHash, Fidelity fidelity, uint64 from
    );

    /// @notice No hash, no subsets, or figures that are not −1,000,000 ≤ low ≤ LDS ≤ high ≤ 1,000,000.
    error BadCertificate(Fidelity fidelity);

    /// @notice Commits to a certificate; replaces an earlier one after `CERTIFICATE_NOTICE`. Token owner
    /// only. Emits {CertificateCommitted}.
    function commitCertificate(uint256 modelId, bytes32 certificateHash, Fidelity calldata fidelity)
        external
    {
        _checkModelOwner(modelId);
        bool ordered = fidelity.lowPpm <= fidelity.ldsPpm && fidelity.ldsPpm <= fidelity.highPpm;
        bool bounded = fidelity.lowPpm >= -PPM && fidelity.highPpm <= PPM;
        if (certificateHash == 0 || fidelity.subsets == 0 || !ordered || !bounded) {
            revert BadCertificate(fidelity);
        }
        uint64 from = uint64(block.timestamp) + CERTIFICATE_NOTICE;
        _certificate[modelId] = certificateHash;
        _fidelity[modelId].push(SafeCast.toUint48(from), _pack(fidelity));
        emit CertificateCommitted(modelId, certificateHash, fidelity, from);
    }

    /// @notice Hash of the certificate that was committed last; zero if there is none.
    function certificateOf(uint256 modelId) external view returns (bytes32) {
        return _certificate[modelId];
    }

    /// @notice The fidelity that counts for a receipt issued at `timestamp`; all zero without one.
    function fidelityAt(uint256 modelId, uint64 timestamp) public view returns (Fidelity memory fidelity) {
        uint208 packed = _fidelity[modelId].upperLookupRecent(SafeCast.toUint48(timestamp));
        fidelity.ldsPpm = int32(uint32(packed));
        fidelity.lowPpm = int32(uint32(packed >> 32));
        fidelity.highPpm = int32(uint32(packed >> 64));
        fidelity.subsets = uint32(packed >> 96);
    }

    /// Reverts unless the caller owns the model's token.
    function _checkModelOwner(uint256 modelId) internal view virtual;

    function _pack(Fidelity calldata fidelity) private pure returns (uint208) {
        return uint208(uint32(fidelity.ldsPpm)) | (uint208(uint32(fidelity.lowPpm)) << 32)
            | (uint208(uint32(fidelity.highPpm)) << 64) | (uint208(fidelity.subsets) << 96);
    }
}
