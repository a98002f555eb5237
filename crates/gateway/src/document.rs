use alloy_primitives::Bytes;
use openledger_attribution::{Division, Evidence, MemberShare};
use openledger_datanet::RecordProof;
use openledger_primitives::{
    Address, B256, FeeParts, Price, Receipt, Settlement, SplitBps, keccak256, merkle,
};
use serde::{Deserialize, Serialize};

use crate::{contributors::players_hash, opening::OpenedEvidence};

/// Version of the document format.
pub const DOCUMENT_VERSION: u32 = 2;

/// Everything about one answer that somebody else needs to check the payment: what `audit verify`
/// takes as a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptDocument {
    /// [`DOCUMENT_VERSION`].
    pub version: u32,
    /// Chain the receipt is settled on.
    pub chain_id: u64,
    /// InferenceMarket contract.
    pub market: Address,
    /// Who served the answer and signed.
    pub operator: Address,
    /// What the contract sees.
    pub receipt: Receipt,
    /// The operator's EIP-712 signature of `receipt`: r, s, v (27 or 28).
    pub signature: Bytes,
    /// What the shares were derived from; `receipt.evidenceHash` commits to it.
    pub evidence: AnswerEvidence,
    /// Where the receipt was paid, once it was.
    pub settlement: Option<SignedSettlement>,
}

/// The operator's signed statement of where a receipt was settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedSettlement {
    /// Transaction and block.
    pub statement: Settlement,
    /// The operator's EIP-712 signature of it.
    pub signature: Bytes,
}

/// What one answer's shares were derived from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerEvidence {
    /// The model that answered.
    pub model: ModelEvidence,
    /// Hides request and answer behind their hashes on chain; whoever holds this file can open them.
    pub salt: B256,
    /// What was asked.
    pub request: Vec<Turn>,
    /// The prompt as the model saw it.
    pub prompt_tokens: Vec<u32>,
    /// What was answered.
    pub answer: String,
    /// The answer as the model produced it, with its end token where it reached one.
    pub answer_tokens: Vec<u32>,
    /// The contributors. Without a division they are the players of the design, in its order.
    pub players: Vec<Player>,
    /// Likelihoods, spans and everything derived from them.
    pub attribution: Evidence,
    /// What the design of opened groups measured, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<OpenedEvidence>,
    /// Who stands behind each player, and how its share was divided, where contributors are grouped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division: Option<Division>,
    /// Each record a span repeats, with the proof that the Datanet holds it.
    pub citations: Vec<Citation>,
    /// The model's price when the receipt was issued.
    pub price: Price,
    /// The split in force then.
    pub split: SplitBps,
    /// Whether the stakers' part has somebody to go to.
    pub somebody_stakes: bool,
    /// Where every wei goes; `paid` in the order of `receipt.payees`.
    pub fee: FeeParts,
}

/// Which weights were asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEvidence {
    /// Registered name.
    pub name: String,
    /// Hash of the base.
    pub base_hash: B256,
    /// keccak-256 of the RFC 8785 form of the recipe.
    pub recipe_hash: B256,
    /// Adapter of each run of the design; `None` where the run is the base itself. The first is the
    /// published one.
    pub adapters: Vec<Option<B256>>,
    /// The Datanet versions it was trained on.
    pub datanets: Vec<DatanetEvidence>,
}

/// A Datanet version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatanetEvidence {
    /// Id on chain.
    pub datanet_id: u64,
    /// Version, from 1.
    pub version: u64,
    /// Merkle root of its records.
    pub root: B256,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// A player of the design: a contributor and its wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Player {
    /// Name in the Datanet.
    pub contributor: String,
    /// Where its OPEN goes.
    pub wallet: Address,
}

/// A record that a span repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    /// Number of the record in training order: what spans refer to.
    pub record: u32,
    /// What the record says.
    pub messages: Vec<Turn>,
    /// Its completion as the model was trained on it.
    pub tokens: Vec<u32>,
    /// Its place under the Datanet's root.
    pub proof: RecordProof,
}

impl ReceiptDocument {
    /// The document as a file: RFC 8785, so every byte of it means something.
    pub fn to_json(&self) -> String {
        serde_json_canonicalizer::to_string(self).expect("strings, integers and lists")
    }
}

impl AnswerEvidence {
    /// What each contributor gets, in their order, and how much of it was measured.
    pub fn contributor_shares(&self) -> Vec<MemberShare> {
        match &self.division {
            Some(division) => division.shares.clone(),
            None => (0u32..)
                .zip(&self.attribution.outcome.shares.players)
                .map(|(contributor, share)| MemberShare {
                    contributor,
                    share: *share,
                    measured: *share,
                })
                .collect(),
        }
    }

    /// The player that a contributor is, or stands behind.
    pub fn player_of(&self, contributor: usize) -> Option<usize> {
        match &self.division {
            None => (contributor < self.players.len()).then_some(contributor),
            Some(division) => division.player_of(u32::try_from(contributor).ok()?),
        }
    }

    /// Whose a cited record is: its contributor.
    pub fn contributor_of_record(&self, record: u32) -> Option<usize> {
        let cited = self.citations.iter().find(|citation| citation.record == record)?;
        let wallet = cited.proof.contributor.wallet();
        self.players.iter().position(|player| Some(player.wallet) == wallet)
    }

    /// What the `recipeRoot` of an opening on chain must be.
    pub fn opened_root(&self, opened: &OpenedEvidence) -> B256 {
        let players = players_hash(&self.players, opened.inputs.grouping.groups());
        recipe_root(self.model.recipe_hash, opened.inputs.design.hash, players)
    }

    /// What the model's `recipeRoot` on chain must be: recipe, design, and the wallets of its players.
    pub fn recipe_root(&self) -> B256 {
        let players = match &self.division {
            Some(division) => {
                let members = |player: &Vec<openledger_attribution::Member>| {
                    player.iter().map(|member| member.contributor).collect::<Vec<_>>()
                };
                division.players.iter().map(members).collect()
            }
            None => {
                (0u32..).take(self.players.len()).map(|player| vec![player]).collect::<Vec<_>>()
            }
        };
        let players = players_hash(&self.players, &players);
        recipe_root(self.model.recipe_hash, self.attribution.inputs.design.hash, players)
    }

    /// What `receipt.evidenceHash` commits to: a Merkle node over the numbers a contract can read
    /// ([`openledger_attribution::Inputs::hash`]) and keccak-256 of the RFC 8785 form of all of it.
    pub fn hash(&self) -> B256 {
        merkle::node_hash(self.attribution.inputs.hash(), keccak256(canonical(self)))
    }

    /// What `receipt.requestHash` commits to.
    pub fn request_hash(&self) -> B256 {
        salted(self.salt, "request", &(&self.request, &self.prompt_tokens))
    }

    /// What `receipt.answerHash` commits to.
    pub fn answer_hash(&self) -> B256 {
        salted(self.salt, "answer", &(&self.answer, &self.answer_tokens))
    }
}

/// keccak-256 of salt ‖ label ‖ RFC 8785 form: nobody without the salt can test a guess.
fn salted(salt: B256, label: &str, value: &impl Serialize) -> B256 {
    keccak256([salt.as_slice(), label.as_bytes(), &canonical(value)].concat())
}

/// Commits to how every run of a model is made: recipe, design, and who is behind each of its players.
pub(crate) fn recipe_root(recipe_hash: B256, design_hash: B256, players_hash: B256) -> B256 {
    merkle::node_hash(recipe_hash, merkle::node_hash(design_hash, players_hash))
}

fn canonical(value: &impl Serialize) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("strings, integers and lists")
}
