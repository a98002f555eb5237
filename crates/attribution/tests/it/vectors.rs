//! Test vectors for other implementations, the contract first: inputs, their encoding, every number
//! that follows.

use std::fs;
use std::path::PathBuf;

use openledger_attribution::{Design, Evidence, HOLDERS_MAX, Holder, Influence, Inputs, SpanMatch};
use openledger_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::reference;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    /// What the case is about.
    about: String,
    /// `abi.encode(DesignEncoding)`, whose hash is `evidence.inputs.design.hash`.
    design_encoded: String,
    /// `abi.encode(EvidenceInputs)`.
    inputs_encoded: String,
    /// Its hash: the evidence hash of a receipt.
    inputs_hash: B256,
    /// Inputs, and the outcome by the reference.
    evidence: Evidence,
}

const NAT: i64 = 1 << 20;

fn vectors() -> Vec<(&'static str, Vector)> {
    let span = |start, length, holders, record, player| {
        let earliest = (holders <= HOLDERS_MAX).then_some(Holder { record, player });
        SpanMatch { start, length, holders, earliest }
    };
    let design = |players, order| Design::with_order(players, order).unwrap();
    // Uneven, reproducible numbers: squares modulo a prime.
    let uneven = |i: usize, scale: i64| ((i * i + 3 * i + 7) % 101) as i64 * scale / 101;
    let value = |inside: &[bool], run: usize| -> i64 {
        let worth =
            |(player, inside): (usize, &bool)| if *inside { uneven(player, 9 * NAT) } else { 0 };
        -40 * NAT + inside.iter().enumerate().map(worth).sum::<i64>() + uneven(run, NAT)
    };
    let case = |about: &str,
                design: &Design,
                tokens: usize,
                matches: Vec<SpanMatch>,
                value: &dyn Fn(&[bool], usize) -> i64| {
        let inputs = Inputs {
            design: design.reference(),
            values: (0..design.run_count()).map(|run| value(&design.subset(run), run)).collect(),
            influence: Influence::Paid,
            surprisals: (0..tokens).map(|t| uneven(t, 4 * NAT) as u64).collect(),
            matches,
            tie_seed: B256::repeat_byte(tokens as u8),
        };
        Vector {
            about: about.to_owned(),
            design_encoded: hex(&design.encode()),
            inputs_encoded: hex(&inputs.encode()),
            inputs_hash: inputs.hash(),
            evidence: Evidence { outcome: reference::outcome(&inputs), inputs },
        }
    };
    let mut below_floor = case(
        "a model below the fidelity floor: only repeated text is paid",
        &design(8, 8),
        30,
        vec![span(3, 11, 2, 9, 6)],
        &value,
    );
    let inputs = Inputs { influence: Influence::Commons, ..below_floor.evidence.inputs.clone() };
    (below_floor.inputs_encoded, below_floor.inputs_hash) = (hex(&inputs.encode()), inputs.hash());
    below_floor.evidence = Evidence { outcome: reference::outcome(&inputs), inputs };
    vec![
        ("below_floor", below_floor),
        (
            "one_player",
            case("one player, the whole training set", &design(1, 1), 9, vec![], &value),
        ),
        (
            "two_players",
            case("no contrasts to spare: no noise floor", &design(2, 2), 12, vec![], &value),
        ),
        (
            "three_equal",
            case(
                "equal remainders, decided by the seed",
                &design(3, 4),
                7,
                vec![],
                &|inside, _| inside.iter().filter(|i| **i).count() as i64 * NAT,
            ),
        ),
        (
            "sylvester",
            case(
                "order 8, spans that overlap",
                &design(8, 8),
                40,
                vec![
                    span(0, 5, 1, 3, 2),
                    span(2, 9, 1, 17, 5),
                    span(8, 12, 3, 4, 0),
                    span(25, 8, HOLDERS_MAX, 90, 7),
                ],
                &value,
            ),
        ),
        (
            "paley_one",
            case(
                "order 12, text that belongs to the commons",
                &design(10, 12),
                33,
                vec![span(4, 10, HOLDERS_MAX + 1, 0, 0), span(12, 9, 2, 8, 9)],
                &value,
            ),
        ),
        ("paley_two", case("order 28", &design(25, 28), 64, vec![span(50, 14, 1, 2, 24)], &value)),
        ("larger_order", case("more runs than needed", &design(6, 16), 20, vec![], &value)),
        (
            "nobody",
            case(
                "explained, but no effect clears the floor",
                &design(4, 4),
                10,
                vec![],
                &|inside, run| {
                    let sign = |player: usize| if inside[player] { 1 } else { -1 };
                    if run == 0 { 0 } else { -50 * NAT + 9 * NAT * sign(0) * sign(1) }
                },
            ),
        ),
        (
            "not_explained",
            case(
                "the base says it better",
                &design(4, 4),
                10,
                vec![span(0, 10, 1, 1, 1)],
                &|inside, _| -(inside.iter().filter(|i| **i).count() as i64) * NAT,
            ),
        ),
        (
            "most_players",
            case(
                "63 players, order 64",
                &design(63, 64),
                120,
                vec![span(30, 40, 4, 6, 62)],
                &value,
            ),
        ),
    ]
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn path(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    PathBuf::from(folder).join(name).with_extension("json")
}

fn committed(name: &str) -> Vector {
    serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

#[test]
fn the_library_gives_every_number_of_the_committed_vectors() {
    let names: Vec<&str> = vectors().into_iter().map(|(name, _)| name).collect();
    for name in &names {
        let vector = committed(name);
        let inputs = &vector.evidence.inputs;
        assert_eq!(vector.evidence.verify(), Ok(()), "{name}");
        assert_eq!(inputs.derive().unwrap(), vector.evidence.outcome, "{name}");
        assert_eq!(hex(&inputs.encode()), vector.inputs_encoded, "{name}");
        assert_eq!(inputs.hash(), vector.inputs_hash, "{name}");
        let design = Design::try_from(&inputs.design).unwrap();
        assert_eq!(hex(&design.encode()), vector.design_encoded, "{name}");
    }
    let files = fs::read_dir(path("x").parent().unwrap()).unwrap().count();
    assert_eq!(files, names.len(), "a vector that nothing writes, or one that is missing");
}

#[test]
fn the_committed_vectors_are_those_of_the_reference() {
    for (name, vector) in vectors() {
        assert_eq!(vector, committed(name), "{name}");
    }
}

/// `cargo test --release -p openledger-attribution -- --ignored write_the_vectors`
#[test]
#[ignore = "writes tests/vectors; run it when a definition changes"]
fn write_the_vectors() {
    for (name, vector) in vectors() {
        let json = serde_json::to_string_pretty(&vector).unwrap() + "\n";
        fs::write(path(name), json).unwrap();
    }
}
