// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {DatanetVersion, Model} from "./ModelTypes.sol";

/// @title A model as JSON
/// @notice Needs no escaping: a name is limited to characters that JSON leaves alone, all else is
/// numbers and hashes. Wei are strings, since JSON numbers lose digits.
library ModelCard {
    using Strings for uint256;

    /// @notice The card as `data:application/json;base64,…`.
    function dataUri(Model memory model, uint256 priceIn, uint256 priceOut)
        internal
        pure
        returns (string memory)
    {
        bytes memory json = bytes.concat(
            abi.encodePacked('{"name":"', model.name, '","description":"OpenLedger model"'),
            _hashes(model),
            _terms(model, priceIn, priceOut),
            _datanets(model.datanets),
            bytes("}")
        );
        return string.concat("data:application/json;base64,", Base64.encode(json));
    }

    function _hashes(Model memory model) private pure returns (bytes memory) {
        return bytes.concat(
            _hash("base_hash", model.baseHash),
            _hash("adapter_hash", model.adapterHash),
            _hash("recipe_root", model.recipeRoot),
            _hash("trace_root", model.traceRoot),
            _hash("design_root", model.designRoot)
        );
    }

    function _hash(string memory key, bytes32 value) private pure returns (bytes memory) {
        return _field(key, string.concat('"', uint256(value).toHexString(32), '"'));
    }

    function _terms(Model memory model, uint256 priceIn, uint256 priceOut)
        private
        pure
        returns (bytes memory)
    {
        return bytes.concat(
            _field("price_in_wei", string.concat('"', priceIn.toString(), '"')),
            _field("price_out_wei", string.concat('"', priceOut.toString(), '"')),
            _field("parent_id", model.parentId.toString()),
            _field("royalty_bps", uint256(model.royaltyBps).toString()),
            _field("training_job", model.jobId.toString())
        );
    }

    function _field(string memory key, string memory value) private pure returns (bytes memory) {
        return abi.encodePacked(',"', key, '":', value);
    }

    function _datanets(DatanetVersion[] memory datanets) private pure returns (bytes memory list) {
        list = bytes(',"datanets":[');
        for (uint256 i = 0; i < datanets.length; ++i) {
            string memory id = datanets[i].datanetId.toString();
            string memory version = uint256(datanets[i].version).toString();
            list = abi.encodePacked(list, i == 0 ? "" : ",", '{"id":', id);
            list = abi.encodePacked(list, ',"version":', version, "}");
        }
        list = bytes.concat(list, "]");
    }
}
