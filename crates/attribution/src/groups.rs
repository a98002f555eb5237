//! More contributors than one design holds.

mod apportion;
mod clusters;
mod division;
mod opened;

pub use apportion::{Basis, Member, MemberShare, apportion};
pub use clusters::content_clusters;
pub use division::Division;
pub use opened::{OpenedInputs, OpenedOutcome};

use core::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::{Error, PLAYERS_MAX};

/// What grouping looks at in a contributor. Contributors are numbered in the order of commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contributor {
    /// Tokens of its records.
    pub tokens: u64,
    /// The content cluster that most of its tokens are in.
    pub cluster: u32,
}

/// Which contributors play together in one design.
///
/// **Invariant:** each contributor is in exactly one group or is fixed; there are 1 to [`PLAYERS_MAX`]
/// groups, none empty, each ascending, in the order of their first contributor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Grouping {
    /// Contributors of each player.
    groups: Vec<Vec<u32>>,
    /// Contributors that are trained on in every run: those of groups that stay closed while others
    /// are opened.
    fixed: Vec<u32>,
}

/// A grouping as it was written, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    groups: Vec<Vec<u32>>,
    fixed: Vec<u32>,
}

impl TryFrom<Stored> for Grouping {
    type Error = Error;

    fn try_from(Stored { groups, fixed }: Stored) -> Result<Self, Error> {
        checked(groups.len())?;
        let mut all: Vec<u32> = groups.iter().flatten().chain(&fixed).copied().collect();
        all.sort_unstable();
        let stray = (0u32..).zip(&all).find(|(number, contributor)| number != *contributor);
        if let Some((number, _)) = stray {
            return Err(Error::UnknownContributor(number));
        }
        let ordered = groups.iter().all(|group| group.is_sorted() && !group.is_empty())
            && groups.is_sorted_by_key(|group| group.first())
            && fixed.is_sorted();
        if ordered { Ok(Self { groups, fixed }) } else { Err(Error::GroupsOutOfOrder) }
    }
}

impl Grouping {
    /// Everybody plays alone.
    ///
    /// Errors: [`Error::PlayerCount`] for none or more than [`PLAYERS_MAX`] contributors.
    pub fn alone(contributors: usize) -> Result<Self, Error> {
        checked(contributors)?;
        let groups = (0u32..).take(contributors).map(|contributor| vec![contributor]).collect();
        Ok(Self { groups, fixed: Vec::new() })
    }

    /// Players for one design: heavy contributors alone, the rest with those of their content cluster.
    ///
    /// Contributors with at least the tokens of an average player play alone. The others are grouped by
    /// cluster; while there are too many groups the two lightest join, and while there is room the
    /// heaviest contributor that shares a group leaves it. With no more contributors than
    /// `players_max` everybody plays alone. Ties go to the earlier contributor, so the result depends
    /// on nothing but the arguments.
    ///
    /// Errors: [`Error::PlayerCount`] for no contributors, or `players_max` out of 1 to [`PLAYERS_MAX`].
    pub fn new(contributors: &[Contributor], players_max: usize) -> Result<Self, Error> {
        let everybody: Vec<u32> = (0u32..).take(contributors.len()).collect();
        if everybody.is_empty() {
            return Err(Error::PlayerCount(0));
        }
        let groups = players(contributors, &everybody, players_max)?;
        Ok(Self { groups, fixed: Vec::new() })
    }

    /// The design of the next epoch that looks inside the groups that earned most.
    ///
    /// `earnings`: one per group, in any unit. Groups of more than one member are opened, most earned
    /// first, the earlier of equals; each as long as its members fit beside those opened before. If the
    /// first has more members than `players_max`, it alone is opened, into groups as [`Grouping::new`]
    /// makes them. All other contributors are fixed: they are in every run, so the effects are those of
    /// the opened ones given everybody else. `None` if no group with earnings has more than one member.
    ///
    /// Errors: [`Error::Earnings`] if there is not one for each group; [`Error::PlayerCount`] for
    /// `players_max` out of bounds.
    pub fn open(
        &self,
        contributors: &[Contributor],
        earnings: &[u128],
        players_max: usize,
    ) -> Result<Option<Self>, Error> {
        if earnings.len() != self.groups.len() {
            return Err(Error::Earnings { groups: self.groups.len(), found: earnings.len() });
        }
        checked(players_max)?;
        let mut by_earnings: Vec<usize> = (0..self.groups.len())
            .filter(|group| earnings[*group] > 0 && self.groups[*group].len() > 1)
            .collect();
        by_earnings.sort_by_key(|group| (Reverse(earnings[*group]), *group));
        let mut opened: Vec<u32> = Vec::new();
        for group in by_earnings {
            let members = &self.groups[group];
            if opened.is_empty() || opened.len() + members.len() <= players_max {
                opened.extend(members);
            }
        }
        if opened.is_empty() {
            return Ok(None);
        }
        opened.sort_unstable();
        let closed = |contributor: &u32| opened.binary_search(contributor).is_err();
        let mut fixed: Vec<u32> =
            self.groups.iter().flatten().chain(&self.fixed).copied().filter(closed).collect();
        fixed.sort_unstable();
        Ok(Some(Self { groups: players(contributors, &opened, players_max)?, fixed }))
    }

