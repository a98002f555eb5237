//! Groups that have a design of their own: what their members do to an answer is measured.

use serde::{Deserialize, Serialize};

use crate::{Basis, Design, DesignRef, Error, Grouping, Member, effects, noise_floor};

/// What was measured about one answer by the design of opened groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedInputs {
    /// The design.
    pub design: DesignRef,
    /// Who plays in it, and who is in every run.
    pub grouping: Grouping,
    /// v(S_r) for each of its runs, in units of 2⁻²⁰ nat.
    pub values: Vec<i64>,
}

/// What follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedOutcome {
    /// m·φ of each player, everybody else being there, in units of 2⁻²⁰ nat.
    pub effects: Vec<i64>,
    /// What an effect must exceed to count.
    pub noise_floor: i64,
}

impl OpenedInputs {
    /// Effects and noise floor of the opened design.
    ///
    /// Errors: those of [`Design::with_order`] and [`effects`], [`Error::DesignHash`]; [`Error::Earnings`]
    /// where there is not one group for each player.
    pub fn derive(&self) -> Result<OpenedOutcome, Error> {
        let design = Design::try_from(&self.design)?;
        let (groups, found) = (self.grouping.groups().len(), design.players());
        if groups != found {
            return Err(Error::Earnings { groups, found });
        }
        let effects = effects(&design, &self.values)?;
        let noise_floor = noise_floor(&effects);
        Ok(OpenedOutcome { effects: effects.per_player().to_vec(), noise_floor })
    }

    /// Replaces the weights of members whose group is opened by what was measured of them.
    ///
    /// `players`: the members of each player of the model's design, weighed by likeness. In a group of which
    /// some member's effect clears the floor, a member that plays alone weighs its effect, and members that
    /// share a player of the opened design divide that player's effect by likeness, or by tokens where
    /// none is alike; their part stays apportioned. Where no effect clears the floor the likeness stands.
    pub fn weigh(&self, outcome: &OpenedOutcome, players: &mut [Vec<Member>]) {
        let opened = self.grouping.players();
        let effect = |member: &Member| {
            let player = opened.get(member.contributor as usize).copied().flatten()?;
            let effect = *outcome.effects.get(usize::from(player))?;
            let counts = effect > outcome.noise_floor;
            Some((player, if counts { u64::try_from(effect).unwrap_or(0) } else { 0 }))
        };
        for members in players.iter_mut().filter(|members| members.len() > 1) {
            let measured: Option<Vec<(u8, u64)>> = members.iter().map(effect).collect();
            let Some(measured) = measured.filter(|all| all.iter().any(|(_, e)| *e > 0)) else {
                continue;
            };
            let before = members.clone();
            for (member, (player, effect)) in members.iter_mut().zip(&measured) {
                let mates = || before.iter().zip(&measured).filter(|(_, (p, _))| p == player);
                if mates().count() == 1 {
                    (member.weight, member.basis) = (*effect, Basis::Measured);
                    continue;
                }
                let alike = mates().any(|(mate, _)| mate.weight > 0);
                let part = |one: &Member| u128::from(if alike { one.weight } else { one.tokens });
                let all = mates().map(|(mate, _)| part(mate)).sum::<u128>().max(1);
                // At most the effect, which is 64 bits.
                member.weight = (u128::from(*effect) * part(member) / all) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contributor, Division, Influence, Inputs, Share};
    use openledger_primitives::B256;

    const NAT: i64 = 1 << 20;

    fn member(contributor: u32, weight: u64) -> Member {
        Member { contributor, charged: 0, weight, basis: Basis::Apportioned, tokens: 10 }
    }

    /// A model of two players, the first of them three contributors; these are opened. Contributor 1 alone
    /// adds something.
    #[test]
    fn an_opened_group_is_paid_by_effects_instead_of_likeness() {
        let of = |tokens| Contributor { tokens, cluster: 0 };
        let contributors = [of(1), of(1), of(1), of(100)];
        let grouping = Grouping::new(&contributors, 2).unwrap();
        assert_eq!(grouping.groups(), [vec![0, 1, 2], vec![3]]);
        let opened = grouping.open(&contributors, &[5, 9], 3).unwrap().unwrap();
        let value = |inside: bool, worth: i64| if inside { worth * NAT } else { 0 };
        let design = Design::new(2).unwrap();
        let main = Inputs {
            design: design.reference(),
            values: (0..4).map(|run| value(design.subset(run)[0], 30)).collect(),
            surprisals: vec![4 * NAT as u64; 10],
            influence: Influence::Paid,
            matches: vec![],
            tie_seed: B256::ZERO,
        };
        let main_outcome = main.derive().unwrap();
        let within = Design::new(3).unwrap();
        let values = |worth: i64| -> Vec<i64> {
            (0..within.run_count()).map(|run| value(within.subset(run)[1], worth)).collect()
        };
        let divided = |worth| {
            let inputs = OpenedInputs {
                design: within.reference(),
                grouping: opened.clone(),
                values: values(worth),
            };
            let mut players =
                vec![vec![member(0, 600), member(1, 200), member(2, 0)], vec![member(3, 1)]];
            inputs.weigh(&inputs.derive().unwrap(), &mut players);
            Division::new(&main_outcome, Influence::Paid, players, B256::ZERO).unwrap().shares
        };
        let shares = divided(30);
        let whole = main_outcome.shares.of(0);
        assert_eq!((shares[1].share, shares[1].measured), (whole, whole));
        assert_eq!((shares[0].share, shares[2].share), (Share::ZERO, Share::ZERO));
        // Nothing measured: by likeness, and said so.
        let shares = divided(0);
        assert!(shares[0].share > shares[1].share && shares[1].share > Share::ZERO);
        assert_eq!(shares[0].measured, Share::ZERO);
    }

    #[test]
    fn members_that_share_a_player_divide_its_effect_and_stay_apportioned() {
        let grouping: Grouping =
            serde_json::from_str(r#"{"groups":[[0,1],[2]],"fixed":[3]}"#).unwrap();
        let design = Design::new(2).unwrap();
        let values: Vec<i64> = (0..design.run_count())
            .map(|run| if design.subset(run)[0] { 9 * NAT } else { 0 })
            .collect();
        let inputs = OpenedInputs { design: design.reference(), grouping, values };
        let outcome = inputs.derive().unwrap();
        let mut players = vec![vec![member(0, 3), member(1, 1), member(2, 5)], vec![member(3, 1)]];
        inputs.weigh(&outcome, &mut players);
        let effect = outcome.effects[0] as u64;
        assert_eq!((players[0][0].weight, players[0][1].weight), (effect * 3 / 4, effect / 4));
        assert_eq!(players[0][0].basis, Basis::Apportioned);
        assert_eq!((players[0][2].weight, players[0][2].basis), (0, Basis::Measured));
        assert_eq!(players[1][0], member(3, 1), "a player of one member is left as it is");
    }
}
