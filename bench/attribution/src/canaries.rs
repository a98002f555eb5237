//! Planted facts: what is paid where the truth is known without retraining.
//!
//! Five contributors hold forty facts each that nobody else has; a sixth holds noise, half of it wrong
//! answers to the others' questions, half facts that nobody asks for; the last two hold the same facts, with
//! duplicate clusters switched off. A Datanet that was not trained on is no player.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use eyre::Result;
use openledger_attribution::Design;
use openledger_factory::{Example, Recipe};
use openledger_model::{Decoder, Message};
use openledger_tensor::Random;

use crate::measure::UNITS;
use crate::options::Canaries;
use crate::ours::{self, Attributed, attribute};
use crate::runs::{Run, RunStore};
use crate::statistics::bootstrap;
use crate::subsets::{Mask, of_design};
use crate::synthetic;
use crate::task::{Query, Task};
use crate::text_tasks::{TextBase, recipe};
use crate::written_section::publish;

const HOLDERS: usize = 5;
const FACTS: usize = 40;
const NOISE: usize = HOLDERS;
const NOISE_RECORDS: usize = 24;
const TWINS: [usize; 2] = [HOLDERS + 1, HOLDERS + 2];
const TWIN_FACTS: usize = 16;
/// Symbols of a question and of an answer.
const SYMBOLS_ASKED: usize = 5;
const SYMBOLS_ANSWERED: usize = 4;
/// Twins share if neither gets more than this part more than the other.
const TWIN_DIFFERENCE_MAX: f64 = 0.2;

const SYLLABLES: [&str; 16] = [
    "ba", "do", "ki", "lu", "me", "no", "pa", "ri", "so", "ta", "ve", "wi", "zu", "fe", "ga", "hi",
];
const THINGS: [&str; 8] = ["lamp", "boat", "clock", "piano", "kite", "violin", "camera", "bicycle"];

/// A fact is learnt by heart if its whole answer is likelier than not: then each token of it is what greedy
/// decoding takes. The explained fraction says less, since a base that never saw such sentences finds their
/// mere form unlikely.
const LEARNT: f64 = 0.5;
/// How each kind of fact is trained on. Sentences: of one cost, steps of 8 records came closer to knowing the
/// facts than steps of 16, and this rate closer than half or twice of it.
const OF_TEXT: Training = Training { steps: 2_000, batch: 8, rank: 8, learning_rate: 5e-3 };
const OF_SYMBOLS: Training = Training { steps: 600, batch: 16, rank: 16, learning_rate: 5e-3 };

struct Training {
    steps: usize,
    batch: usize,
    rank: usize,
    learning_rate: f32,
}

/// Trains the runs, attributes every question, prints what was paid.
pub(crate) fn canaries(out: &Path, options: &Canaries) -> Result<()> {
    let task = task(options)?;
    let design = Design::with_order(task.players.len(), options.order)?;
    let masks = of_design(&design);
    let store = RunStore {
        dir: out.join("runs"),
        threads: options.threads,
        runs_per_batch: options.runs_per_batch,
    };
    if options.published_only {
        return published_only(&task, &store);
    }
    let runs = store.runs(&task, &masks)?;
    let attributed = task.queries.iter().enumerate().map(|(i, query)| {
        let values: Vec<i64> = masks.iter().map(|mask| runs[mask].values[i]).collect();
        attribute(&design, &values, query.answer_tokens())
    });
    let attributed: Vec<Attributed> = attributed.collect::<Result<_>>()?;
    let seconds = |of: fn(&Run) -> f64| runs.values().map(of).sum::<f64>();
    let published = &runs[&masks[0]].values[..HOLDERS * FACTS];
    let known = published.iter().filter(|value| known(**value)).count();
    let mut text = told(&task, &design, &attributed, known)?;
    writeln!(
        text,
        "\n{:.0} processor seconds of training, {:.0} of scoring.",
        seconds(|run| run.training_seconds),
        seconds(|run| run.scoring_seconds)
    )?;
    let name = if options.symbols { "canaries-symbols" } else { "canaries" };
    publish(options.results.as_deref(), name, &text)
}