    /// Whether every contributor is a player of its own.
    pub fn is_alone(&self) -> bool {
        self.fixed.is_empty() && self.groups.iter().all(|group| group.len() == 1)
    }

    /// How many contributors there are.
    pub fn contributors(&self) -> usize {
        self.groups.iter().map(Vec::len).sum::<usize>() + self.fixed.len()
    }

    /// The player that each contributor stands behind; `None` for one that is in every run.
    pub fn players(&self) -> Vec<Option<u8>> {
        let mut players = vec![None; self.contributors()];
        for (player, group) in (0u8..).zip(&self.groups) {
            group.iter().for_each(|member| players[*member as usize] = Some(player));
        }
        players
    }

    /// Contributors of each player.
    pub fn groups(&self) -> &[Vec<u32>] {
        &self.groups
    }

    /// Contributors that are in every run.
    pub fn fixed(&self) -> &[u32] {
        &self.fixed
    }

    /// Which contributors are trained on when `players` are in: one flag per contributor.
    ///
    /// Panics unless there is one flag per group.
    pub fn trained(&self, players: &[bool]) -> Vec<bool> {
        assert_eq!(players.len(), self.groups.len(), "one flag per player");
        let mut trained = vec![false; self.contributors()];
        let inside = self.groups.iter().zip(players).filter(|(_, inside)| **inside);
        for contributor in inside.flat_map(|(group, _)| group).chain(&self.fixed) {
            trained[*contributor as usize] = true;
        }
        trained
    }
}

fn checked(players_max: usize) -> Result<(), Error> {
    if (1..=usize::from(PLAYERS_MAX)).contains(&players_max) {
        Ok(())
    } else {
        Err(Error::PlayerCount(players_max))
    }
}

