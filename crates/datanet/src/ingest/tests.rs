use super::*;
use proptest::prelude::*;

const WALLET: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

fn options() -> IngestOptions {
    IngestOptions { default_contributor: Some("someone".parse().unwrap()), ..Default::default() }
}

fn ingest(file: impl AsRef<[u8]>) -> Ingest {
    read_jsonl(file.as_ref(), &options()).unwrap()
}

fn code(line: &str) -> &'static str {
    let ingest = ingest(line);
    assert!(ingest.rows.is_empty(), "{line} was taken");
    ingest.rejected.listed[0].code
}

#[test]
fn three_broken_rows_of_a_thousand_are_listed_and_the_others_kept() {
    let mut file = String::new();
    for i in 1..=1000 {
        file += &match i {
            17 => "{\"prompt\": \"broken\n".to_owned(),
            500 => "{\"prompt\": \"no completion\"}\r\n".to_owned(),
            1000 => "[1, 2]".to_owned(),
            _ => format!("{{\"prompt\": \"question {i}\", \"completion\": \"answer {i}\"}}\n"),
        };
    }
    let ingest = ingest(&file);
    assert_eq!((ingest.rows.len(), ingest.rejected.total), (997, 3));
    let listed: Vec<_> =
        ingest.rejected.listed.iter().map(|row| (row.line, row.column, row.code)).collect();
    assert_eq!(
        listed,
        [
            (17, Some(18), "invalid_json"),
            (500, None, "missing_completion"),
            (1000, None, "data_type")
        ]
    );
    assert_eq!(ingest.rejected.listed[2].excerpt, "[1, 2]");
    assert_eq!(ingest.source, Fingerprint::of(file.as_bytes()));
}

#[test]
fn the_chat_format_is_read_and_the_last_answer_is_the_completion() {
    let ingest = ingest(
        r#"{"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "4"}, {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes."}], "prompt": null, "contributor": "maths"}"#
            .replace('\n', " "),
    );
    let row = &ingest.rows[0];
    assert_eq!(row.contributor.to_string(), "maths");
    assert_eq!((row.canonical.prompt(), row.canonical.completion()), (None, "Yes."));
    assert_eq!(row.canonical.context().len(), 4);
    assert_eq!(row.canonical.messages()[0].role(), crate::Role::System);
}

#[test]
fn faults_have_the_names_of_the_openai_cookbook() {
    let chat = |messages: &str| code(&format!("{{\"messages\": {messages}}}"));
    assert_eq!(code("\"text\""), "data_type");
    assert_eq!(code("{}"), "missing_messages_list");
    assert_eq!(chat("[]"), "missing_messages_list");
    assert_eq!(chat("\"hello\""), "missing_messages_list");
    assert_eq!(chat("[{\"role\": \"user\"}]"), "message_missing_key");
    assert_eq!(chat("[{\"content\": \"a\"}]"), "message_missing_key");
    assert_eq!(chat("[7]"), "message_missing_key");
    assert_eq!(chat("[{\"role\": \"tool\", \"content\": \"a\"}]"), "unrecognized_role");
    assert_eq!(chat("[{\"role\": 1, \"content\": \"a\"}]"), "unrecognized_role");
    assert_eq!(chat("[{\"role\": \"user\", \"content\": null}]"), "missing_content");
    assert_eq!(chat("[{\"role\": \"user\", \"content\": [\"a\"]}]"), "missing_content");
    assert_eq!(
        chat("[{\"role\": \"user\", \"content\": \"a\"}]"),
        "example_missing_assistant_message"
    );
    assert_eq!(
        chat("[{\"role\": \"user\", \"content\": \"a\", \"tool_calls\": []}]"),
        "message_unrecognized_key"
    );
}

#[test]
fn faults_of_our_own_are_told_apart() {
    assert_eq!(code("{\"prompt\": \"a\"}"), "missing_completion");
    assert_eq!(code("{\"completion\": \"a\"}"), "missing_prompt");
    assert_eq!(code("{\"prompt\": \"a\", \"completion\": 3}"), "field_type");
    assert_eq!(code("{\"prompt\": \" \", \"completion\": \"a\"}"), "missing_content");
    assert_eq!(code("{\"prompt\": \"a\", \"completion\": \"b\\u0000\"}"), "nul_character");
    assert_eq!(
        code("{\"prompt\": \"a\", \"prompt\": \"b\", \"completion\": \"c\"}"),
        "duplicate_key"
    );
    assert_eq!(
        code("{\"prompt\": \"a\", \"completion\": \"b\", \"messages\": []}"),
        "both_formats"
    );
    assert_eq!(
        code("{\"prompt\": \"a\", \"completion\": \"b\", \"contributor\": \"0x12\"}"),
        "bad_contributor"
    );
    assert_eq!(
        code("{\"prompt\": \"a\", \"completion\": \"b\", \"contributor\": 12}"),
        "field_type"
    );
}

