use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use openledger_gateway::{Pace, help_training};
use serde_json::json;

use crate::{
    cli::WorkerArgs,
    failure::{Exit, Failure, OrFail},
    local::gateway_failure,
    output::{Output, print},
    terminal::Terminal,
    training::{all_cores, words},
};

/// `openledger worker`.
pub async fn run(args: WorkerArgs, output: Output) -> Result<(), Failure> {
    let threads = args.threads.unwrap_or_else(all_cores);
    let workers = args.workers.unwrap_or(threads);
    let bar = Terminal::detect(output.json).bar("Runs of others", 0);
    let (pace, started) = (Mutex::new(Pace::default()), Instant::now());
    let work = tokio::task::spawn_blocking(move || {
        let helped = help_training(&args.data_dir, threads, workers, &|done, of| {
            let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
            bar.set_length(of);
            bar.set_position(done);
            bar.set_message(words(pace.left(done, of, started.elapsed())));
        });
        bar.finish_and_clear();
        helped
    });
    let helped = work.await.or_fail(Exit::Failure, "the training thread ended")?;
    let helped = helped.map_err(gateway_failure)?;
    if output.json {
        print(&json!({ "trainings": helped.trainings, "runs": helped.runs }).to_string());
    } else {
        let (runs, trainings) = (helped.runs, helped.trainings);
        print(&format!("{runs} runs of {trainings} trainings are at their ends"));
    }
    Ok(())
}
