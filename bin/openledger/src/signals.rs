use std::process;

use tokio::sync::watch;

use crate::{
    failure::{Exit, Failure, OrFail},
    output::tell,
};

/// SIGINT and SIGTERM, from the moment this exists: the first asks for a graceful stop, the second
/// ends the process at once.
#[derive(Debug)]
pub struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Must be called inside a Tokio runtime.
    pub fn listen() -> Result<Self, Failure> {
        let mut signals = Signals::new()?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            stop.send_replace(true);
            signals.next().await;
            tell("stopped at once; the next start repairs what was being written");
            process::exit(Exit::Interrupted as i32);
        });
        Ok(Self(stopped))
    }

    /// Resolves when the process was asked to stop.
    pub async fn received(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            // Only if the runtime is ending.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).or_fail(Exit::Failure, "cannot listen to signals");
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