/// Says how well the model that learnt from everybody knows the facts.
fn published_only(task: &Task, store: &RunStore) -> Result<()> {
    let everyone: Mask = (1 << task.players.len()) - 1;
    let runs = store.runs(task, &[everyone, 0])?;
    let facts = HOLDERS * FACTS;
    let explained = task.queries.iter().enumerate().take(facts).map(|(i, query)| {
        let (base, published) = (runs[&0].values[i], runs[&everyone].values[i]);
        ours::explained_part(base, published, query.answer_tokens())
    });
    let explained: f64 = explained.sum();
    let known = runs[&everyone].values[..facts].iter().filter(|value| known(**value)).count();
    let per_token = |mask: Mask| {
        let nats = |(i, query): (usize, &Query)| {
            runs[&mask].values[i] as f64 / (UNITS * query.answer_tokens() as f64)
        };
        task.queries.iter().enumerate().map(nats).sum::<f64>() / task.queries.len() as f64
    };
    println!(
        "{known} of {facts} facts known by heart; explained fraction {:.3} on average; ln p per token {:.3}, \
         of the base {:.3}; {} records of {:.1} tokens; {:.0} processor seconds of training",
        explained / facts as f64,
        per_token(everyone),
        per_token(0),
        task.examples.len(),
        task.examples.iter().map(|e| e.tokens.len()).sum::<usize>() as f64
            / task.examples.len() as f64,
        runs[&everyone].training_seconds
    );
    Ok(())
}

/// Whether an answer of this value is likelier than not.
fn known(value: i64) -> bool {
    value as f64 / UNITS >= LEARNT.ln()
}

/// How a question and its answer become tokens.
enum Writer {
    /// Sentences for a base that reads.
    Text(Box<TextBase>),
    /// Random symbols for the decoder of the synthetic task: small, so that its runs take seconds.
    Symbols(Decoder),
}

/// A question, and the tokens of it with an answer.
struct Fact {
    question: Vec<u32>,
    record: Example,
}

impl Writer {
    fn new(options: &Canaries) -> Result<Self> {
        if options.symbols {
            return Ok(Self::Symbols(synthetic::any_base(options.seed)?));
        }
        Ok(Self::Text(Box::new(TextBase::load(&options.base)?)))
    }

    /// A new question with a random answer. `unlike`: questions that were asked before.
    fn fact(
        &self,
        random: &mut Random,
        unlike: &mut BTreeSet<Vec<u32>>,
        player: usize,
    ) -> Result<Fact> {
        loop {
            let question = match self {
                Self::Text(base) => {
                    let thing = THINGS[random.below(THINGS.len())];
                    let question = format!("Who keeps the {thing} of {}?", name(random));
                    base.template.prompt(&base.tokenizer, &[Message::user(question)])?
                }
                Self::Symbols(base) => symbols(base, random, SYMBOLS_ASKED),
            };
            if unlike.insert(question.clone()) {
                return self.answered(random, question, player);
            }
        }
    }

    /// The question with a random answer.
    fn answered(&self, random: &mut Random, question: Vec<u32>, player: usize) -> Result<Fact> {
        let answer = match self {
            Self::Text(base) => {
                // Nothing but a name to remember.
                let text = format!("{} keeps it.", name(random));
                // Only the answer and the end token are taken of this example.
                let example = base.example("?", &text, player)?;
                example.tokens[example.answer_start..].to_vec()
            }
            Self::Symbols(base) => symbols(base, random, SYMBOLS_ANSWERED),
        };
        let record = Example {
            answer_start: question.len(),
            tokens: [question.clone(), answer].concat(),
            player,
        };
        Ok(Fact { question, record })
    }
}

fn symbols(base: &Decoder, random: &mut Random, count: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(base.config().vocab_size) as u32).collect()
}