/// Divides `members` into at most `players_max` groups.
fn players(
    contributors: &[Contributor],
    members: &[u32],
    players_max: usize,
) -> Result<Vec<Vec<u32>>, Error> {
    checked(players_max)?;
    let unknown = members.iter().find(|member| **member as usize >= contributors.len());
    if let Some(member) = unknown {
        return Err(Error::UnknownContributor(*member));
    }
    if members.len() <= players_max {
        return Ok(members.iter().map(|member| vec![*member]).collect());
    }
    let tokens = |member: u32| u128::from(contributors[member as usize].tokens);
    let weight = |group: &Vec<u32>| group.iter().map(|member| tokens(*member)).sum::<u128>();
    let all = members.iter().map(|member| tokens(*member)).sum::<u128>();

    let mut heaviest = members.to_vec();
    heaviest.sort_by_key(|member| (Reverse(tokens(*member)), *member));
    // One player is left for the light ones, however light.
    let heavy = heaviest[..players_max - 1]
        .iter()
        .take_while(|member| tokens(**member) * players_max as u128 >= all)
        .count();
    let mut groups: Vec<Vec<u32>> = heaviest[..heavy].iter().map(|member| vec![*member]).collect();
    let mut light = heaviest[heavy..].to_vec();
    light.sort_by_key(|member| (contributors[*member as usize].cluster, *member));
    let same =
        |a: &u32, b: &u32| contributors[*a as usize].cluster == contributors[*b as usize].cluster;
    let mut clusters: Vec<Vec<u32>> = light.chunk_by(same).map(<[u32]>::to_vec).collect();

    while heavy + clusters.len() > players_max {
        clusters.sort_by_key(|group| (Reverse(weight(group)), Reverse(group[0])));
        let lightest = clusters.pop().unwrap_or_default();
        let Some(joined) = clusters.last_mut() else { break };
        joined.extend(lightest);
        joined.sort_unstable();
    }
    groups.extend(clusters);
    for member in &heaviest[heavy..] {
        if groups.len() == players_max {
            break;
        }
        let shared = groups.iter_mut().find(|group| group.len() > 1 && group.contains(member));
        if let Some(group) = shared {
            group.retain(|other| other != member);
            groups.push(vec![*member]);
        }
    }
    groups.sort_by_key(|group| group[0]);
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contributors(count: usize) -> impl Strategy<Value = Vec<Contributor>> {
        let one = (prop_oneof![4 => 0u64..100, 1 => 0u64..10_000], 0u32..12)
            .prop_map(|(tokens, cluster)| Contributor { tokens, cluster });
        prop::collection::vec(one, 1..count)
    }

    fn once_each(grouping: &Grouping, count: usize) {
        let mut all: Vec<u32> = grouping.groups().iter().flatten().copied().collect();
        all.extend(grouping.fixed());
        all.sort_unstable();
        assert_eq!(all, (0..count as u32).collect::<Vec<_>>());
        assert!(grouping.groups().iter().all(|group| group.is_sorted() && !group.is_empty()));
    }

    proptest! {
        #[test]
        fn everybody_plays_exactly_once_and_no_seat_is_left_empty(
            contributors in contributors(150),
            players_max in 1..=usize::from(PLAYERS_MAX),
        ) {
            let grouping = Grouping::new(&contributors, players_max).unwrap();
            once_each(&grouping, contributors.len());
            prop_assert_eq!(grouping.groups().len(), players_max.min(contributors.len()));
            prop_assert_eq!(&grouping, &Grouping::new(&contributors, players_max).unwrap());
        }

        #[test]
        fn a_heavy_contributor_plays_alone(
            mut contributors in contributors(150),
            players_max in 2..=usize::from(PLAYERS_MAX),
            heavy: prop::sample::Index,
        ) {
            let heavy = heavy.index(contributors.len());
            contributors[heavy].tokens = 2 * contributors.iter().map(|c| c.tokens).sum::<u64>() + 1;
            let grouping = Grouping::new(&contributors, players_max).unwrap();
            prop_assert!(grouping.groups().contains(&vec![heavy as u32]));
        }

        #[test]
        fn opening_looks_inside_what_earned_most_and_keeps_everybody_else_in(
            contributors in contributors(150),
            earnings in prop::collection::vec(0u128..50, usize::from(PLAYERS_MAX)),
            players_max in 1..=usize::from(PLAYERS_MAX),
        ) {
            let grouping = Grouping::new(&contributors, players_max).unwrap();
            let earnings = &earnings[..grouping.groups().len()];
            let most = (0..grouping.groups().len())
                .filter(|g| grouping.groups()[*g].len() > 1 && earnings[*g] > 0)
                .max_by_key(|g| (earnings[*g], Reverse(*g)));
            let opened = grouping.open(&contributors, earnings, players_max).unwrap();
            prop_assert_eq!(opened.is_some(), most.is_some());
            if let (Some(opened), Some(most)) = (opened, most) {
                once_each(&opened, contributors.len());
                prop_assert!(opened.groups().len() <= players_max);
                let inside = &grouping.groups()[most];
                prop_assert!(inside.iter().all(|member| !opened.fixed().contains(member)));
                if players_max > 1 {
                    prop_assert!(opened.groups().iter().any(|group| group.len() < inside.len()));
                }
                let nobody = opened.trained(&vec![false; opened.groups().len()]);
                prop_assert_eq!(nobody.iter().filter(|t| **t).count(), opened.fixed().len());
            }
        }
    }

    #[test]
    fn a_stored_grouping_is_read_back_and_one_that_is_none_is_refused() {
        let grouping = Grouping { groups: vec![vec![0, 3], vec![1]], fixed: vec![2] };
        let json = serde_json::to_string(&grouping).unwrap();
        assert_eq!(serde_json::from_str::<Grouping>(&json).unwrap(), grouping);
        assert_eq!(grouping.players(), [Some(0), Some(1), None, Some(0)]);
        assert!(Grouping::alone(3).unwrap().is_alone());
        for bad in [
            r#"{"groups":[],"fixed":[0]}"#,
            r#"{"groups":[[0],[0]],"fixed":[]}"#,
            r#"{"groups":[[0],[2]],"fixed":[]}"#,
            r#"{"groups":[[1],[0]],"fixed":[]}"#,
            r#"{"groups":[[1,0]],"fixed":[]}"#,
            r#"{"groups":[[0],[]],"fixed":[]}"#,
        ] {
            assert!(serde_json::from_str::<Grouping>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn light_contributors_share_a_player_with_their_cluster() {
        let of = |tokens, cluster| Contributor { tokens, cluster };
        let contributors =
            [of(5, 1), of(900, 2), of(4, 2), of(6, 1), of(1, 3), of(2, 4), of(800, 1)];
        let grouping = Grouping::new(&contributors, 4).unwrap();
        // The lightest clusters, 3 and 4, join; then with 2.
        assert_eq!(grouping.groups(), [vec![0, 3], vec![1], vec![2, 4, 5], vec![6]]);
        let opened = grouping.open(&contributors, &[7, 900, 8, 900], 4).unwrap().unwrap();
        assert_eq!(opened.groups(), [vec![2], vec![4], vec![5]]);
        assert_eq!(opened.fixed(), [0, 1, 3, 6]);
        assert_eq!(
            opened.trained(&[true, false, false]),
            [true, true, true, true, false, false, true]
        );
        let both = grouping.open(&contributors, &[7, 900, 8, 900], 5).unwrap().unwrap();
        assert_eq!((both.groups().len(), both.fixed()), (5, &[1, 6][..]));
        assert_eq!(grouping.open(&contributors, &[0, 1, 0, 1], 4).unwrap(), None);
        assert!(matches!(
            grouping.open(&contributors, &[1], 4),
            Err(Error::Earnings { groups: 4, found: 1 })
        ));
        assert_eq!(Grouping::new(&[], 4), Err(Error::PlayerCount(0)));
        assert_eq!(Grouping::new(&contributors, 64), Err(Error::PlayerCount(64)));
    }
}
