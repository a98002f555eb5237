//! The fork schedules that the fixtures name.

use alloy_eips::eip7840::BlobParams;
use alloy_primitives::{Address, U256, address};
use openledger_chain::conformance::{EthForks, EthereumHardfork as Fork, ForkCondition};

use crate::verdict::Failure;

/// The chain id of every fixture.
const CHAIN_ID: u64 = 1;
/// Whose logs are deposit requests (EIP-6110).
const DEPOSIT_CONTRACT: Address = address!("0x00000000219ab540356cBB839Cbe05303d7705Fa");
/// The block or the time at which the second fork of a transition network comes.
const TRANSITION_BLOCK: u64 = 5;
const TRANSITION_TIME: u64 = 15_000;

/// Forks that came at a block, in order. Each network has all that precede it. The DAO fork is an
/// irregular state change of one network and is named apart.
const BY_BLOCK: [Fork; 14] = [
    Fork::Frontier,
    Fork::Homestead,
    Fork::Tangerine,
    Fork::SpuriousDragon,
    Fork::Byzantium,
    Fork::Constantinople,
    Fork::Petersburg,
    Fork::Istanbul,
    Fork::MuirGlacier,
    Fork::Berlin,
    Fork::London,
    Fork::ArrowGlacier,
    Fork::GrayGlacier,
    Fork::Paris,
];
/// Forks that came at a time, in order.
const BY_TIME: [Fork; 4] = [Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Osaka];

/// A fork schedule of the fixtures.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) forks: EthForks,
    /// The schedule from the block on whose parent has this total difficulty.
    pub(crate) merge: Option<(U256, EthForks)>,
}

impl Network {
    /// The schedule that the fixtures call `name`.
    ///
    /// Errors: a fork that is not supported, with the reason, or a name that nobody knows.
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let network = |forks| Ok(Self { forks, merge: None });
        match name {
            "FrontierToHomesteadAt5" => {
                network(transition(Fork::Frontier, Fork::Homestead, TRANSITION_BLOCK))
            }
            "HomesteadToEIP150At5" => {
                network(transition(Fork::Homestead, Fork::Tangerine, TRANSITION_BLOCK))
            }
            "HomesteadToDaoAt5" => {
                let mut forks = schedule(Fork::Homestead);
                forks.push((Fork::Dao, ForkCondition::Block(TRANSITION_BLOCK)));
                network(assemble(forks))
            }
            "EIP158ToByzantiumAt5" => {
                network(transition(Fork::SpuriousDragon, Fork::Byzantium, TRANSITION_BLOCK))
            }
            "ByzantiumToConstantinopleFixAt5" => {
                network(transition(Fork::Byzantium, Fork::Petersburg, TRANSITION_BLOCK))
            }
            "BerlinToLondonAt5" => {
                network(transition(Fork::Berlin, Fork::London, TRANSITION_BLOCK))
            }
            "ParisToShanghaiAtTime15k" => {
                network(transition(Fork::Paris, Fork::Shanghai, TRANSITION_TIME))
            }
            "ShanghaiToCancunAtTime15k" => {
                network(transition(Fork::Shanghai, Fork::Cancun, TRANSITION_TIME))
            }
            "CancunToPragueAtTime15k" => {
                network(transition(Fork::Cancun, Fork::Prague, TRANSITION_TIME))
            }
            "ArrowGlacierToParisAtDiffC0000" => Ok(Self {
                forks: assemble(schedule(Fork::ArrowGlacier)),
                merge: Some((U256::from(0xc_0000), assemble(schedule(Fork::Paris)))),
            }),
            _ => network(assemble(schedule(last_fork(name)?))),
        }
    }
}

/// A schedule in the form of geth's genesis configuration.
///
/// Errors: the configuration has no chain id.
pub(crate) fn from_geth_config(config: &serde_json::Value) -> Result<EthForks, String> {
    let number = |name: &str| config.get(name).and_then(serde_json::Value::as_u64);
    let blocks = [
        (Fork::Homestead, "homesteadBlock"),
        (Fork::Tangerine, "eip150Block"),
        (Fork::SpuriousDragon, "eip158Block"),
        (Fork::Byzantium, "byzantiumBlock"),
        (Fork::Constantinople, "constantinopleBlock"),
        (Fork::Petersburg, "petersburgBlock"),
        (Fork::Istanbul, "istanbulBlock"),
        (Fork::MuirGlacier, "muirGlacierBlock"),
        (Fork::Berlin, "berlinBlock"),
        (Fork::London, "londonBlock"),
        (Fork::ArrowGlacier, "arrowGlacierBlock"),
        (Fork::GrayGlacier, "grayGlacierBlock"),
        (Fork::Paris, "mergeNetsplitBlock"),
    ]
    .into_iter()
    .filter_map(|(fork, name)| Some((fork, ForkCondition::Block(number(name)?))));
    let times = [
        (Fork::Shanghai, "shanghaiTime"),
        (Fork::Cancun, "cancunTime"),
        (Fork::Prague, "pragueTime"),
        (Fork::Osaka, "osakaTime"),
    ]
    .into_iter()
    .filter_map(|(fork, name)| Some((fork, ForkCondition::Timestamp(number(name)?))));
    let blobs = [
        ("cancunTime", BlobParams::cancun()),
        ("pragueTime", BlobParams::prague()),
        ("osakaTime", BlobParams::osaka()),
        ("bpo1Time", BlobParams::bpo1()),
        ("bpo2Time", BlobParams::bpo2()),
    ]
    .into_iter()
    .filter_map(|(name, params)| Some((number(name)?, params)));
    let deposits = config.get("depositContractAddress").and_then(serde_json::Value::as_str);
    let chain_id = number("chainId").ok_or("the configuration has no chain id")?;
    let forks = [(Fork::Frontier, ForkCondition::Block(0))].into_iter().chain(blocks).chain(times);
    let deposit_contract = deposits.and_then(|address| address.parse().ok());
    Ok(EthForks::new(chain_id, forks, blobs.collect(), deposit_contract))
}

