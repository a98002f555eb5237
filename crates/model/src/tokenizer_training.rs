//! Learns a byte-level BPE vocabulary from text.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
};

use crate::text_error::TextError;
use crate::tokenizer::{Tokenizer, library};

/// A pair of tokens seen less often than this is not worth a vocabulary entry.
const PAIR_COUNT_MIN: u64 = 2;

/// Trains a byte-level BPE vocabulary: `control` first (ids 0, 1, …), then the 256 bytes, then merges,
/// `vocabulary_size` tokens in all. Byte-level means that every text can be encoded, and comes back unchanged.
///
/// Deterministic: the same texts in the same order give the same file, on any number of threads.
///
/// Errors: [`TextError::Tokenizer`] if there is too little text for that many tokens.
/// Source: Sennrich et al. 1508.07909; bytes as the alphabet, Radford et al. 2019 (GPT-2).
pub fn train_byte_level_bpe<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    control: &[&str],
    vocabulary_size: usize,
) -> Result<Tokenizer, TextError> {
    let byte_level = ByteLevel::new(false, false, true);
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocabulary_size)
        .min_frequency(PAIR_COUNT_MIN)
        .show_progress(false)
        .special_tokens(
            control.iter().map(|token| AddedToken::from(*token, true).normalized(false)).collect(),
        )
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
        .build();
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerImpl::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(byte_level));
    tokenizer.with_decoder(Some(byte_level));
    tokenizer.train(&mut trainer, texts).map_err(library)?;

    let json = tokenizer.to_string(true).map_err(library)?;
    let trained = Tokenizer::from_json(json.as_bytes())?;
    if trained.vocabulary_size() != vocabulary_size {
        return Err(TextError::Tokenizer(format!(
            "the text has enough repeated pairs for {} tokens only, {vocabulary_size} were asked for",
            trained.vocabulary_size()
        )));
    }
    Ok(trained)
}

/// A tokenizer of a few hundred tokens, learnt from a few sentences.
#[cfg(any(test, fuzzing))]
pub(crate) fn small_tokenizer() -> Result<Tokenizer, TextError> {
    const TEXTS: [&str; 4] = [
        "git commit -m {{message}} git commit --amend git push origin {{branch}}",
        "docker run --rm {{image}} docker ps --all docker commit {{container}}",
        "the quick brown fox commits the quick brown files to the quick branch",
        "naïve café and naïve café",
    ];
    train_byte_level_bpe(TEXTS.into_iter(), &["<|end|>", "<|user|>", "<|assistant|>"], 290)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_twice_gives_the_same_file() -> Result<(), TextError> {
        assert_eq!(small_tokenizer()?.to_json()?, small_tokenizer()?.to_json()?);
        Ok(())
    }

    #[test]
    fn control_tokens_come_first_and_the_size_is_as_asked() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        assert_eq!(tokenizer.vocabulary_size(), 290);
        assert_eq!(tokenizer.token_id("<|end|>"), Some(0));
        assert_eq!(tokenizer.token_id("<|user|>"), Some(1));
        assert_eq!(tokenizer.token_id("<|assistant|>"), Some(2));
        assert!(tokenizer.encode("git commit")?.len() < "git commit".len(), "merges were learnt");
        Ok(())
    }

    #[test]
    fn too_little_text_for_the_vocabulary_is_an_error() {
        let result = train_byte_level_bpe(["ab"].into_iter(), &["<|end|>"], 4096);
        assert!(matches!(result, Err(TextError::Tokenizer(_))));
    }
}
