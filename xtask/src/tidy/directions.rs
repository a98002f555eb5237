//! Which crate may know which: the edges that ARCHITECTURE.md promises.
//!
//! A rule holds for everything a crate reaches through its normal and build dependencies, and for its
//! direct test dependencies. A new crate must find its place in [`RULES`] or [`UNRESTRICTED`] first.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::Finding;
use crate::workspace::{Kind, Package};

/// One promise: none of `crates` reaches any of `never`.
struct Rule {
    crates: &'static [&'static str],
    never: &'static [&'static str],
    because: &'static str,
}

const EVERY_LIBRARY: &[&str] = &[
    "openledger-attribution",
    "openledger-chain",
    "openledger-contracts",
    "openledger-cuda",
    "openledger-datanet",
    "openledger-factory",
    "openledger-gateway",
    "openledger-hub",
    "openledger-influence",
    "openledger-model",
    "openledger-openlora",
    "openledger-primitives",
    "openledger-tensor",
];

/// Edges between crates of this workspace.
const RULES: &[Rule] = &[
    Rule {
        crates: &["openledger-primitives", "openledger-allocator", "xtask"],
        never: EVERY_LIBRARY,
        because: "the vocabulary, the allocator and the developer commands stand on nothing of ours",
    },
    Rule {
        crates: &["openledger-chain"],
        never: &[
            "openledger-datanet",
            "openledger-tensor",
            "openledger-model",
            "openledger-factory",
            "openledger-attribution",
            "openledger-openlora",
            "openledger-gateway",
        ],
        because: "the chain knows nothing of AI, so any OP-Stack node can take its place",
    },
    Rule {
        crates: &[
            "openledger-tensor",
            "openledger-model",
            "openledger-openlora",
            "openledger-cuda",
            "openledger-factory",
        ],
        never: &["openledger-chain", "openledger-contracts", "openledger-gateway"],
        because: "a model trains and answers without a node",
    },
    Rule {
        crates: &["openledger-hub"],
        never: &[
            "openledger-attribution",
            "openledger-chain",
            "openledger-contracts",
            "openledger-datanet",
            "openledger-factory",
            "openledger-gateway",
            "openledger-openlora",
        ],
        because: "it brings files, whoever uses them",
    },
    Rule {
        crates: &[
            "openledger-attribution",
            "openledger-chain",
            "openledger-factory",
            "openledger-gateway",
            "openledger-model",
            "openledger-openlora",
        ],
        never: &["openledger-hub"],
        because: "the command line fetches what it was told to; nothing else asks the internet for files",
    },
    Rule {
        crates: &[
            "openledger-tensor",
            "openledger-model",
            "openledger-openlora",
            "openledger-factory",
        ],
        never: &["openledger-cuda"],
        because: "everything runs without a device; a device takes the place of a decoder from outside",
    },
    Rule {
        crates: &["openledger-attribution"],
        never: &[
            "openledger-chain",
            "openledger-contracts",
            "openledger-gateway",
            "openledger-model",
            "openledger-openlora",
            "openledger-factory",
        ],
        because: "attribution takes likelihoods and records as values, so an auditor can recompute it",
    },
    Rule {
        crates: &["openledger-datanet"],
        never: &[
            "openledger-chain",
            "openledger-contracts",
            "openledger-gateway",
            "openledger-model",
            "openledger-openlora",
            "openledger-factory",
        ],
        because: "a Datanet is data: who trains on it and who records its root is not its business",
    },
    Rule {
        crates: &["openledger-contracts"],
        never: &[
            "openledger-chain",
            "openledger-datanet",
            "openledger-tensor",
            "openledger-model",
            "openledger-factory",
            "openledger-attribution",
            "openledger-openlora",
            "openledger-gateway",
        ],
        because: "bindings serve any node and any client",
    },
    Rule {
        crates: &["openledger-predeploys"],
        never: EVERY_LIBRARY,
        because: "it makes a genesis from artifacts alone; what the node reads is a committed file",
    },
    Rule {
        crates: EVERY_LIBRARY,
        never: &["openledger-predeploys"],
        because: "it brings a second alloy, which must never be in the node",
    },
    Rule {
        crates: &["openledger-conformance"],
        never: &[
            "openledger-primitives",
            "openledger-contracts",
            "openledger-datanet",
            "openledger-tensor",
            "openledger-model",
            "openledger-factory",
            "openledger-attribution",
            "openledger-openlora",
            "openledger-gateway",
            "openledger-predeploys",
        ],
        because: "it runs Ethereum's fixtures against the node alone",
    },
    Rule {
        crates: &[
            "openledger-attribution",
            "openledger-chain",
            "openledger-contracts",
            "openledger-gateway",
            "openledger-openlora",
            "openledger-factory",
            "openledger-model",
        ],
        never: &["openledger-influence"],
        because: "its scores are floats for comparison; nothing that decides money may read them",
    },
    Rule {
        crates: &["openledger-influence"],
        never: &[
            "openledger-attribution",
            "openledger-chain",
            "openledger-contracts",
            "openledger-gateway",
        ],
        because: "a comparison that knew our method, or money, would be none",
    },
    Rule {
        crates: &["openledger-gateway"],
        never: &["openledger-chain"],
        because: "the gateway meets the chain only through JSON-RPC and contract bindings",
    },
];

