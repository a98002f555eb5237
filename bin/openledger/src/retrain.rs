use std::time::Instant;

use openledger_gateway::{Ledger, Retraining, SegmentReport};
use serde_json::json;

use crate::{
    cli::RetrainArgs,
    failure::{Exit, Failure, OrFail},
    local::gateway_failure,
    output::{Output, print},
    training::all_cores,
};

/// `openledger audit retrain`.
pub async fn run(args: RetrainArgs, output: Output) -> Result<(), Failure> {
    let rpc = args.rpc.clone();
    let open = (args.data_dir.clone(), args.model.clone());
    let loaded = tokio::task::spawn_blocking(move || Retraining::open(&open.0, &open.1)).await;
    let loaded = loaded.or_fail(Exit::Failure, "the training thread ended")?;
    let retraining = loaded.map_err(gateway_failure)?;
    if let Some(rpc) = rpc {
        on_chain(&retraining, &rpc, output).await?;
    }
    let work = tokio::task::spawn_blocking(move || segments(&retraining, &args, output));
    let reports = work.await.or_fail(Exit::Failure, "the training thread ended")??;
    if output.json {
        let equal = reports.iter().all(SegmentReport::is_equal);
        print(&json!({ "equal": equal, "segments": reports }).to_string());
    }
    match reports.iter().find(|report| !report.is_equal()) {
        None => Ok(()),
        Some(report) => {
            let (run, segment) = (report.run, report.segment);
            let error = format!("segment {segment} of run {run} does not give the recorded state");
            Err(Failure::new(Exit::Failure, error).hint(
                "the adapter is not what its recipe, base and records give, from this segment on",
            ))
        }
    }
}

/// The segment asked for, or all of the run.
fn segments(
    retraining: &Retraining,
    args: &RetrainArgs,
    output: Output,
) -> Result<Vec<SegmentReport>, Failure> {
    let threads = args.threads.unwrap_or_else(all_cores);
    let wanted = match args.segment {
        Some(segment) => segment..=segment,
        None => 1..=retraining.segments(args.run).max(1),
    };
    let mut reports = Vec::new();
    for segment in wanted {
        let started = Instant::now();
        let report = retraining.segment(args.run, segment, threads).map_err(gateway_failure)?;
        if !output.json {
            let word = if report.is_equal() { "equal    " } else { "NOT EQUAL" };
            print(&format!(
                "{word}  run {}, segment {}, steps {} to {}, on {}: {}  ({:.1} s)",
                report.run,
                report.segment,
                report.first_step,
                report.last_step,
                report.contributors.join(", "),
                report.recorded,
                started.elapsed().as_secs_f32(),
            ));
        }
        let equal = report.is_equal();
        reports.push(report);
        if !equal {
            break;
        }
    }
    Ok(reports)
}

async fn on_chain(retraining: &Retraining, rpc: &str, output: Output) -> Result<(), Failure> {
    let (model_id, root) = retraining.commitment();
    let ledger = Ledger::connect(rpc, None, []).await.map_err(gateway_failure)?;
    let registered = ledger.model(model_id).await.map_err(gateway_failure)?;
    if registered.traceRoot != root {
        let error = format!("the chain holds another trace root for model {model_id}");
        return Err(Failure::new(Exit::Failure, error)
            .cause(format!("{} on the chain, {root} here", registered.traceRoot)));
    }
    let job_id = u64::try_from(registered.jobId).unwrap_or_default();
    if job_id == 0 {
        let error = format!("the training of model {model_id} was not announced on the chain");
        return Err(Failure::new(Exit::Failure, error));
    }
    let committed = ledger.committed_states(job_id).await.map_err(gateway_failure)?;
    retraining.check_committed(&committed).map_err(gateway_failure)?;
    if !output.json {
        print(&format!("the chain holds these traces: model {model_id}, root {root}"));
        let (first, last) = (committed.first(), committed.last());
        print(&format!(
            "committed while training, as job {job_id}: {} times, in blocks {} to {}",
            committed.len(),
            first.map_or(0, |states| states.block),
            last.map_or(0, |states| states.block),
        ));
    }
    Ok(())
}
