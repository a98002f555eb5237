use openledger_datanet::{Canonical, Role as RecordRole};
use openledger_model::{ChatTemplate, Example, Message, Role, TextError, Tokenizer};

/// A record as the model is trained on it: the conversation in the model's chat form, the answer with
/// its end token.
pub(crate) fn example(
    record: &Canonical,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Example, TextError> {
    let context: Vec<Message> = record
        .context()
        .iter()
        .map(|message| Message::new(role(message.role()), message.text()))
        .collect();
    template.example(tokenizer, &context, record.completion())
}

/// The tokens of a record's completion: what the span index holds.
pub(crate) fn answer_tokens(
    record: &Canonical,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<u32>, TextError> {
    let example = example(record, tokenizer, template)?;
    Ok(example.tokens[example.answer_start..].to_vec())
}

fn role(role: RecordRole) -> Role {
    match role {
        RecordRole::System => Role::System,
        RecordRole::User => Role::User,
        RecordRole::Assistant => Role::Assistant,
    }
}
