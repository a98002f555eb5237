//! The one form in which a record is stored, hashed and trained on.

use openledger_primitives::{B256, keccak256};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::{RowError, duplicate_key};

/// Bytes of the texts of one record in canonical form, together.
pub const CONTENT_BYTES_MAX: usize = 4 << 20;

/// First bytes of what a content hash is taken over.
const CONTENT_TAG: &[u8] = b"openledger/record/1\0";

/// First bytes of what a duplicate key is taken over.
const DUPLICATE_TAG: &[u8] = b"openledger/duplicate-key/1\0";

/// Who speaks in a message. The number is its code in the canonical encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Instructions. `developer`, the newer name of the same role, is read as this one.
    System = 1,
    /// The person who asks.
    User = 2,
    /// The model that answers.
    Assistant = 3,
}

impl Role {
    /// The role's name in the chat format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "system" | "developer" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// One message of a record, its text in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    role: Role,
    text: String,
}

impl Message {
    /// Who speaks.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What is said: NFC, line ends `\n`, no white space at the end, never empty, no NUL.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A record's content in canonical form: messages of which the last is the completion.
///
/// A prompt with its completion is a user message and an assistant message, so the same content in
/// either file format is the same record. Comes from [`prompt_completion`](Self::prompt_completion) or
/// [`conversation`](Self::conversation) alone; both are idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    messages: Vec<Message>,
    content_hash: B256,
}

impl Canonical {
    /// Canonical form of a prompt and its completion.
    ///
    /// Errors: [`RowError::MissingContent`], [`RowError::NulCharacter`], [`RowError::RecordTooLong`].
    pub fn prompt_completion(prompt: &str, completion: &str) -> Result<Self, RowError> {
        Self::new([(Role::User, prompt), (Role::Assistant, completion)], |i| {
            ["the prompt", "the completion"][i].to_owned()
        })
    }

    /// Canonical form of a conversation that ends with the assistant's completion.
    ///
    /// Errors: as above, and [`RowError::ExampleMissingAssistantMessage`],
    /// [`RowError::MessageAfterCompletion`], [`RowError::MissingPrompt`].
    pub fn conversation(messages: &[(Role, &str)]) -> Result<Self, RowError> {
        match messages {
            [(Role::Assistant, _)] => return Err(RowError::MissingPrompt),
            [.., (Role::Assistant, _)] => {}
            _ if messages.iter().any(|(role, _)| *role == Role::Assistant) => {
                return Err(RowError::MessageAfterCompletion);
            }
            _ => return Err(RowError::ExampleMissingAssistantMessage),
        }
        Self::new(messages.iter().copied(), |i| format!("message {}", i + 1))
    }

    fn new<'a>(
        messages: impl IntoIterator<Item = (Role, &'a str)>,
        place: impl Fn(usize) -> String,
    ) -> Result<Self, RowError> {
        let mut content_bytes = 0;
        let mut canonical = Vec::new();
        for (i, (role, text)) in messages.into_iter().enumerate() {
            if text.contains('\0') {
                return Err(RowError::NulCharacter { place: place(i) });
            }
            let text = canonical_text(text);
            if text.is_empty() {
                return Err(RowError::MissingContent { place: place(i) });
            }
            content_bytes += text.len();
            if content_bytes > CONTENT_BYTES_MAX {
                return Err(RowError::RecordTooLong { limit: CONTENT_BYTES_MAX });
            }
            canonical.push(Message { role, text });
        }
        let content_hash = keccak256(encode(CONTENT_TAG, &canonical, |text| text.to_owned()));
        Ok(Self { messages: canonical, content_hash })
    }

    /// All messages, the completion last. At least two.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// What stands before the completion. At least one message.
    pub fn context(&self) -> &[Message] {
        &self.messages[..self.messages.len() - 1]
    }

    /// The prompt, if the context is one user message alone.
    pub fn prompt(&self) -> Option<&str> {
        match self.context() {
            [Message { role: Role::User, text }] => Some(text),
            _ => None,
        }
    }

    /// What the model learns to say.
    pub fn completion(&self) -> &str {
        &self.messages[self.messages.len() - 1].text
    }

    /// keccak256 of [`encoded`](Self::encoded): the identity of this content.
    pub fn content_hash(&self) -> B256 {
        self.content_hash
    }

    /// The canonical bytes: `openledger/record/1` ‖ 0x00 ‖ u32 count ‖ per message u8 role ‖ u32 length ‖
    /// UTF-8. Integers big-endian.
    pub fn encoded(&self) -> Vec<u8> {
        encode(CONTENT_TAG, &self.messages, |text| text.to_owned())
    }

    /// Hash of the same encoding over the folded texts: equal for copies that differ only in case, width,
    /// white space or invisible characters.
    pub fn duplicate_key(&self) -> B256 {
        keccak256(encode(DUPLICATE_TAG, &self.messages, duplicate_key::fold))
    }
}

