//! Work that may hang: done on a thread of its own, given up when it has not moved for a while.
//!
//! The HTTP below has no limits of time. A thread that is given up ends with its connection, at the latest with the
//! process.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

enum Sign<T> {
    Bytes(u64),
    Done(T),
}

/// Tells that bytes arrived.
pub(crate) struct Pulse<T>(Sender<Sign<T>>);

impl<T> Pulse<T> {
    pub(crate) fn beat(&self, bytes: u64) {
        // Nobody listens once it was given up.
        drop(self.0.send(Sign::Bytes(bytes)));
    }
}

/// It did not move.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stalled;

/// What `work` returns, if it never pauses for longer than `patience`. `moved` gets the bytes as they arrive.
pub(crate) fn with_patience<T: Send + 'static>(
    patience: Duration,
    moved: &mut dyn FnMut(u64),
    work: impl FnOnce(Pulse<T>) -> T + Send + 'static,
) -> Result<T, Stalled> {
    let (sender, signs) = channel();
    std::thread::spawn(move || {
        let done = work(Pulse(sender.clone()));
        drop(sender.send(Sign::Done(done)));
    });
    loop {
        match signs.recv_timeout(patience) {
            Ok(Sign::Bytes(bytes)) => moved(bytes),
            Ok(Sign::Done(done)) => return Ok(done),
            // A thread that panicked does not move either.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn work_that_moves_ends_with_its_result() {
        let mut bytes = 0;
        let result = with_patience(LONG, &mut |n| bytes += n, |pulse| {
            pulse.beat(3);
            pulse.beat(4);
            "done"
        });
        assert_eq!((result, bytes), (Ok("done"), 7));
    }

    #[test]
    fn work_that_hangs_is_given_up_and_so_is_work_that_panics() {
        let (hold, held) = channel::<()>();
        let hung =
            with_patience(Duration::from_millis(1), &mut |_| {}, move |_| held.recv().is_ok());
        assert_eq!(hung, Err(Stalled));
        drop(hold);
        let panicked: Result<(), Stalled> =
            with_patience(LONG, &mut |_| {}, |_| panic!("on purpose"));
        assert_eq!(panicked, Err(Stalled));
    }
}
