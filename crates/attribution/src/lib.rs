//! Who is paid what for one answer.
//!
//! Takes what the counterfactual adapters would have said to an answer and the training text it
//! repeats, returns integer shares that anybody can recompute. Pure: no clock, no disk, no model, no
//! network. Wallets, prices and fees are not known here; a player is a number.
//!
//! ```text
//! players ─▶ Design ─▶ one subset per run ─▶ (training and scoring happen elsewhere)
//!
//! values, one per run ─▶ Effects ─┬─▶ above the noise floor ─┐
//!                                 └─▶ NoiseFloor             │
//! values of θ(∅), θ(N) ─▶ explained fraction ────────────────┼─▶ Shares + commons
//! answer tokens ─▶ SpanIndex ─▶ SpanMatch ─▶ SpanCredit ─────┘
//!
//! Inputs (all of the left side) ─▶ Outcome (all of the right side); both together: Evidence
//!
//! contributors ─▶ content_clusters ─▶ Grouping ─▶ players;  Outcome ─▶ Division ─▶ shares of members
//! effects, retrained subsets ─▶ Certificate ─▶ Influence: whether effects are paid
//! Evidence, texts of records ─▶ Explanation: sentences for people
//! ```
//!
//! **Invariant:** shares and commons sum to `Share::ONE` exactly.
//! **Invariant:** from the values on, everything is integer; no floating point decides anything.
//! **Invariant:** an outcome is a function of its inputs, so evidence can be re-derived step by step.

mod certificate;
mod design;
mod effects;
mod error;
mod evidence;
mod explained;
mod explanation;
mod groups;
mod noise_floor;
mod shares;
mod spans;

pub use certificate::{
    ANSWERS_MAX, Certificate, CertificateEncoding, RESAMPLES, SUBSETS_MAX, SUBSETS_MIN, certify,
    held_out, players_in, predicted, rank_correlation_ppm,
};
pub use design::{Design, DesignRef, ORDER_MAX, PLAYERS_MAX, Run};
pub use effects::{EMPTY_RUN_CONTRASTS_MIN, Effects, VALUE_MAX, VALUE_UNITS_PER_NAT, effects};
pub use error::{Error, MatchProblem, Step};
pub use evidence::{Evidence, EvidenceInputs, Inputs, Outcome, SpanInput};
pub use explained::explained;
pub use explanation::{
    ContributorExplanation, Explanation, RECORDS_SHOWN_MAX, RecordText, SIMILARITY_SHOWN_MIN,
    ShownRecord, Similarity, explain,
};
pub use groups::{
    Basis, Contributor, Division, Grouping, Member, MemberShare, OpenedInputs, OpenedOutcome,
    apportion, content_clusters,
};
pub use noise_floor::{CONTRASTS_MIN, FLOOR_MAX, floor_multiple, noise_floor};
pub use openledger_primitives::Share;
pub use shares::{Influence, Shares, shares};
pub use spans::{
    ANSWER_TOKENS_MAX, HOLDERS_MAX, Holder, INDEX_SYMBOLS_MAX, SPAN_SURPRISAL_MIN, SPAN_TOKENS_MIN,
    SURPRISAL_MAX, Span, SpanCredit, SpanIndex, SpanMatch, TOKEN_MAX, charge,
};
