//! From the records of a data file to documents, one way per form.

use std::collections::HashSet;

use serde::Deserialize;

use crate::base_recipe::Form;

/// One document of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A question with its answer, trained in the chat format.
    Chat {
        /// What is asked.
        prompt: String,
        /// What the model should answer.
        answer: String,
    },
    /// Running text.
    Text(String),
}

impl Document {
    /// The texts of the document.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Chat { prompt, answer } => (prompt.as_str(), Some(answer.as_str())),
            Self::Text(text) => (text.as_str(), None),
        };
        std::iter::once(first).chain(second)
    }
}

#[derive(Deserialize)]
struct Page {
    title: String,
    description: String,
    examples: Vec<PageExample>,
}

#[derive(Deserialize)]
struct PageExample {
    instruction: String,
    command: String,
}

#[derive(Deserialize)]
struct Question {
    question: String,
    answer: String,
}

#[derive(Deserialize)]
struct Task {
    instruction: String,
    instances: Vec<TaskInstance>,
}

#[derive(Deserialize)]
struct TaskInstance {
    input: String,
    output: String,
}

#[derive(Deserialize)]
struct Plain {
    text: String,
}

/// Documents of one JSON Lines record. A record may give none.
pub(crate) fn documents(form: &Form, line: &str) -> Result<Vec<Document>, serde_json::Error> {
    Ok(match form {
        Form::Commands { families_left_out } => {
            commands(serde_json::from_str(line)?, families_left_out)
        }
        Form::Descriptions { families_left_out } => {
            description(serde_json::from_str(line)?, families_left_out).into_iter().collect()
        }
        Form::Questions { answer_chars_max } => {
            question(serde_json::from_str(line)?, *answer_chars_max).into_iter().collect()
        }
        Form::Instructions { chars_max } => instructions(serde_json::from_str(line)?, *chars_max),
        Form::Documents { piece_chars_max } => {
            let plain: Plain = serde_json::from_str(line)?;
            let text = without_front_matter(&plain.text);
            pieces(text, *piece_chars_max).into_iter().map(Document::Text).collect()
        }
    })
}

fn commands(page: Page, families_left_out: &[String]) -> Vec<Document> {
    let families = family_set(families_left_out);
    if mentions(&page.title, &families) {
        return Vec::new();
    }
    let allowed = |example: &PageExample| !mentions(&example.command, &families);
    let examples = page.examples.into_iter().filter(allowed);
    examples
        .map(|example| Document::Chat {
            prompt: format!("{} ({})", example.instruction, page.title),
            answer: example.command,
        })
        .collect()
}

fn description(page: Page, families_left_out: &[String]) -> Option<Document> {
    let families = family_set(families_left_out);
    let about_family = mentions(&page.title, &families) || mentions(&page.description, &families);
    let says_nothing = page.description.starts_with("This command is an alias");
    (!about_family && !says_nothing).then(|| Document::Chat {
        prompt: format!("What is {}?", page.title),
        answer: page.description,
    })
}

fn question(record: Question, answer_chars_max: usize) -> Option<Document> {
    // MedQuAD writes "What is … ?" and at times "? ?".
    let prompt = tidy(&without_calculator(&record.question)).replace(" ?", "?").replace("??", "?");
    let answer = tidy(&without_calculator(&record.answer));
    let answer = whole_sentences(&answer, answer_chars_max).to_owned();
    (!prompt.is_empty() && !answer.is_empty()).then_some(Document::Chat { prompt, answer })
}

fn instructions(task: Task, chars_max: usize) -> Vec<Document> {
    let one = |instance: TaskInstance| {
        let prompt = match instance.input.trim() {
            "" => task.instruction.trim().to_owned(),
            input => format!("{}\n{input}", task.instruction.trim()),
        };
        let answer = instance.output.trim().to_owned();
        let fits = |text: &str| !text.is_empty() && text.chars().count() <= chars_max;
        (fits(&prompt) && fits(&answer)).then_some(Document::Chat { prompt, answer })
    };
    task.instances.into_iter().filter_map(one).collect()
}

