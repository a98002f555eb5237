//! The bytes a single token stands for, which are not always whole characters.

use tokenizers::DecoderWrapper;

use crate::Tokenizer;

/// How the pieces of a vocabulary are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Each byte as a printable character (GPT-2).
    ByteLevel,
    /// As text, a space as U+2581, bytes without a piece as `<0x0A>` (SentencePiece).
    Text,
}

impl Pieces {
    pub(crate) fn of(decoder: Option<&DecoderWrapper>) -> Self {
        let byte_level = match decoder {
            Some(DecoderWrapper::ByteLevel(_)) => true,
            Some(DecoderWrapper::Sequence(parts)) => {
                parts.get_decoders().iter().any(|d| matches!(d, DecoderWrapper::ByteLevel(_)))
            }
            _ => false,
        };
        if byte_level { Self::ByteLevel } else { Self::Text }
    }

    fn bytes(self, piece: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => {
                let bytes: Option<Vec<u8>> = piece.chars().map(byte_of).collect();
                bytes.unwrap_or_else(|| piece.as_bytes().to_vec())
            }
            Self::Text => match fallback_byte(piece) {
                Some(byte) => vec![byte],
                None => piece.replace('\u{2581}', " ").into_bytes(),
            },
        }
    }
}

impl Tokenizer {
    /// The bytes of one token as they stand in the middle of a text; a control token's are its name.
    /// `None` for an id outside the vocabulary.
    pub fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
        let piece = self.piece(token)?;
        if self.is_control(token) {
            return Some(piece.into_bytes());
        }
        Some(self.pieces().bytes(&piece))
    }
}

/// The byte that GPT-2 writes as this character: printable ones of Latin-1 as themselves, the other 68 from
/// U+0100 on, in order.
fn byte_of(c: char) -> Option<u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(c);
    match u8::try_from(code) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => {
            let place = usize::try_from(code - 0x100).ok()?;
            (0..=u8::MAX).filter(|b| !printable(*b)).nth(place)
        }
    }
}

/// The byte of `<0x0A>`.
fn fallback_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut bytes: Vec<u8> =
            (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of('\u{120}'), Some(b' '));
        assert_eq!(byte_of('\u{10A}'), Some(b'\n'));
        assert_eq!(byte_of('A'), Some(b'A'));
    }

    #[test]
    fn pieces_of_sentencepiece_have_spaces_and_single_bytes() {
        assert_eq!(Pieces::Text.bytes("\u{2581}hi"), b" hi");
        assert_eq!(Pieces::Text.bytes("<0x0A>"), b"\n");
        assert_eq!(Pieces::Text.bytes("<0x>"), b"<0x>");
    }
}
