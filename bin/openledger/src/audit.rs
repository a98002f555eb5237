use std::{fs, path::Path};

use openledger_gateway::{
    Check, DOCUMENT_BYTES_MAX, Ledger, verify_json, verify_likelihoods, verify_on_chain,
};
use openledger_primitives::Address;
use serde_json::json;

use crate::{
    cli::VerifyArgs,
    failure::{Exit, Failure, OrFail},
    local::gateway_failure,
    output::{Output, print},
};

/// A receipt document's bytes, its size checked first.
pub fn read_document(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = path.display();
    let size = fs::metadata(path)
        .map_err(|cause| Failure::new(Exit::NotFound, format!("cannot read {file}")).cause(cause))?
        .len();
    if size > DOCUMENT_BYTES_MAX as u64 {
        let error = format!("{file} is larger than {DOCUMENT_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::Usage, error).hint("a receipt document is a few kilobytes"));
    }
    fs::read(path).or_fail(Exit::NotFound, format!("cannot read {file}"))
}

/// `openledger audit verify`.
pub async fn verify(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    let file = args.file.display();
    let json = read_document(&args.file)?;
    let operator: Option<Address> = args
        .operator
        .as_deref()
        .map(str::parse)
        .transpose()
        .or_fail(Exit::Usage, "--operator is not an address")?;
    let (mut checks, document) = verify_json(&json, operator);
    if let (Some(document), Some(rpc)) = (&document, &args.rpc) {
        let ledger = Ledger::connect(rpc, Some(document.chain_id), []).await;
        let ledger = ledger.map_err(gateway_failure)?;
        checks.push(verify_on_chain(document, &ledger).await.map_err(gateway_failure)?);
    }
    if let (Some(document), Some(data_dir)) = (&document, &args.data_dir) {
        checks.push(verify_likelihoods(document, data_dir).map_err(gateway_failure)?);
    }
    report(&checks, output);
    match checks.iter().find(|check| !check.passed()) {
        None => Ok(()),
        Some(failed) => {
            let cause = failed.failure.clone().unwrap_or_default();
            let error = format!("{file} does not verify at step \"{}\"", failed.step);
            Err(Failure::new(Exit::Failure, error).cause(cause))
        }
    }
}

/// Prints what was checked.
pub fn report(checks: &[Check], output: Output) {
    let passed = checks.iter().filter(|check| check.passed()).count();
    if output.json {
        let verified = passed == checks.len();
        return print(&json!({ "verified": verified, "checks": checks }).to_string());
    }
    for check in checks {
        let mark = if check.passed() { "ok    " } else { "FAILED" };
        print(&format!("{mark}  {:<12} {}", check.step, check.claim));
        if let Some(failure) = &check.failure {
            print(&format!("        {failure}"));
        }
    }
    print(&format!("{passed} of {} checks hold", checks.len()));
}