/// The places where everything meets: the binary, the whole-system tests and the benchmarks.
const UNRESTRICTED: &[&str] = &[
    "openledger",
    "openledger-tests",
    "openledger-bench-attribution",
    "openledger-bench-chain",
    "openledger-bench-serving",
    "openledger-bench-training",
];

/// Test dependencies that cross an edge all the same: crate, what it tests against, why.
const TEST_EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "openledger-gateway",
        "openledger-chain",
        "settlement is tested against a running node, reached over JSON-RPC",
    ),
    (
        "openledger-predeploys",
        "openledger-chain",
        "an independent implementation reads the rollup.json that the chain writes",
    ),
];

/// Promises about libraries of others: none of `crates` ships a library whose name begins so.
const FOREIGN_RULES: &[Rule] = &[
    Rule {
        crates: &["openledger-primitives", "openledger-attribution"],
        never: &["tokio", "axum", "hyper", "reqwest", "jsonrpsee", "tower", "sqlx"],
        because: "it does no I/O",
    },
    Rule {
        crates: &[
            "openledger-tensor",
            "openledger-model",
            "openledger-openlora",
            "openledger-factory",
            "openledger-datanet",
        ],
        never: &["alloy-provider", "alloy-network", "revm", "op-revm", "jsonrpsee", "alloy-signer"],
        because: "it knows nothing of the chain",
    },
    Rule {
        crates: EVERY_LIBRARY,
        never: &["candle", "burn", "ort", "tch"],
        because: "one float path decides money, and it is our own",
    },
    Rule {
        crates: &["openledger", "openledger-chain", "openledger-contracts", "openledger-gateway"],
        never: &["kona"],
        because: "it brings a second alloy; it checks from outside",
    },
];

/// Finds dependencies that break a promise, and crates that no promise speaks of.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    let reached = reached_by_each(packages);
    let mut findings = Vec::new();
    for package in packages {
        findings.extend(unplaced(package));
        for rule in RULES.iter().filter(|rule| rule.crates.contains(&package.name.as_str())) {
            findings.extend(broken_edges(package, &reached[&package.name], rule));
        }
        for rule in FOREIGN_RULES.iter().filter(|r| r.crates.contains(&package.name.as_str())) {
            findings.extend(foreign_edges(package, rule));
        }
    }
    findings
}

fn unplaced(package: &Package) -> Option<Finding> {
    let name = package.name.as_str();
    let placed = UNRESTRICTED.contains(&name) || RULES.iter().any(|r| r.crates.contains(&name));
    let message = "no rule says which crates it may know: add one to xtask/src/tidy/directions.rs";
    (!placed).then(|| Finding::new(name, message))
}

fn broken_edges(package: &Package, reached: &BTreeSet<String>, rule: &Rule) -> Vec<Finding> {
    let tested = package.dependencies.iter().filter(|d| d.ours && d.kind == Kind::Test);
    let tested = tested.map(|d| d.name.as_str()).filter(|name| {
        !TEST_EXCEPTIONS.iter().any(|(from, to, _)| *from == package.name && to == name)
    });
    let known: BTreeSet<&str> = reached.iter().map(String::as_str).chain(tested).collect();
    let broken =
        known.into_iter().filter(|name| *name != package.name && rule.never.contains(name));
    broken.map(|name| finding(package, name, rule)).collect()
}

