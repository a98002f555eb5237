//! The text half of a base model's Hugging Face folder: everything but the weights and their shape.

use std::path::Path;

use openledger_model::{ChatTemplate, Tokenizer};
use serde_json::json;

use crate::base_recipe::BaseRecipe;
use crate::corpus_error::CorpusError;

/// Reads `chat_template.jinja`, which is written by hand, as the template of the model being made.
///
/// Errors: [`CorpusError::Read`], [`CorpusError::Text`].
pub fn read_chat_template(recipe: &BaseRecipe, dir: &Path) -> Result<ChatTemplate, CorpusError> {
    let source = template_source(dir)?;
    Ok(ChatTemplate::new(source, Default::default(), recipe.tokenizer.end.clone())?)
}

/// Writes `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` into `dir`.
/// The same recipe and text give the same bytes.
///
/// Errors: [`CorpusError::Read`] for the template, [`CorpusError::Write`], [`CorpusError::Text`].
pub fn write_tokenizer_files(
    recipe: &BaseRecipe,
    tokenizer: &Tokenizer,
    dir: &Path,
) -> Result<(), CorpusError> {
    let end = &recipe.tokenizer.end;
    let end_id = read_chat_template(recipe, dir)?.end_of_turn(tokenizer)?;
    let others: Vec<_> = recipe.tokenizer.control.iter().filter(|token| *token != end).collect();
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": end,
        "pad_token": end,
        "additional_special_tokens": others,
        "model_max_length": recipe.model.context,
        "clean_up_tokenization_spaces": false,
        // Older tools look here, newer ones in chat_template.jinja.
        "chat_template": template_source(dir)?,
    });
    let generation_config = json!({
        "eos_token_id": end_id,
        "pad_token_id": end_id,
        "do_sample": false,
        "max_length": recipe.model.context,
    });
    write(dir, "tokenizer.json", tokenizer.to_json()?)?;
    write(dir, "tokenizer_config.json", format!("{tokenizer_config:#}\n"))?;
    write(dir, "generation_config.json", format!("{generation_config:#}\n"))
}

fn template_source(dir: &Path) -> Result<String, CorpusError> {
    let path = dir.join("chat_template.jinja");
    std::fs::read_to_string(&path).map_err(|error| CorpusError::read(&path, error))
}

fn write(dir: &Path, name: &str, content: String) -> Result<(), CorpusError> {
    let path = dir.join(name);
    std::fs::write(&path, content).map_err(|source| CorpusError::Write { path, source })
}
