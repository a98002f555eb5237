use openledger_gateway::{Check, Ledger, Retraining, certificate_seed, check_certificate};

use crate::{
    audit::report,
    cli::CertificateArgs,
    failure::{Exit, Failure, OrFail},
    local::gateway_failure,
    output::Output,
    training::all_cores,
};

/// `openledger audit certificate`.
pub async fn run(args: CertificateArgs, output: Output) -> Result<(), Failure> {
    let open = (args.data_dir.clone(), args.model.clone());
    let loaded = tokio::task::spawn_blocking(move || Retraining::open(&open.0, &open.1)).await;
    let loaded = loaded.or_fail(Exit::Failure, "the training thread ended")?;
    let retraining = loaded.map_err(gateway_failure)?;
    let Some(certificate) = retraining.certificate().cloned() else {
        let error = format!("the model {:?} has no certificate", args.model);
        return Err(Failure::new(Exit::NotFound, error).hint("train it with --certify"));
    };
    let (model_id, _) = retraining.commitment();
    let ledger = Ledger::connect(&args.rpc, None, []).await.map_err(gateway_failure)?;
    let block = ledger.registration_block(model_id).await.map_err(gateway_failure)?;
    let hash = ledger.certificate_hash(model_id).await.map_err(gateway_failure)?;
    let fidelity = ledger.fidelity(model_id).await.map_err(gateway_failure)?;
    let manifest = retraining.manifest();
    let mut checks = check_certificate(&certificate, manifest, block, (hash, &fidelity));
    if args.retrain {
        let threads = args.threads.unwrap_or_else(all_cores);
        let (seed, count) = (certificate_seed(block), certificate.subsets.len());
        let again = tokio::task::spawn_blocking(move || {
            retraining.certify_again(seed, count, threads, &|_, _| {})
        });
        let again = again.await.or_fail(Exit::Failure, "the training thread ended")?;
        let again = again.map_err(gateway_failure)?;
        let failure = (again != certificate)
            .then(|| format!("retraining gives {} parts per million", again.lds_ppm));
        let claim = "training the subsets again gives every number of it";
        checks.push(Check { step: "values", claim, failure });
    }
    report(&checks, output);
    match checks.iter().find(|check| !check.passed()) {
        None => Ok(()),
        Some(failed) => {
            let error = format!("the certificate does not hold at step \"{}\"", failed.step);
            Err(Failure::new(Exit::Failure, error)
                .cause(failed.failure.clone().unwrap_or_default()))
        }
    }
}