fn foreign_edges(package: &Package, rule: &Rule) -> Vec<Finding> {
    let shipped = package.dependencies.iter().filter(|d| !d.ours && d.kind != Kind::Test);
    let broken = shipped.filter(|d| rule.never.iter().any(|family| is_of_family(&d.name, family)));
    broken.map(|d| finding(package, &d.name, rule)).collect()
}

/// `hyper-util` is of the family `hyper`, `hyperx` is not.
fn is_of_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn finding(package: &Package, name: &str, rule: &Rule) -> Finding {
    Finding::new(&package.name, format!("must not depend on {name}: {}", rule.because))
}

/// Crates of ours that each crate reaches through normal and build dependencies.
fn reached_by_each(packages: &[Package]) -> BTreeMap<String, BTreeSet<String>> {
    let by_name: BTreeMap<&str, &Package> =
        packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let reached_from = |package: &Package| {
        let mut reached = BTreeSet::new();
        let mut open = vec![package];
        while let Some(next) = open.pop() {
            let shipped = next.dependencies.iter().filter(|d| d.ours && d.kind != Kind::Test);
            for dependency in shipped {
                if reached.insert(dependency.name.clone()) {
                    open.extend(by_name.get(dependency.name.as_str()));
                }
            }
        }
        reached
    };
    packages.iter().map(|package| (package.name.clone(), reached_from(package))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind)| Dependency {
            name: (*name).to_owned(),
            kind: *kind,
            ours: name.starts_with("openledger"),
        });
        Package {
            name: name.to_owned(),
            folder: String::new(),
            description: String::new(),
            dependencies: dependencies.collect(),
        }
    }

    #[test]
    fn an_edge_that_goes_through_a_third_crate_is_found() {
        let findings = check(&[
            package("openledger-chain", &[("openledger-contracts", Kind::Normal)]),
            package("openledger-contracts", &[("openledger-tensor", Kind::Build)]),
        ]);
        let chain: Vec<_> = findings.iter().filter(|f| f.place == "openledger-chain").collect();
        assert_eq!(chain.len(), 1);
        assert!(chain[0].message.contains("openledger-tensor"));
    }

    #[test]
    fn the_gateway_may_test_against_a_node_but_not_ship_one() {
        let tested = package("openledger-gateway", &[("openledger-chain", Kind::Test)]);
        assert_eq!(check(&[tested]), []);
        let shipped = package("openledger-gateway", &[("openledger-chain", Kind::Normal)]);
        assert_eq!(check(&[shipped]).len(), 1);
    }

    #[test]
    fn the_binary_may_know_everything() {
        let all: Vec<_> = EVERY_LIBRARY.iter().map(|name| (*name, Kind::Normal)).collect();
        assert_eq!(check(&[package("openledger", &all)]), []);
    }

    #[test]
    fn attribution_ships_no_http() {
        let findings = check(&[package("openledger-attribution", &[("hyper-util", Kind::Normal)])]);
        assert_eq!(findings.len(), 1);
        let unrelated = package("openledger-attribution", &[("hyperx", Kind::Normal)]);
        assert_eq!(check(&[unrelated]), []);
    }

    #[test]
    fn candle_may_check_the_decoder_but_not_ship_in_it() {
        let tested = package("openledger-model", &[("candle-core", Kind::Test)]);
        assert_eq!(check(&[tested]), []);
        for kind in [Kind::Normal, Kind::Build] {
            assert_eq!(check(&[package("openledger-model", &[("candle-core", kind)])]).len(), 1);
        }
    }

    #[test]
    fn a_second_alloy_stays_outside_the_node() {
        let shipped = package("openledger-chain", &[("kona-hardforks", Kind::Normal)]);
        assert_eq!(check(&[shipped]).len(), 1);
        let tested = package("openledger-predeploys", &[("openledger-chain", Kind::Test)]);
        assert_eq!(check(&[tested]), []);
        let linked = package("openledger-chain", &[("openledger-predeploys", Kind::Normal)]);
        assert_eq!(check(&[linked]).len(), 1);
    }

    #[test]
    fn a_new_crate_must_find_its_place() {
        assert_eq!(check(&[package("openledger-rollup", &[])]).len(), 1);
    }

    #[test]
    fn every_library_is_held_by_a_rule() {
        for name in EVERY_LIBRARY {
            assert_eq!(check(&[package(name, &[])]), [], "{name}");
        }
    }
}
