// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title How much of an answer fine-tuning explains
library Explained {
    /// ⌊2⁶⁴ · ln 2⌋.
    uint256 private constant LN_2 = 0xB17217F7D1CF79AB;
    uint256 private constant ONE = 1 << 64;
    /// Terms of the series of exp: 0.694²²/22! < 2⁻⁸¹.
    uint256 private constant TERMS = 22;

    /// @notice ε = max(0, 1 − exp((base − published)/tokens)) in parts of 2³², rounded down.
    /// @param base Log-likelihood of the answer under the base, in units of 2⁻²⁰ nat.
    /// @param published The same under the adapter that answered.
    /// @param tokens Answer tokens.
    function partsDown(int256 base, int256 published, uint256 tokens) internal pure returns (uint256) {
        if (tokens == 0 || published <= base) return 0;
        return (ONE - _expNeg((uint256(published - base) << 44) / tokens)) >> 32;
    }

    /// exp(−x) in units of 2⁻⁶⁴, x in units of 2⁻⁶⁴: x = k·ln 2 + r; exp(−r) by Horner's scheme, halved
    /// k times. The same steps as in Rust, so the same result.
    function _expNeg(uint256 x) private pure returns (uint256 sum) {
        uint256 halvings = x / LN_2;
        if (halvings > 64) return 0;
        uint256 rest = x % LN_2;
        sum = ONE;
        for (uint256 n = TERMS; n != 0; --n) {
            sum = ONE - ((rest * sum) >> 64) / n;
        }
        sum >>= halvings;
    }
}
