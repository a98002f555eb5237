//! Rust source with comments and literals blanked out, so that a rule about code does not trip over
//! prose or test data.

/// `source` with every character of a comment, string or character literal replaced by a space.
/// Line breaks stay, so line numbers are those of the file.
pub(crate) fn code_only(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < characters.len() {
        let end = end_of_non_code(&characters, at);
        if end > at {
            code.extend(characters[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' }));
            at = end;
        } else {
            code.push(characters[at]);
            at += 1;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn end_of_non_code(characters: &[char], at: usize) -> usize {
    let next = characters.get(at + 1).copied();
    match (characters[at], next) {
        ('/', Some('/')) => find(characters, at, '\n'),
        ('/', Some('*')) => end_of_block_comment(characters, at),
        ('"', _) => end_of_quoted(characters, at, '"'),
        ('\'', _) if is_character_literal(characters, at) => end_of_quoted(characters, at, '\''),
        ('r', Some('"' | '#')) if !continues_a_word(characters, at) => {
            end_of_raw_string(characters, at)
        }
        _ => at,
    }
}

fn find(characters: &[char], from: usize, wanted: char) -> usize {
    let found = characters[from..].iter().position(|&c| c == wanted);
    found.map_or(characters.len(), |offset| from + offset)
}

/// Block comments nest in Rust.
fn end_of_block_comment(characters: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < characters.len() {
        match (characters[at], characters.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn end_of_quoted(characters: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < characters.len() && characters[at] != quote {
        at += if characters[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(characters.len())
}

/// `'a'` and `'\n'` are literals, the `'a` of `&'a str` is a lifetime.
fn is_character_literal(characters: &[char], at: usize) -> bool {
    characters.get(at + 1) == Some(&'\\') || characters.get(at + 2) == Some(&'\'')
}

fn continues_a_word(characters: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| characters[before]);
    // `br"…"` is a raw byte string.
    before.is_some_and(|c| c != 'b' && (c.is_alphanumeric() || c == '_'))
}

/// `r"…"`, `r#"…"#` and so on; a raw identifier such as `r#type` is left as code.
fn end_of_raw_string(characters: &[char], start: usize) -> usize {
    let hashes = characters[start + 1..].iter().take_while(|&&c| c == '#').count();
    let quote = start + 1 + hashes;
    if characters.get(quote) != Some(&'"') {
        return start;
    }
    let mut at = quote + 1;
    loop {
        at = find(characters, at, '"');
        if at == characters.len() {
            return at;
        }
        let closing = characters[at + 1..].iter().take(hashes).take_while(|&&c| c == '#').count();
        if closing == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        code_only(source).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_and_literals_disappear() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(words(r##"a "b \" c" d r#"e " f"# g 'h' i"##), ["a", "d", "g", "i"]);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_stay_code() {
        assert_eq!(
            words("fn f<'a>(x: &'a str) r#type"),
            ["fn", "f<'a>(x:", "&'a", "str)", "r#type"]
        );
    }

    #[test]
    fn line_numbers_stay_those_of_the_file() {
        let source = "a /*\n\n*/ \"\n\" b // c\nd";
        assert_eq!(code_only(source).matches('\n').count(), source.matches('\n').count());
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_file() {
        assert_eq!(words("a \"b"), ["a"]);
        assert_eq!(words("a r#\"b"), ["a"]);
        assert_eq!(words("a /* b"), ["a"]);
    }
}