/// NFC, line ends `\n`, no white space at the end. Leading white space stays: in code it means something.
fn canonical_text(text: &str) -> String {
    let mut out = match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text.to_owned(),
        _ => text.nfc().collect(),
    };
    if out.contains('\r') {
        out = out.replace("\r\n", "\n").replace('\r', "\n");
    }
    out.truncate(out.trim_end().len());
    out
}

fn encode(tag: &[u8], messages: &[Message], form: impl Fn(&str) -> String) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).expect("bounded by CONTENT_BYTES_MAX").to_be_bytes();
    let mut out = tag.to_vec();
    out.extend(length(messages.len()));
    for message in messages {
        let text = form(&message.text);
        out.push(message.role as u8);
        out.extend(length(text.len()));
        out.extend(text.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(prompt: &str, completion: &str) -> Canonical {
        Canonical::prompt_completion(prompt, completion).unwrap()
    }

    #[test]
    fn the_encoding_is_what_the_documentation_says() {
        let mut expected = b"openledger/record/1\0".to_vec();
        expected.extend([0, 0, 0, 2, 2, 0, 0, 0, 2]);
        expected.extend(b"Hi");
        expected.extend([3, 0, 0, 0, 4]);
        expected.extend("Zoë".bytes());
        let record = pair("Hi \r\n", "Zoe\u{308}\n");
        assert_eq!(record.encoded(), expected);
        assert_eq!(record.content_hash(), keccak256(expected));
    }

    #[test]
    fn a_pair_and_its_chat_form_are_one_record() {
        let chat =
            Canonical::conversation(&[(Role::User, "2+2?"), (Role::Assistant, "4")]).unwrap();
        assert_eq!(chat, pair("2+2?", "4"));
        assert_eq!((chat.prompt(), chat.completion()), (Some("2+2?"), "4"));
    }

    #[test]
    fn indentation_and_inner_white_space_are_kept() {
        let record = pair("  code:\r\n\tx  \rend \u{a0}\n", " y");
        assert_eq!((record.prompt(), record.completion()), (Some("  code:\n\tx  \nend"), " y"));
    }

    #[test]
    fn a_conversation_must_end_with_an_answer_to_something() {
        use Role::{Assistant, System, User};
        let fault =
            |messages: &[(Role, &str)]| Canonical::conversation(messages).unwrap_err().code();
        assert_eq!(fault(&[]), "example_missing_assistant_message");
        assert_eq!(fault(&[(System, "a"), (User, "b")]), "example_missing_assistant_message");
        assert_eq!(
            fault(&[(User, "a"), (Assistant, "b"), (User, "c")]),
            "message_after_completion"
        );
        assert_eq!(fault(&[(Assistant, "b")]), "missing_prompt");
        assert_eq!(fault(&[(User, " \n"), (Assistant, "b")]), "missing_content");
        assert_eq!(fault(&[(User, "a\0"), (Assistant, "b")]), "nul_character");
    }

    #[test]
    fn texts_cannot_flow_into_each_other() {
        assert_ne!(pair("ab", "c").content_hash(), pair("a", "bc").content_hash());
        assert_ne!(pair("ab", "c").duplicate_key(), pair("a", "bc").duplicate_key());
        assert_ne!(pair("a", "b").duplicate_key(), pair("a", "b").content_hash());
    }

    #[test]
    fn normalisation_cannot_smuggle_a_record_over_the_limit() {
        // U+FB2C is excluded from composition, so NFC makes three characters of it.
        let grows = "\u{FB2C}".repeat(CONTENT_BYTES_MAX / 5);
        assert!(grows.len() < CONTENT_BYTES_MAX);
        let fault = Canonical::prompt_completion("a", &grows).unwrap_err();
        assert_eq!(fault, RowError::RecordTooLong { limit: CONTENT_BYTES_MAX });
    }

    proptest! {
        #[test]
        fn canonicalisation_is_idempotent(text in any::<String>(), nasty in "[\\s\r\n\u{300}-\u{310}a-e\u{1100}-\u{11FF}]{0,30}") {
            let once = canonical_text(&format!("{text}{nasty}"));
            prop_assert_eq!(canonical_text(&once), once.clone());
            prop_assert!(!once.contains('\r'));
            prop_assert_eq!(once.trim_end(), &once);
        }

        #[test]
        fn the_canonical_form_keeps_the_duplicate_key(a in "\\PC{1,30}[a-z]", b in "[a-z]\\PC{1,30}") {
            let Ok(first) = Canonical::prompt_completion(&a, &b) else { return Ok(()) };
            let again = Canonical::prompt_completion(first.prompt().unwrap(), first.completion()).unwrap();
            prop_assert_eq!(again.duplicate_key(), first.duplicate_key());
            prop_assert_eq!(again, first);
        }
    }
}
