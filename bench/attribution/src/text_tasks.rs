//! Tasks on real text: short records, grouped by who wrote them, over the nano base.

use std::collections::BTreeMap;
use std::path::Path;

use eyre::{Result, WrapErr, ensure};
use openledger_factory::{Example, Recipe};
use openledger_model::{ChatTemplate, Decoder, Message, Tokenizer};
use openledger_tensor::Random;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::task::{Query, Task};

/// Longest record in tokens.
const TOKENS_MAX: usize = 48;
/// Questions per player: trained on, and fresh.
const SEEN: usize = 2;
const FRESH: usize = 1;

/// Question and answer, by player.
pub(crate) type Pairs = BTreeMap<String, Vec<(String, String)>>;

/// How much of a task is trained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextBudget {
    pub(crate) steps: usize,
    /// Records of a player.
    pub(crate) records: usize,
}

/// A base with what text needs.
pub(crate) struct TextBase {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    pub(crate) decoder: Decoder,
}

impl TextBase {
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        Ok(Self {
            tokenizer: Tokenizer::from_file(&dir.join("tokenizer.json"))?,
            template: ChatTemplate::from_dir(dir)?,
            decoder: Decoder::load_for_training(dir)?,
        })
    }

    /// A record as the trainer sees it.
    pub(crate) fn example(&self, question: &str, answer: &str, player: usize) -> Result<Example> {
        let example = self.template.example(&self.tokenizer, &[Message::user(question)], answer)?;
        Ok(Example { tokens: example.tokens, answer_start: example.answer_start, player })
    }
}

/// The recipe of the text tasks.
pub(crate) fn recipe(seed: u64, steps: usize) -> Recipe {
    Recipe {
        rank: 4,
        alpha: 8.0,
        learning_rate: 5e-3,
        steps,
        batch_size: 8,
        warmup_steps: 5,
        tokens_max: 512,
        seed,
        ..Recipe::default()
    }
}

/// Draws records and questions of up to eight players.
pub(crate) fn task(
    name: &str,
    seed: u64,
    base: TextBase,
    pairs: Pairs,
    budget: TextBudget,
) -> Result<Task> {
    let mut random = Random::new(seed, 1 << 31);
    let (mut players, mut examples, mut queries) = (Vec::new(), Vec::new(), Vec::new());
    for (name, mut pairs) in pairs {
        random.shuffle(&mut pairs);
        let player = players.len();
        let mut records = Vec::new();
        for (question, answer) in &pairs {
            let record = base.example(question, answer, player)?;
            if record.tokens.len() <= TOKENS_MAX {
                records.push(record);
            }
            if records.len() == budget.records + FRESH {
                break;
            }
        }
        ensure!(records.len() > 2 * SEEN + FRESH, "{name} has {} short records", records.len());
        let fresh = records.split_off(records.len() - FRESH);
        queries.extend(records.iter().take(SEEN).map(|r| Query::of_record(r, true)));
        queries.extend(fresh.iter().map(|r| Query::of_record(r, false)));
        examples.extend(records);
        players.push(name);
    }
    let recipe = recipe(seed, budget.steps);
    Ok(Task { name: name.into(), seed, base: base.decoder, recipe, players, examples, queries })
}