#[test]
fn a_row_without_an_owner_needs_a_default() {
    let file = &br#"{"prompt": "a", "completion": "b"}"#[..];
    let ingest = read_jsonl(file, &IngestOptions::default()).unwrap();
    assert_eq!(ingest.rejected.listed[0].code, "missing_contributor");
    let options = IngestOptions {
        default_contributor: Some(WALLET.to_lowercase().parse().unwrap()),
        ..Default::default()
    };
    assert_eq!(read_jsonl(file, &options).unwrap().rows[0].contributor.to_string(), WALLET);
}

#[test]
fn fields_can_be_chosen() {
    let mapping = FieldMapping {
        prompt: "question".into(),
        completion: "answer".into(),
        contributor: "family".into(),
        ..Default::default()
    };
    let options = IngestOptions { mapping, ..Default::default() };
    let file = r#"{"question": "a", "answer": "b", "family": "git", "prompt": "not this"}"#;
    let ingest = read_jsonl(file.as_bytes(), &options).unwrap();
    assert_eq!(ingest.rows[0].canonical.prompt(), Some("a"));
    assert_eq!(ingest.rows[0].contributor.to_string(), "git");
}

#[test]
fn a_byte_order_mark_blank_lines_and_windows_line_ends_are_no_faults() {
    let file = "\u{feff}{\"prompt\": \"a\", \"completion\": \"b\"}\r\n\r\n \t\n{\"prompt\": \"c\", \"completion\": \"d\"}\r\n";
    let ingest = ingest(file);
    assert_eq!((ingest.rows.len(), ingest.blank_lines, ingest.rejected.total), (2, 2, 0));
    assert_eq!(ingest.rows[1].line, 4);
}

#[test]
fn bytes_that_are_no_utf_8_cost_one_row() {
    let mut file = b"{\"prompt\": \"\xFF\", \"completion\": \"b\"}\n".to_vec();
    file.extend(b"{\"prompt\": \"a\", \"completion\": \"b\"}\n\0\0\n");
    let ingest = ingest(&file);
    assert_eq!(ingest.rows.len(), 1);
    let bad = &ingest.rejected.listed;
    assert_eq!((bad[0].code, bad[0].column), ("invalid_utf8", Some(13)));
    assert_eq!((bad[1].code, bad[1].excerpt.as_str()), ("invalid_json", "\u{fffd}\u{fffd}"));
}

#[test]
fn limits_hold_and_have_names() {
    let row = |i: usize| {
        format!("{{\"prompt\": \"q{i}\", \"completion\": \"a\", \"contributor\": \"c{i}\"}}\n")
    };
    let file: String = (0..5).map(row).collect();
    let with = |limits| {
        let options = IngestOptions { limits, ..Default::default() };
        read_jsonl(file.as_bytes(), &options)
    };
    let limits = Limits::default;
    assert!(matches!(
        with(Limits { records: 4, ..limits() }),
        Err(Error::TooManyRecords { limit: 4 })
    ));
    assert!(matches!(
        with(Limits { contributors: 4, ..limits() }),
        Err(Error::TooManyContributors { limit: 4 })
    ));
    assert!(matches!(
        with(Limits { file_bytes: 40, ..limits() }),
        Err(Error::FileTooLarge { limit: 40 })
    ));
    let short = with(Limits { field_bytes: 1, bad_rows_listed: 2, ..limits() }).unwrap();
    assert_eq!((short.rejected.total, short.rejected.listed.len()), (5, 2));
    assert_eq!(short.rejected.by_code["field_too_long"], 5);
    let short = with(Limits { line_bytes: 20, ..limits() }).unwrap();
    assert_eq!(short.rejected.by_code["line_too_long"], 5);
    assert!(with(Limits { records: 5, contributors: 5, ..limits() }).is_ok());
}

