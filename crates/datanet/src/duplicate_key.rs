//! The looser reading of a text by which copies are found: compatibility forms, case, white space and
//! invisible characters do not make a new text.

use unicase::UniCase;
use unicode_normalization::UnicodeNormalization;

/// `text` in the form in which duplicates are compared: NFKC, invisible characters removed, full case
/// folding, NFKC again, each run of white space one space, none at the ends.
///
/// Follows the compatibility caseless matching of Unicode §3.13 (D146) in spirit; the white-space rule
/// is ours. Never shown and never trained on, only hashed.
pub(crate) fn fold(text: &str) -> String {
    // In ASCII nothing is ignorable or has another form, and folding is lowering.
    let folded = if text.is_ascii() { text.to_ascii_lowercase() } else { fold_unicode(text) };
    let mut words = folded.split_whitespace();
    let mut out = String::with_capacity(folded.len());
    out.push_str(words.next().unwrap_or_default());
    for word in words {
        out.push(' ');
        out.push_str(word);
    }
    out
}

fn fold_unicode(text: &str) -> String {
    let visible: String = text.nfkc().filter(|c| !is_default_ignorable(*c)).collect();
    UniCase::unicode(visible).to_folded_case().nfkc().collect()
}

/// Whether Unicode gives `c` the property Default_Ignorable_Code_Point: it shows nothing, so it can
/// hide in a copy.
///
/// Source: DerivedCoreProperties.txt, Unicode 16.0, with unassigned ranges included.
pub(crate) fn is_default_ignorable(c: char) -> bool {
    matches!(u32::from(c),
        0x00AD | 0x034F | 0x061C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F
        | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8 | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
        | 0xE0000..=0xE0FFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_width_spacing_and_hidden_characters_do_not_matter() {
        for (a, b) in [
            ("Straße", "STRASSE"),
            ("ﬁle  name\n", " file\tname"),
            ("ＡＢＣ", "abc"),
            ("re\u{200b}write\u{ad}", "rewrite"),
            ("Σίσυφος", "σίσυφοσ"),
            ("\u{1F71}", "ά"),
        ] {
            assert_eq!(fold(a), fold(b));
        }
        assert_ne!(fold("git add"), fold("gitadd"));
        assert_ne!(fold("git add -p"), fold("git add -n"));
    }

    proptest! {
        #[test]
        fn the_short_way_for_ascii_is_the_long_way(text in "[\\x00-\\x7F]{0,40}") {
            prop_assert_eq!(text.to_ascii_lowercase(), fold_unicode(&text));
        }

        #[test]
        fn white_space_at_the_ends_never_matters(text in "\\PC{0,40}", left in "\\s{0,3}", right in "\\s{0,3}") {
            prop_assert_eq!(fold(&format!("{left}{text}{right}")), fold(&text));
        }
    }
}
