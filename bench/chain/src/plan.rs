//! Which runs a comparison consists of, and in which order: all cases once, then again, so that a drift
//! of the machine's speed meets every node alike.

use crate::{
    drive::Shape,
    nodes::{Kind, Node},
    workload::Workload,
};

/// One row of the tables: a node, what it is given and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) node: Node,
    pub(crate) workload: Workload,
    /// Accounts in the state beside senders and contracts.
    pub(crate) residents: u64,
    pub(crate) shape: Shape,
}

/// Transactions in a batch.
const BATCH: usize = 100;
/// Connections for batches: enough to keep two processors busy, few enough not to queue.
const BATCH_CONNECTIONS: usize = 8;

impl Case {
    /// Rows of one table are neighbours: the table's key.
    pub(crate) fn table(&self) -> (Workload, u64) {
        (self.workload, self.residents)
    }

    /// Plain calls are also what waiting times are measured with.
    pub(crate) fn measures_latency(&self) -> bool {
        self.shape.batch == 1 && self.workload == Workload::Transfers
    }

    /// Hardhat is slower by so much that the full load would only take time.
    pub(crate) fn txs(&self, txs: usize) -> usize {
        let txs = self.workload.scaled(txs);
        if self.node.kind == Kind::Hardhat { (txs / 5).max(1) } else { txs }
    }
}

/// Every case, nodes innermost.
pub(crate) fn cases(
    nodes: &[Node],
    workloads: &[Workload],
    residents: u64,
    connections: usize,
) -> Vec<Case> {
    let shapes =
        [Shape { connections, batch: 1 }, Shape { connections: BATCH_CONNECTIONS, batch: BATCH }];
    let mut cases = Vec::new();
    for &workload in workloads {
        // A settlement touches what it touches however many others there are.
        let filled = (workload == Workload::Transfers && residents > 0).then_some(residents);
        for residents in [0].into_iter().chain(filled) {
            for shape in shapes {
                let able = nodes.iter().filter(|node| residents == 0 || node.takes_a_genesis());
                cases.extend(able.map(|node| Case {
                    node: node.clone(),
                    workload,
                    residents,
                    shape,
                }));
            }
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_that_take_a_genesis_meet_the_filled_state() {
        let node = |name: &str, kind| Node { name: name.to_owned(), kind };
        let nodes = [node("anvil", Kind::Anvil), node("hardhat", Kind::Hardhat)];
        let cases = cases(&nodes, &[Workload::Transfers, Workload::Erc20], 1_000, 8);
        assert_eq!(cases.len(), 4 + 2 + 4);
        let filled = cases.iter().filter(|case| case.residents > 0);
        assert!(filled.clone().count() == 2);
        assert!(filled.into_iter().all(|case| case.node.kind == Kind::Anvil));
    }
}
