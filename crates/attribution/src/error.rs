use core::fmt;

use serde::{Deserialize, Serialize};

/// A step of the derivation, in the order in which it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Players and order make the committed design.
    Design,
    /// One value per run, each in bounds.
    Values,
    /// Values to effects.
    Effects,
    /// Unused contrasts to the noise floor.
    NoiseFloor,
    /// Values of base and published adapter to the explained fraction.
    Explained,
    /// Matches and surprisals to span credit.
    Spans,
    /// Everything to shares.
    Shares,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Design => "design",
            Self::Values => "values",
            Self::Effects => "effects",
            Self::NoiseFloor => "noise floor",
            Self::Explained => "explained fraction",
            Self::Spans => "spans",
            Self::Shares => "shares",
        })
    }
}

/// Why something cannot be attributed, or why evidence does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No player, or more than one design holds.
    #[error("a design holds 1 to 63 players, not {0}; group contributors into fewer players")]
    PlayerCount(usize),
    /// The order has no construction here, or is below the number of players.
    #[error("no design of order {order} for {players} players; Design::new picks one that exists")]
    Order {
        /// Players asked for.
        players: u8,
        /// Order asked for.
        order: u8,
    },
    /// Runs of the design would train the same subset twice.
    #[error(
        "order {order} repeats runs with {players} players: training is deterministic, so a repeated \
         run measures nothing; take a smaller order"
    )]
    RunsRepeat {
        /// Players asked for.
        players: u8,
        /// Order asked for.
        order: u8,
    },
    /// No design for so many players keeps to the budget.
    #[error(
        "a design for {players} players has at least {runs_needed} runs and the budget is {runs_max}; \
         group the contributors into at most {players_max} players, or allow more runs"
    )]
    Budget {
        /// Players asked for.
        players: usize,
        /// Most runs, the published adapter and the base among them.
        runs_max: usize,
        /// Runs of the smallest design for so many players.
        runs_needed: usize,
        /// Most players whose design keeps to the budget.
        players_max: usize,
    },
    /// Not one amount per group.
    #[error("there are {groups} groups, but earnings of {found}")]
    Earnings {
        /// Groups of the grouping.
        groups: usize,
        /// Earnings given.
        found: usize,
    },
    /// A group names a contributor that is not in the list.
    #[error("contributor {0} is not in the list of contributors")]
    UnknownContributor(u32),
    /// What is said of the members of a group does not go with the player they are.
    #[error(
        "the members of player {player} must be charged what the player is, and one of them must have \
         tokens; 255 of them at most"
    )]
    Members {
        /// The player.
        player: usize,
    },
    /// A grouping that is not in its one canonical order.
    #[error("the groups are not ascending, each by itself and by their first contributors")]
    GroupsOutOfOrder,
    /// A contributor's recorded share is not what its group's share gives.
    #[error("the share of contributor {contributor} does not follow from that of its group")]
    DivisionMismatch {
        /// Its number.
        contributor: usize,
    },
    /// Too few or too many held-out subsets, or more than there are.
    #[error(
        "{asked} held-out subsets: a certificate takes 4 to 1024 of those no run trains, and this design \
         leaves {left}"
    )]
    HeldOut {
        /// Subsets asked for.
        asked: usize,
        /// Subsets that no run of the design trains.
        left: u128,
    },
    /// Values that are not one row per answer with one column per subset.
    #[error(
        "predicted and actual values must be 1 to 4096 rows, one per answer, of {subsets} columns, one \
         per held-out subset"
    )]
    ValueMatrix {
        /// Held-out subsets.
        subsets: usize,
    },
    /// The certificate says otherwise than its values.
    #[error("the certificate does not follow from its values")]
    CertificateMismatch,
    /// The committed hash belongs to another design.
    #[error("the design hash is not the hash of this design")]
    DesignHash,
    /// Not one value per run.
    #[error("the design has {expected} runs, but there are {found} values")]
    RunCount {
        /// Runs of the design.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A value outside ±[`crate::VALUE_MAX`].
    #[error("the value of run {0} is beyond 2^44 units; values count 2^-20 nat")]
    ValueTooLarge(usize),
    /// More answer tokens than [`crate::ANSWER_TOKENS_MAX`].
    #[error("the answer has {0} tokens, more than 131072")]
    AnswerTooLong(usize),
    /// A surprisal above [`crate::SURPRISAL_MAX`].
    #[error("the surprisal of token {0} is above 2^32 units; surprisals count 2^-20 nat")]
    SurprisalTooLarge(usize),
    /// A span match that the index cannot have returned.
    #[error("span match {index} {problem}")]
    Match {
        /// Position in the list of matches.
        index: usize,
        /// What is wrong with it.
        problem: MatchProblem,
    },
    /// A record holds a token above [`crate::TOKEN_MAX`].
    #[error("record {record} holds token {token}, above the largest possible 16777215")]
    TokenTooLarge {
        /// Index of the record.
        record: usize,
        /// The token.
        token: u32,
    },
    /// More text than one index holds.
    #[error("one span index holds 2^30 tokens and records; divide the records over several")]
    IndexTooLarge,
    /// The suffix array could not be built.
    #[error("the suffix array could not be built: {0}")]
    SuffixArray(String),
    /// A recorded number is not what the inputs give.
    #[error("the recorded {0} does not follow from the inputs")]
    Mismatch(Step),
}

/// What is wrong with a span match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MatchProblem {
    /// Empty, or reaches past the answer.
    #[error("does not lie within the answer")]
    OutOfAnswer,
    /// Does not start and end after the match before it.
    #[error(
        "does not start and end after the match before it, so it is not maximal or not in order"
    )]
    NotMaximal,
    /// No holder, or an earliest holder although too many hold the text, or the reverse.
    #[error("must name its earliest holder exactly if 1 to 50 records hold the text")]
    Holders,
    /// The earliest holder is not a player.
    #[error("names a player that the design does not have")]
    UnknownPlayer,
}

impl Error {
    /// The step of the derivation at which this fault lies. Faults of building an index count as
    /// [`Step::Spans`].
    pub fn step(&self) -> Step {
        match self {
            Self::PlayerCount(_)
            | Self::Order { .. }
            | Self::RunsRepeat { .. }
            | Self::Budget { .. }
            | Self::Earnings { .. }
            | Self::UnknownContributor(_)
            | Self::GroupsOutOfOrder
            | Self::HeldOut { .. }
            | Self::DesignHash => Step::Design,
            Self::RunCount { .. }
            | Self::ValueTooLarge(_)
            | Self::ValueMatrix { .. }
            | Self::CertificateMismatch => Step::Values,
            Self::AnswerTooLong(_)
            | Self::SurprisalTooLarge(_)
            | Self::Match { .. }
            | Self::TokenTooLarge { .. }
            | Self::IndexTooLarge
            | Self::SuffixArray(_) => Step::Spans,
            Self::Members { .. } | Self::DivisionMismatch { .. } => Step::Shares,
            Self::Mismatch(step) => *step,
        }
    }
}
