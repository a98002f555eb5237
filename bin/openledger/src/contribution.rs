use std::{collections::BTreeMap, fs::File, io::BufReader};

use openledger_datanet::{FieldMapping, Ingest, IngestOptions, Licence, Version, read_jsonl};

use crate::{
    cli::RecordsArgs,
    embedded,
    failure::{Exit, Failure, OrFail},
    local::{Local, gateway_failure},
};

/// Bad rows that are named one by one; the rest is counted.
const BAD_ROWS_SHOWN: usize = 10;
/// Licence of the handbook.
const HANDBOOK_LICENCE: &str = "MIT OR Apache-2.0";
/// Licence of somebody's own file: SPDX for "none stated".
const UNSTATED_LICENCE: &str = "LicenseRef-unstated";

/// Records that are to become a Datanet.
pub struct Source {
    /// Name of the Datanet and of the model.
    pub name: String,
    licence: &'static str,
    ingest: Ingest,
}

/// A Datanet on chain, and what was noticed on the way.
pub struct Contributed {
    pub version: Version,
    pub onchain: openledger_gateway::Contributed,
    pub warnings: Vec<String>,
}

impl Source {
    /// The handbook, or the file that was named.
    pub fn of(args: &RecordsArgs) -> Result<Self, Failure> {
        let Some(path) = &args.records else {
            let ingest = read_jsonl(embedded::HANDBOOK, &IngestOptions::default())
                .or_fail(Exit::Failure, "the built-in handbook cannot be read")?;
            return Ok(Self { name: "handbook".into(), licence: HANDBOOK_LICENCE, ingest });
        };
        let shown = path.display();
        let file = File::open(path).or_fail(Exit::NotFound, format!("cannot read {shown}"))?;
        let mapping = FieldMapping {
            prompt: args.prompt_field.clone(),
            completion: args.completion_field.clone(),
            contributor: args.contributor_field.clone(),
            ..FieldMapping::default()
        };
        let options = IngestOptions { mapping, ..IngestOptions::default() };
        let ingest = read_jsonl(BufReader::new(file), &options)
            .or_fail(Exit::Usage, format!("{shown} cannot be used"))?;
        if ingest.rows.is_empty() {
            let first = ingest.rejected.listed.first().map(|row| row.reason.to_string());
            return Err(Failure::new(Exit::Usage, format!("{shown} holds no usable record"))
                .cause(first.unwrap_or_else(|| "the file is empty".into()))
                .hint(
                    "name the fields with --prompt-field, --completion-field, --contributor-field",
                ));
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Ok(Self { name: slug(&stem.unwrap_or_default()), licence: UNSTATED_LICENCE, ingest })
    }
}

/// Gives every named contributor a wallet, makes the version, commits it on chain.
pub async fn contribute(local: &Local, source: &Source) -> Result<Contributed, Failure> {
    let mut ingest = source.ingest.clone();
    let mut warnings = rejected(&ingest);
    let mut names: Vec<String> = ingest
        .rows
        .iter()
        .filter(|row| row.contributor.wallet().is_none())
        .map(|row| row.contributor.to_string())
        .collect();
    names.sort_unstable();
    names.dedup();
    let wallets = local.wallets()?.of(&names).map_err(gateway_failure)?;
    let wallets: BTreeMap<_, _> = names.into_iter().zip(wallets).collect();
    ingest.assign_wallets(&wallets).or_fail(Exit::Usage, "the contributors have no wallets")?;
    let licence: Licence =
        source.licence.parse().or_fail(Exit::Failure, "the licence is not an SPDX expression")?;
    let built =
        Version::first(ingest, licence).or_fail(Exit::Usage, "the records make no Datanet")?;
    for duplicate in &built.duplicates {
        warnings.push(format!(
            "line {}: the same text as record {}; it belongs to {}, who had it first",
            duplicate.line, duplicate.earliest_record, duplicate.earliest_contributor
        ));
    }
    let curator = local.signers.builder.address();
    let onchain =
        openledger_gateway::contribute(&local.ledger, curator, &source.name, "", &built.version)
            .await
            .map_err(gateway_failure)?;
    Ok(Contributed { version: built.version, onchain, warnings })
}

/// Rows that were left out, by line and reason.
fn rejected(ingest: &Ingest) -> Vec<String> {
    let rejected = &ingest.rejected;
    if rejected.total == 0 {
        return Vec::new();
    }
    let mut lines = vec![format!("{} rows kept, {} left out:", ingest.rows.len(), rejected.total)];
    for row in rejected.listed.iter().take(BAD_ROWS_SHOWN) {
        let column = row.column.map_or_else(String::new, |column| format!(", column {column}"));
        lines.push(format!("  line {}{column}: {} ({})", row.line, row.reason, row.code));
    }
    lines
}

/// A name that a model may have: lower-case letters, digits, `-`.
fn slug(text: &str) -> String {
    let slug: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(48)
        .collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "records".into() } else { slug.to_owned() }
}