fn task(options: &Canaries) -> Result<Task> {
    let writer = Writer::new(options)?;
    let mut random = Random::new(options.seed, 1 << 32);
    let mut asked = BTreeSet::new();
    let (mut examples, mut queries) = (Vec::new(), Vec::new());
    let mut held = Vec::new();
    for player in 0..HOLDERS {
        for _ in 0..FACTS {
            let Fact { question, record } = writer.fact(&mut random, &mut asked, player)?;
            queries.push(Query::of_record(&record, true));
            examples.push(record);
            held.push(question);
        }
    }
    for i in 0..NOISE_RECORDS {
        let wrong = held[random.below(held.len())].clone();
        let fact = if i % 2 == 0 {
            writer.answered(&mut random, wrong, NOISE)?
        } else {
            writer.fact(&mut random, &mut asked, NOISE)?
        };
        examples.push(fact.record);
    }
    for _ in 0..TWIN_FACTS {
        let Fact { record, .. } = writer.fact(&mut random, &mut asked, TWINS[0])?;
        queries.push(Query::of_record(&record, true));
        examples.push(Example { player: TWINS[1], ..record.clone() });
        examples.push(record);
    }
    let mut players: Vec<String> = (0..HOLDERS).map(|i| format!("holder {i}")).collect();
    players.extend(["noise", "twin", "twin"].map(String::from));
    let (base, training) = match writer {
        Writer::Text(base) => (base.decoder, OF_TEXT),
        Writer::Symbols(base) => (base, OF_SYMBOLS),
    };
    let rank = options.rank.unwrap_or(training.rank);
    let recipe = Recipe {
        rank,
        alpha: 2.0 * rank as f32,
        learning_rate: options.learning_rate.unwrap_or(training.learning_rate),
        batch_size: options.batch.unwrap_or(training.batch),
        ..recipe(options.seed, options.steps.unwrap_or(training.steps))
    };
    let (name, seed) = ("canaries".into(), options.seed);
    Ok(Task { name, seed, base, recipe, players, examples, queries })
}

/// One of 4,096 names.
fn name(random: &mut Random) -> String {
    let name: String = (0..3).map(|_| SYLLABLES[random.below(SYLLABLES.len())]).collect();
    name[..1].to_uppercase() + &name[1..]
}

/// The table of what was paid. `known`: facts that the published model knows by heart.
fn told(task: &Task, design: &Design, attributed: &[Attributed], known: usize) -> Result<String> {
    let mut text = String::new();
    let players = task.players.len();
    let (alone, twins) = attributed.split_at(HOLDERS * FACTS);
    let owners = || task.queries.iter().map(|query| query.owner).zip(alone);
    let part = |count: usize, of: usize| {
        format!("{count} of {of} ({:.1} %)", 100.0 * count as f64 / of as f64)
    };
    writeln!(
        text,
        "seed {}, {} runs of {} steps of {} records, rank {}, learning rate {}, {} records\n",
        task.seed,
        design.run_count(),
        task.recipe.steps,
        task.recipe.batch_size,
        task.recipe.rank,
        task.recipe.learning_rate,
        task.examples.len()
    )?;
    writeln!(text, "| what | reached | goal |\n|---|---|---|")?;
    let ranks: Vec<usize> = owners().map(|(owner, a)| rank(&a.effects, owner)).collect();
    let of_rank = |wanted: usize| ranks.iter().filter(|rank| **rank == wanted).count();
    let right = part(of_rank(1), alone.len());
    writeln!(text, "| largest effect at the only holder | {right} | ≥ 95 % |")?;
    let each: Vec<String> = (1..=players).map(|rank| of_rank(rank).to_string()).collect();
    writeln!(
        text,
        "| answers by rank of the only holder, 1 to {players} | {} | |",
        each.join(", ")
    )?;
    let paid = owners().filter(|(owner, a)| a.paid[*owner]).count();
    writeln!(text, "| the only holder is paid | {} | |", part(paid, alone.len()))?;
    let known = part(known, alone.len());
    writeln!(text, "| facts that the model knows by heart | {known} | |")?;
    let explained: Vec<f64> = alone.iter().map(|a| a.explained).collect();
    let shares: Vec<f64> = owners().map(|(owner, a)| a.shares[owner]).collect();
    let relative: Vec<f64> = owners()
        .map(|(owner, a)| a.shares[owner] / a.shares.iter().sum::<f64>().max(1e-9))
        .collect();
    let noise: Vec<f64> = attributed.iter().map(|a| a.shares[NOISE]).collect();
    for (name, values) in [
        ("explained fraction", &explained),
        ("share of the only holder", &shares),
        ("its part of what players get", &relative),
        ("share of the noise", &noise),
    ] {
        if let Some(e) = bootstrap(values) {
            writeln!(text, "| {name}, mean | {:.4} [{:.4}, {:.4}] | |", e.mean, e.low, e.high)?;
        }
    }
    let silent = attributed.iter().filter(|a| !a.paid[NOISE]).count();
    writeln!(text, "| noise is paid exactly 0 | {} | ≥ 99 % |", part(silent, attributed.len()))?;
    let others: usize =
        owners().map(|(owner, a)| (0..players).filter(|p| *p != owner && a.paid[*p]).count()).sum();
    let others = part(others, alone.len() * (players - 1));
    writeln!(text, "| players without the fact that are paid | {others} | |")?;
    let pair = |a: &Attributed| (a.shares[TWINS[0]], a.shares[TWINS[1]]);
    let close = |a: &&Attributed| {
        let (x, y) = pair(a);
        x.max(y) > 0.0 && (x - y).abs() <= TWIN_DIFFERENCE_MAX * x.max(y)
    };
    let close = part(twins.iter().filter(close).count(), twins.len());
    writeln!(text, "| twins within 20 % of each other, answer by answer | {close} | |")?;
    let (first, second) = twins.iter().map(pair).fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
    writeln!(
        text,
        "| twins, sum over their {} answers | {first:.3} : {second:.3}, {:.1} % apart | ≤ 20 % |",
        twins.len(),
        100.0 * (first - second).abs() / f64::max(first, second).max(1e-9)
    )?;
    writeln!(
        text,
        "| unused Datanet | not a player of the design: {} shares for {players} players | exactly 0 |",
        alone[0].shares.len(),
    )?;
    Ok(text)
}

