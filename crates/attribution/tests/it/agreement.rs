//! The library against the reference, to the last unit.

use openledger_attribution::Evidence;
use proptest::prelude::*;

use crate::{generators, reference};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_integers_are_the_definition_to_the_last_unit(inputs in generators::inputs()) {
        let outcome = inputs.derive().unwrap();
        let expected = reference::outcome(&inputs);
        prop_assert_eq!(&outcome, &expected);
        let evidence = Evidence { inputs, outcome };
        prop_assert_eq!(evidence.verify(), Ok(()));
        let json = serde_json::to_string(&evidence).unwrap();
        prop_assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), evidence);
    }
}