#[test]
fn a_text_that_grows_when_normalised_meets_the_limit_again() {
    let limits = Limits { field_bytes: 3, ..Limits::default() };
    let options = IngestOptions { limits, ..options() };
    let file = "{\"prompt\": \"\u{FB2C}\", \"completion\": \"a\"}";
    let ingest = read_jsonl(file.as_bytes(), &options).unwrap();
    assert_eq!(ingest.rejected.listed[0].code, "field_too_long");
}

#[test]
fn a_hostile_line_cannot_steer_the_terminal() {
    let bad = &ingest("\u{1b}[2J\u{202e}\u{7f}oops".as_bytes()).rejected.listed[0];
    assert_eq!(bad.excerpt, "\u{fffd}[2J\u{fffd}\u{fffd}oops");
    let long = &ingest("é\u{0}".repeat(500).as_bytes()).rejected.listed[0];
    assert!(long.excerpt.len() <= EXCERPT_BYTES_MAX);
}

#[test]
fn wallets_are_assigned_to_every_name_or_to_none() {
    let file = "{\"prompt\": \"a\", \"completion\": \"b\", \"contributor\": \"x\"}\n{\"prompt\": \"c\", \"completion\": \"d\", \"contributor\": \"y\"}";
    let mut ingest = ingest(file);
    let before = ingest.clone();
    let address: Address = WALLET.parse().unwrap();
    let mut wallets = BTreeMap::from([("x".to_owned(), address)]);
    let missing = ingest.assign_wallets(&wallets);
    assert!(matches!(missing, Err(Error::NoWallet { name }) if name == "y"));
    assert_eq!(ingest, before);
    wallets.insert("y".into(), address);
    ingest.assign_wallets(&wallets).unwrap();
    assert!(ingest.rows.iter().all(|row| row.contributor == Contributor::Wallet(address)));
    assert_eq!(ingest.labels[&address], "x");
}

/// Lines of every kind a file may hold, good and bad.
fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[a-z]{1,6}".prop_map(|t| format!("{{\"prompt\": \"{t}\", \"completion\": \"b\"}}").into_bytes()),
        1 => "\\PC{0,20}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "[\\[\\]{}:,\"a0 \\\\u]{0,30}".prop_map(String::into_bytes),
        1 => "(\"(prompt|completion|messages|role|content)\"|[\\[\\]{}:,]|null|1|\"assistant\"){0,14}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_the_reader_panic_or_lose_count(lines in prop::collection::vec(line(), 0..30), limits in (1usize..60, 1usize..20)) {
        let file = lines.join(&b'\n');
        let limits = Limits { line_bytes: limits.0, field_bytes: limits.1, ..Limits::default() };
        let Ok(ingest) = read_jsonl(&file[..], &IngestOptions { limits, ..options() }) else {
            prop_assert!(file.starts_with(b"\xFF\xFE") || file.starts_with(b"\xFE\xFF"));
            return Ok(());
        };
        let newlines = file.iter().filter(|byte| **byte == b'\n').count();
        let count = newlines + usize::from(!file.is_empty() && !file.ends_with(b"\n"));
        prop_assert_eq!(ingest.rows.len() as u64 + ingest.rejected.total + ingest.blank_lines, count as u64);
        prop_assert_eq!(ingest.rejected.by_code.values().sum::<u64>(), ingest.rejected.total);
        for bad in &ingest.rejected.listed {
            prop_assert!(bad.excerpt.len() <= EXCERPT_BYTES_MAX && !bad.excerpt.chars().any(char::is_control));
        }
    }

    #[test]
    fn bad_lines_anywhere_change_nothing_about_the_good_ones(good in prop::collection::vec("[a-z]{1,6}", 1..12), bad in prop::collection::vec(("[\\[{}a-z]{1,9}", any::<prop::sample::Index>()), 0..12)) {
        let row = |t: &String| format!("{{\"prompt\": \"{t}\", \"completion\": \"b\"}}");
        let mut lines: Vec<String> = good.iter().map(row).collect();
        let clean = ingest(lines.join("\n"));
        for (text, place) in &bad {
            lines.insert(place.index(lines.len() + 1), text.clone());
        }
        let mixed = ingest(lines.join("\n"));
        prop_assert_eq!(mixed.rejected.total, bad.len() as u64);
        let contents = |ingest: &Ingest| ingest.rows.iter().map(|r| r.canonical.clone()).collect::<Vec<_>>();
        prop_assert_eq!(contents(&mixed), contents(&clean));
    }
}
