//! Generated from the committed artifacts at compile time.

// Generated code: documented by the NatSpec of the Solidity it comes from.
#![allow(missing_docs, unreachable_pub, clippy::all)]

use alloy_sol_types::sol;

#[cfg(feature = "rpc")]
sol!(
    #[sol(rpc, extra_derives(Debug, PartialEq, Eq))]
    DatanetRegistry,
    "artifacts/DatanetRegistry.json"
);
#[cfg(feature = "rpc")]
sol!(
    #[sol(rpc, extra_derives(Debug, PartialEq, Eq))]
    ModelRegistry,
    "artifacts/ModelRegistry.json"
);
#[cfg(feature = "rpc")]
sol!(
    #[sol(rpc, extra_derives(Debug, PartialEq, Eq))]
    InferenceMarket,
    "artifacts/InferenceMarket.json"
);
#[cfg(feature = "rpc")]
sol!(
    #[sol(rpc, extra_derives(Debug, PartialEq, Eq))]
    AttributionReferee,
    "artifacts/AttributionReferee.json"
);

#[cfg(not(feature = "rpc"))]
sol!(
    #[sol(extra_derives(Debug, PartialEq, Eq))]
    DatanetRegistry,
    "artifacts/DatanetRegistry.json"
);
#[cfg(not(feature = "rpc"))]
sol!(
    #[sol(extra_derives(Debug, PartialEq, Eq))]
    ModelRegistry,
    "artifacts/ModelRegistry.json"
);
#[cfg(not(feature = "rpc"))]
sol!(
    #[sol(extra_derives(Debug, PartialEq, Eq))]
    InferenceMarket,
    "artifacts/InferenceMarket.json"
);
#[cfg(not(feature = "rpc"))]
sol!(
    #[sol(extra_derives(Debug, PartialEq, Eq))]
    AttributionReferee,
    "artifacts/AttributionReferee.json"
);