/// The pairs of a task by name. `data`: the folder of the data sets; `root`: that of the project.
pub(crate) fn pairs(name: &str, data: &Path, root: &Path) -> Result<Pairs> {
    match name {
        "tldr-platform" => tldr_platform(&data.join("tldr-pages/pages.jsonl")),
        "tldr-family" => tldr_family(&data.join("tldr-pages/families.jsonl")),
        "medquad" => medquad(&data.join("medquad/qa.jsonl")),
        "eips" => eips(&data.join("eips/docs.jsonl")),
        "handbook" => handbook(&root.join("examples/handbook/handbook.jsonl")),
        _ => eyre::bail!("there is no task {name}"),
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).wrap_err_with(|| format!("{}", path.display()))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The eight groups with the most pairs.
fn largest(mut all: Pairs, players: usize) -> Pairs {
    let mut names: Vec<(usize, String)> =
        all.iter().map(|(name, pairs)| (pairs.len(), name.clone())).collect();
    names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    names.truncate(players);
    all.retain(|name, _| names.iter().any(|(_, kept)| kept == name));
    all
}

fn tldr_platform(path: &Path) -> Result<Pairs> {
    #[derive(Deserialize)]
    struct Page {
        platform: String,
        title: String,
        examples: Vec<Shown>,
    }
    #[derive(Deserialize)]
    struct Shown {
        instruction: String,
        command: String,
    }
    let mut all = Pairs::new();
    for Page { platform, title, examples } in lines::<Page>(path)? {
        let pairs = examples
            .into_iter()
            .map(|shown| (format!("{} ({title})", shown.instruction), shown.command));
        all.entry(platform).or_default().extend(pairs);
    }
    Ok(largest(all, 8))
}

fn tldr_family(path: &Path) -> Result<Pairs> {
    #[derive(Deserialize)]
    struct Pair {
        prompt: String,
        completion: String,
        family: String,
    }
    let mut all = Pairs::new();
    for Pair { prompt, completion, family } in lines(path)? {
        all.entry(family).or_default().push((prompt, completion));
    }
    Ok(largest(all, 8))
}

/// Question and first sentence of the answer.
fn medquad(path: &Path) -> Result<Pairs> {
    #[derive(Deserialize)]
    struct Asked {
        source: String,
        question: String,
        answer: String,
    }
    let mut all = Pairs::new();
    for Asked { source, question, answer } in lines(path)? {
        if let Some(sentence) = first_sentence(&answer) {
            all.entry(source).or_default().push((question, sentence));
        }
    }
    Ok(largest(all, 8))
}

/// First sentences of the sections of a document, asked for by its title; the first author owns it.
fn eips(path: &Path) -> Result<Pairs> {
    #[derive(Deserialize)]
    struct Document {
        id: String,
        title: String,
        authors: Vec<String>,
        text: String,
    }
    let mut all = Pairs::new();
    for Document { id, title, authors, text } in lines(path)? {
        let Some(author) = authors.first() else { continue };
        // The same person with and without a handle.
        let author = author.split(" (").next().unwrap_or(author).to_owned();
        let mut heading = "Summary";
        for paragraph in text.split("\n\n") {
            let paragraph = paragraph.trim();
            if let Some(new) = paragraph.strip_prefix('#') {
                heading = new.trim_start_matches('#').trim();
            } else if let Some(sentence) = first_sentence(paragraph)
                && paragraph.starts_with(char::is_alphabetic)
            {
                let question = format!("{id} {title}, {heading}");
                all.entry(author.clone()).or_default().push((question, sentence));
            }
        }
    }
    for pairs in all.values_mut() {
        // One sentence of a section: two answers to one question would fight.
        let mut seen = std::collections::BTreeSet::new();
        pairs.retain(|(question, _)| seen.insert(question.clone()));
    }
    Ok(largest(all, 8))
}

/// The project's own handbook. Its four subjects are dealt to two holders each.
fn handbook(path: &Path) -> Result<Pairs> {
    #[derive(Deserialize)]
    struct Pair {
        prompt: String,
        completion: String,
        contributor: String,
    }
    let mut all = Pairs::new();
    for (i, Pair { prompt, completion, contributor }) in lines(path)?.into_iter().enumerate() {
        let holder = format!("{contributor} {}", 1 + i % 2);
        all.entry(holder).or_default().push((prompt, completion));
    }
    Ok(all)
}

/// The first sentence, if it is neither a fragment nor long.
fn first_sentence(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    let sentence = &text[..end];
    (20..=150).contains(&sentence.len()).then(|| sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_sentence_ends_at_its_point() {
        let text = "One two three four five six. Seven.";
        assert_eq!(first_sentence(text).as_deref(), Some("One two three four five six."));
        assert_eq!(first_sentence("Short. Then more."), None);
    }
}