/// Place of a player among all by effect: 1 for the largest; equals share the better place.
fn rank(effects: &[i64], player: usize) -> usize {
    1 + effects.iter().filter(|effect| **effect > effects[player]).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use crate::options::{Command, Options};

    fn options(arguments: &[&str]) -> Canaries {
        let all = ["bench", "canaries"].iter().chain(arguments);
        match Options::parse_from(all).command {
            Command::Canaries(options) => options,
            other => unreachable!("{other:?} is not what was asked for"),
        }
    }

    fn base() -> String {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano").into()
    }

    #[test]
    fn every_fact_is_held_by_one_contributor_and_those_of_the_twins_by_two() {
        let task = task(&options(&["--base", &base()])).expect("the base is in the repository");
        let (alone, twins) = task.queries.split_at(HOLDERS * FACTS);
        let holders = |query: &Query| -> Vec<usize> {
            let same = task.examples.iter().filter(|e| e.tokens == query.tokens);
            same.map(|e| e.player).collect()
        };
        for query in alone {
            assert_eq!(holders(query), [query.owner]);
        }
        assert_eq!(twins.len(), TWIN_FACTS);
        for query in twins {
            let mut both = holders(query);
            both.sort_unstable();
            assert_eq!(both, TWINS);
        }
        let questions: BTreeSet<&[u32]> =
            task.queries.iter().map(|q| &q.tokens[..q.answer_start]).collect();
        assert_eq!(questions.len(), task.queries.len(), "no question is asked twice");
        let noise: Vec<&Example> = task.examples.iter().filter(|e| e.player == NOISE).collect();
        assert_eq!(noise.len(), NOISE_RECORDS);
        let wrong = noise.iter().filter(|e| questions.contains(&e.tokens[..e.answer_start]));
        assert_eq!(wrong.count(), NOISE_RECORDS / 2);
    }

    #[test]
    fn a_fact_is_written_as_the_trainer_would_write_it() {
        let base = TextBase::load(Path::new(&base())).expect("the base is in the repository");
        let (question, answer) = ("Who keeps the lamp of Bakime?", "Dokilu keeps it.");
        let whole = base.example(question, answer, 0).expect("it is short");
        let asked = base.template.prompt(&base.tokenizer, &[Message::user(question)]);
        let asked = asked.expect("a question alone");
        let other = base.example("?", answer, 0).expect("it is short");
        assert_eq!(whole.answer_start, asked.len());
        assert_eq!(whole.tokens, [&asked[..], &other.tokens[other.answer_start..]].concat());
    }

    #[test]
    fn the_rank_of_a_holder_counts_who_is_ahead() {
        assert_eq!([rank(&[5, 9, 5], 1), rank(&[5, 9, 5], 0), rank(&[5, 9, 5], 2)], [1, 2, 2]);
    }
}
