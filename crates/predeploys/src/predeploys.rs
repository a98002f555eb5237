//! The contracts of the protocol at 0x4200…: which there are, and how each begins.
//!
//! Each is a proxy that the ProxyAdmin governs, and an implementation at the same end of 0xc0d3….
//! Not there: the governance token and what forks after Isthmus add.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue, sol};
use eyre::{Result, WrapErr};

use crate::{
    addresses::{DEPOSITOR, implementation, predeploy},
    alloc::Alloc,
    chain_values::ChainValues,
    inputs::{Inputs, IsthmusContract, Source},
    machine::Machine,
};

sol! {
    function upgradeTo(address implementation);
    function initialize(address other);
    function setEcotone();
    function setFjord();
    function setIsthmus();
    function setCustomGasToken();
    interface LiquidityController {
        function initialize(address owner, string name, string symbol);
    }
}

pub(crate) const WETH: u16 = 0x06;
const STANDARD_BRIDGE: u16 = 0x10;
const ERC721_BRIDGE: u16 = 0x14;
const PROXY_ADMIN: u16 = 0x18;
const NATIVE_ASSET_LIQUIDITY: u16 = 0x29;
/// The last of the addresses that are kept for predeploys.
pub(crate) const LAST: u16 = 0x7ff;
/// `WithdrawalNetwork.L2` of a fee vault: the only one on a chain whose asset is not ether.
const ON_L2: u8 = 1;

/// One predeploy behind a proxy.
pub(crate) struct Predeploy {
    pub(crate) suffix: u16,
    pub(crate) source: Source,
    /// Arguments of the constructor, encoded.
    arguments: Vec<u8>,
    /// Calls to the proxy that make it ready: from whom, with what.
    calls: Vec<(Address, Vec<u8>)>,
}

impl Predeploy {
    fn new(suffix: u16, source: Source) -> Self {
        Self { suffix, source, arguments: Vec::new(), calls: Vec::new() }
    }

    fn with(self, arguments: impl SolValue) -> Self {
        Self { arguments: arguments.abi_encode(), ..self }
    }

    fn then(mut self, from: Address, call: impl SolCall) -> Self {
        self.calls.push((from, call.abi_encode()));
        self
    }

    fn linked(self, other: Address) -> Self {
        self.then(Address::ZERO, initializeCall { other })
    }
}

/// Every predeploy of Isthmus behind a proxy, and the two of the native asset.
pub(crate) fn proxied(values: &ChainValues) -> Vec<Predeploy> {
    use IsthmusContract::{GasPriceOracle, OperatorFeeVault};
    use Source::{Bedrock, Isthmus, Ours};
    let new = Predeploy::new;
    let vault = |suffix, name| {
        let (to, least) = (values.fee_recipient, values.fee_withdrawal_min);
        new(suffix, Bedrock(name)).with((to, least, U256::from(ON_L2)))
    };
    let (bridge, erc721) = (predeploy(STANDARD_BRIDGE), predeploy(ERC721_BRIDGE));
    let asset = LiquidityController::initializeCall {
        owner: values.owner,
        name: values.asset_name.clone(),
        symbol: values.asset_symbol.clone(),
    };
    vec![
        new(0x00, Bedrock("LegacyMessagePasser")),
        new(0x02, Bedrock("DeployerWhitelist")),
        new(0x07, Bedrock("L2CrossDomainMessenger")).linked(values.l1_cross_domain_messenger),
        new(0x0f, Isthmus(GasPriceOracle))
            .then(DEPOSITOR, setEcotoneCall {})
            .then(DEPOSITOR, setFjordCall {})
            .then(DEPOSITOR, setIsthmusCall {}),
        new(STANDARD_BRIDGE, Bedrock("L2StandardBridge")).linked(values.l1_standard_bridge),
        vault(0x11, "SequencerFeeVault"),
        new(0x12, Bedrock("OptimismMintableERC20Factory")).linked(bridge),
        new(0x13, Bedrock("L1BlockNumber")),
        new(ERC721_BRIDGE, Bedrock("L2ERC721Bridge")).linked(values.l1_erc721_bridge),
        new(0x15, Ours("L1Block")).then(DEPOSITOR, setCustomGasTokenCall {}),
        new(0x16, Ours("L2ToL1MessagePasser")),
        new(0x17, Bedrock("OptimismMintableERC721Factory"))
            .with((erc721, U256::from(values.l1_chain_id))),
        new(PROXY_ADMIN, Bedrock("ProxyAdmin")).with(values.owner),
        vault(0x19, "BaseFeeVault"),
        vault(0x1a, "L1FeeVault"),
        new(0x1b, Isthmus(OperatorFeeVault)),
        new(0x20, Bedrock("SchemaRegistry")),
        new(0x21, Bedrock("EAS")),
        new(NATIVE_ASSET_LIQUIDITY, Ours("NativeAssetLiquidity")),
        new(0x2a, Ours("LiquidityController")).then(Address::ZERO, asset),
    ]
}

/// The predeploys' accounts. The last address has the proxy without an implementation that every
/// address kept for later begins with.
pub(crate) fn alloc(values: &ChainValues, inputs: &mut Inputs) -> Result<Alloc> {
    let mut machine = place(values, inputs)?;
    let mut alloc = Alloc::new();
    for contract in proxied(values) {
        for address in [predeploy(contract.suffix), implementation(contract.suffix)] {
            alloc.insert(address, machine.contract(address));
        }
    }
    for suffix in [WETH, LAST] {
        alloc.insert(predeploy(suffix), machine.contract(predeploy(suffix)));
    }
    alloc.entry(predeploy(NATIVE_ASSET_LIQUIDITY)).or_default().balance = values.asset_liquidity;
    Ok(alloc)
}

/// A machine on which every predeploy is ready.
pub(crate) fn place(values: &ChainValues, inputs: &mut Inputs) -> Result<Machine> {
    let mut machine = Machine::new(values.chain_id);
    // Not behind a proxy.
    machine.construct(predeploy(WETH), inputs.creation(Source::Bedrock("WETH"))?)?;
    let proxy = inputs.creation(Source::Bedrock("Proxy"))?;
    let proxy: Bytes = [&proxy[..], &predeploy(PROXY_ADMIN).abi_encode()].concat().into();
    machine.construct(predeploy(LAST), proxy.clone())?;

    for contract in proxied(values) {
        let (address, behind) = (predeploy(contract.suffix), implementation(contract.suffix));
        let creation = inputs.creation(contract.source)?;
        let creation = [&creation[..], &contract.arguments].concat();
        let place = |machine: &mut Machine| -> Result<()> {
            machine.construct(behind, creation.into())?;
            machine.construct(address, proxy.clone())?;
            // A proxy takes the zero address for its admin, as in the upgrades that forks bring.
            let upgrade = upgradeToCall { implementation: behind }.abi_encode();
            machine.call(Address::ZERO, address, upgrade.into())?;
            for (from, call) in contract.calls {
                machine.call(from, address, call.into())?;
            }
            Ok(())
        };
        place(&mut machine).wrap_err_with(|| format!("{:?}", contract.source))?;
    }
    // It has no initialiser: the owner of slot 0 is written, as the OP Stack's own genesis does.
    let owner = U256::from_be_slice(values.owner.as_slice());
    machine.store(predeploy(PROXY_ADMIN), U256::ZERO, owner)?;
    Ok(machine)
}