/// The last fork of the plain network `name`.
fn last_fork(name: &str) -> Result<Fork, Failure> {
    Ok(match name {
        "Frontier" => Fork::Frontier,
        "Homestead" => Fork::Homestead,
        "EIP150" => Fork::Tangerine,
        "EIP158" => Fork::SpuriousDragon,
        "Byzantium" => Fork::Byzantium,
        "Constantinople" => {
            return Err(Failure::NotSupported(
                "Constantinople without Petersburg: its gas rule EIP-1283 was withdrawn before it \
                 came into force on Ethereum, and revm does not have it"
                    .to_owned(),
            ));
        }
        "ConstantinopleFix" => Fork::Petersburg,
        "Istanbul" => Fork::Istanbul,
        "Berlin" => Fork::Berlin,
        "London" => Fork::London,
        "ArrowGlacier" => Fork::ArrowGlacier,
        "GrayGlacier" => Fork::GrayGlacier,
        "Paris" | "Merge" => Fork::Paris,
        "Shanghai" => Fork::Shanghai,
        "Cancun" => Fork::Cancun,
        "Prague" => Fork::Prague,
        "Osaka" => Fork::Osaka,
        _ => return Err(Failure::NotSupported(format!("a network that is not known: {name}"))),
    })
}

/// Every fork up to `last`, from the first block on.
fn schedule(last: Fork) -> Vec<(Fork, ForkCondition)> {
    let upto = |forks: &[Fork], condition: ForkCondition| -> Vec<_> {
        forks.iter().filter(|fork| **fork <= last).map(|fork| (*fork, condition)).collect()
    };
    let mut forks = upto(&BY_BLOCK, ForkCondition::Block(0));
    forks.extend(upto(&BY_TIME, ForkCondition::Timestamp(0)));
    forks
}

/// The forks up to `from`, and those after it up to `to` at block or time `at`.
fn transition(from: Fork, to: Fork, at: u64) -> EthForks {
    let mut forks = schedule(to);
    for (fork, condition) in &mut forks {
        if *fork > from {
            *condition = match condition {
                ForkCondition::Timestamp(_) => ForkCondition::Timestamp(at),
                _ => ForkCondition::Block(at),
            };
        }
    }
    assemble(forks)
}

fn assemble(forks: Vec<(Fork, ForkCondition)>) -> EthForks {
    let blobs = forks.iter().filter_map(|(fork, condition)| {
        let ForkCondition::Timestamp(from) = condition else { return None };
        let params = match fork {
            Fork::Cancun => BlobParams::cancun(),
            Fork::Prague => BlobParams::prague(),
            Fork::Osaka => BlobParams::osaka(),
            _ => return None,
        };
        Some((*from, params))
    });
    let blobs = blobs.collect();
    EthForks::new(CHAIN_ID, forks, blobs, Some(DEPOSIT_CONTRACT))
}

#[cfg(test)]
mod tests {
    use openledger_chain::conformance::EthereumHardforks;

    use super::*;

    #[test]
    fn a_network_has_every_fork_up_to_its_own() {
        let berlin = Network::named("Berlin").unwrap().forks;
        assert!(berlin.is_berlin_active_at_block(0) && berlin.is_byzantium_active_at_block(0));
        assert!(!berlin.is_london_active_at_block(u64::MAX));
        assert!(!berlin.is_dao_fork_active_at_block_for_test());
        let shanghai = Network::named("ParisToShanghaiAtTime15k").unwrap().forks;
        assert!(shanghai.is_paris_active_at_block(0));
        assert!(!shanghai.is_shanghai_active_at_timestamp(14_999));
        assert!(shanghai.is_shanghai_active_at_timestamp(15_000));
        assert!(shanghai.blob_params(20_000).is_none());
        let london = Network::named("BerlinToLondonAt5").unwrap().forks;
        assert!(!london.is_london_active_at_block(4) && london.is_london_active_at_block(5));
        assert!(Network::named("Prague").unwrap().forks.blob_params(0).is_some());
    }

    trait DaoFork {
        fn is_dao_fork_active_at_block_for_test(&self) -> bool;
    }

    impl DaoFork for EthForks {
        fn is_dao_fork_active_at_block_for_test(&self) -> bool {
            self.ethereum_fork_activation(Fork::Dao).active_at_block(u64::MAX)
        }
    }

    #[test]
    fn what_is_not_supported_says_so() {
        for name in ["Constantinople", "Atlantis"] {
            assert!(matches!(Network::named(name), Err(Failure::NotSupported(_))), "{name}");
        }
    }
}
