//! Planted facts: what is paid where the truth is known without retraining.
//!
//! Five contributors hold forty facts each that nobody else has; a sixth holds noise, half of it wrong
//! answers to the others' questions, half facts that nobody asks for; the last two hold the same facts, with duplicate clusters switched
//! off. A Datanet that was not trained on is no player.

use std::collections::BTreeSet;
use std::path::Path;

use eyre::Result;
use openledger_attribution::Design;
use openledger_factory::Example;
use openledger_model::{Decoder, Message};
use openledger_tensor::Random;

use crate::options::Canaries;
use crate::ours::{Attributed, attribute};
use crate::runs::RunStore;
use crate::statistics::bootstrap;
use crate::subsets::of_design;
use crate::synthetic;
use crate::task::{Query, Task};
use crate::text_tasks::{TextBase, recipe};

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
const PLACES: [&str; 8] =
    ["kitchen", "cellar", "garden", "attic", "library", "stable", "tower", "workshop"];

/// Trains the runs, attributes every question, prints what was paid.
pub(crate) fn canaries(out: &Path, options: &Canaries) -> Result<()> {
    let task = task(options)?;
    let design = Design::with_order(task.players.len(), options.order)?;
    let masks = of_design(&design);
    let store = RunStore { dir: out.join("runs"), threads: options.threads };
    let runs = store.runs(&task, &masks)?;
    let attributed = task.queries.iter().enumerate().map(|(i, query)| {
        let values: Vec<i64> = masks.iter().map(|mask| runs[mask].values[i]).collect();
        attribute(&design, &values, query.answer_tokens())
    });
    let attributed: Vec<Attributed> = attributed.collect::<Result<_>>()?;
    print(&task, &design, options, &attributed);
    Ok(())
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
                    let question = format!("Where is the {thing} of {}?", word(random, 3));
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
                let place = PLACES[random.below(PLACES.len())];
                let shelf = random.below(100);
                let text =
                    format!("{} keeps it in the {place}, on shelf {shelf}.", word(random, 2));
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
    let mut recipe = recipe(options.seed, options.steps);
    recipe.batch_size = 16;
    let base = match writer {
        Writer::Text(base) => base.decoder,
        Writer::Symbols(base) => {
            (recipe.rank, recipe.alpha) = (16, 32.0);
            base
        }
    };
    let (name, seed) = ("canaries".into(), options.seed);
    Ok(Task { name, seed, base, recipe, players, examples, queries })
}

fn word(random: &mut Random, syllables: usize) -> String {
    let word: String = (0..syllables).map(|_| SYLLABLES[random.below(SYLLABLES.len())]).collect();
    word[..1].to_uppercase() + &word[1..]
}

fn print(task: &Task, design: &Design, options: &Canaries, attributed: &[Attributed]) {
    let (alone, twins) = attributed.split_at(HOLDERS * FACTS);
    let owners = || task.queries.iter().map(|query| query.owner).zip(alone);
    let part = |count: usize, of: usize| {
        format!("{count} of {of} ({:.1} %)", 100.0 * count as f64 / of as f64)
    };
    let largest =
        |(owner, a): &(usize, &Attributed)| a.effects.iter().max() == a.effects.get(*owner);
    println!(
        "seed {}, {} runs of {} steps, {} records\n",
        options.seed,
        design.run_count(),
        options.steps,
        task.examples.len()
    );
    println!("| what | reached | goal |\n|---|---|---|");
    let right = owners().filter(largest).count();
    println!("| largest effect at the only holder | {} | ≥ 95 % |", part(right, alone.len()));
    let paid = owners().filter(|(owner, a)| a.paid[*owner]).count();
    println!("| the only holder is paid | {} | |", part(paid, alone.len()));
    let explained: Vec<f64> = alone.iter().map(|a| a.explained).collect();
    let shares: Vec<f64> = owners().map(|(owner, a)| a.shares[owner]).collect();
    let relative: Vec<f64> = owners()
        .map(|(owner, a)| a.shares[owner] / a.shares.iter().sum::<f64>().max(1e-9))
        .collect();
    for (name, values) in [
        ("explained fraction", &explained),
        ("share of the only holder", &shares),
        ("its part of what players get", &relative),
    ] {
        if let Some(e) = bootstrap(values) {
            println!("| {name}, mean | {:.3} [{:.3}, {:.3}] | |", e.mean, e.low, e.high);
        }
    }
    let silent = attributed.iter().filter(|a| !a.paid[NOISE]).count();
    println!("| noise is paid exactly 0 | {} | ≥ 99 % |", part(silent, attributed.len()));
    let noise: Vec<f64> = attributed.iter().map(|a| a.shares[NOISE]).collect();
    if let Some(e) = bootstrap(&noise) {
        println!("| share of the noise, mean | {:.4} [{:.4}, {:.4}] | |", e.mean, e.low, e.high);
    }
    let others: usize = owners()
        .map(|(owner, a)| (0..task.players.len()).filter(|p| *p != owner && a.paid[*p]).count())
        .sum();
    println!(
        "| players without the fact that are paid | {} | |",
        part(others, alone.len() * (task.players.len() - 1))
    );
    let pair = |a: &Attributed| (a.shares[TWINS[0]], a.shares[TWINS[1]]);
    let close = |a: &&Attributed| {
        let (x, y) = pair(a);
        x.max(y) > 0.0 && (x - y).abs() <= TWIN_DIFFERENCE_MAX * x.max(y)
    };
    println!(
        "| twins within 20 % of each other, answer by answer | {} | |",
        part(twins.iter().filter(close).count(), twins.len())
    );
    let (first, second) = twins.iter().map(pair).fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
    println!(
        "| twins, sum over their {} answers | {first:.3} : {second:.3}, {:.1} % apart | ≤ 20 % |",
        twins.len(),
        100.0 * (first - second).abs() / f64::max(first, second)
    );
    println!(
        "| unused Datanet | not a player of the design: {} shares for {} players | exactly 0 |",
        attributed[0].shares.len(),
        task.players.len()
    );
}