fn family_set(families: &[String]) -> HashSet<&str> {
    families.iter().map(String::as_str).collect()
}

/// Whether a word of the text is one of the families, `git` in `git-lfs` and `sudo git` included.
fn mentions(text: &str, families: &HashSet<&str>) -> bool {
    let word_end = |c: char| !(c.is_alphanumeric() || c == '_');
    text.split(word_end).any(|word| families.contains(word))
}

/// Removes `<<48/2=24>>`, the calculator notes of grade-school answers.
fn without_calculator(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        let Some((_, after)) = after.split_once(">>") else { break };
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Single spaces, single line breaks, nothing at either end.
fn tidy(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The longest beginning of at most `chars_max` characters that ends with a sentence; cut anywhere if none does.
fn whole_sentences(text: &str, chars_max: usize) -> &str {
    let Some((cut, _)) = text.char_indices().nth(chars_max) else { return text };
    let head = &text[..cut];
    let end = [". ", ".\n", "? ", "! "].iter().filter_map(|mark| head.rfind(mark)).max();
    end.map_or(head, |end| &head[..=end])
}

/// Markdown without its leading `---` block.
fn without_front_matter(text: &str) -> &str {
    text.strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or(text, |(_, body)| body)
}

/// Pieces of at most `chars_max` characters, cut at line breaks where there is one.
fn pieces(text: &str, chars_max: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while let Some((cut, _)) = rest.char_indices().nth(chars_max) {
        let end = rest[..cut].rfind('\n').filter(|end| *end > 0).unwrap_or(cut);
        pieces.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    pieces.push(rest.to_owned());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(prompt: &str, answer: &str) -> Document {
        Document::Chat { prompt: prompt.to_owned(), answer: answer.to_owned() }
    }

    #[test]
    fn a_page_of_commands_becomes_one_question_each() -> Result<(), serde_json::Error> {
        let line = r#"{"title": "tar", "description": "Archiver.", "examples": [
            {"instruction": "List", "command": "tar tf {{file}}"},
            {"instruction": "From git", "command": "git archive | tar x"}]}"#;
        let families_left_out = vec!["git".to_owned()];
        let form = Form::Commands { families_left_out: families_left_out.clone() };
        assert_eq!(documents(&form, line)?, [chat("List (tar)", "tar tf {{file}}")]);
        let form = Form::Descriptions { families_left_out };
        assert_eq!(documents(&form, line)?, [chat("What is tar?", "Archiver.")]);
        Ok(())
    }

    #[test]
    fn families_kept_for_fine_tuning_are_left_out_in_every_spelling() {
        let families = HashSet::from(["git"]);
        for text in ["git", "git commit", "git-lfs", "sudo git pull", "a;git"] {
            assert!(mentions(text, &families), "{text}");
        }
        for text in ["github", "digit", "gitk"] {
            assert!(!mentions(text, &families), "{text}");
        }
    }

    #[test]
    fn calculator_notes_are_removed_and_a_lone_mark_is_kept() {
        assert_eq!(
            without_calculator("48/2 = <<48/2=24>>24 clips, 1 << 3"),
            "48/2 = 24 clips, 1 << 3"
        );
    }

    #[test]
    fn long_answers_end_with_a_sentence() {
        assert_eq!(whole_sentences("One. Two is longer. Three", 22), "One. Two is longer.");
        assert_eq!(whole_sentences("no end at all", 5), "no en");
        assert_eq!(whole_sentences("short", 50), "short");
    }

    #[test]
    fn pieces_are_short_enough_and_lose_no_words() {
        let text = "first line\nsecond line is long\n\nthird äöü".repeat(9);
        let pieces = pieces(&text, 40);
        assert!(pieces.iter().all(|piece| piece.chars().count() <= 40));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&pieces.join("\n")), words(&text));
    }

    #[test]
    fn front_matter_is_not_text() {
        assert_eq!(without_front_matter("---\ntitle: x\n---\nbody"), "body");
        assert_eq!(without_front_matter("--- no"), "--- no");
    }
}
