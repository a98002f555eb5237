/// Passes text on as it arrives and ends it before the first stop text.
///
/// Holds back what could still become a stop text, so a client never sees a part of one.
#[derive(Debug, Clone)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), stopped: false }
    }

    /// Whether a stop text was found; nothing passes after that.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// The part of everything so far that may be shown now.
    pub(crate) fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.stopped = true;
            let shown = self.held[..at].to_owned();
            self.held.clear();
            return shown;
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let shown = self.held.len() - kept;
        self.held.drain(..shown).collect()
    }

    /// What is still held when the answer ends without a stop text.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length in bytes of the longest end of `text` that begins `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .filter(|at| *at > 0 && text.ends_with(&stop[..*at]))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stop_text_split_over_pieces_is_never_shown() {
        let mut filter = StopFilter::new(vec!["END".into()]);
        assert_eq!(filter.push("one E"), "one ");
        assert_eq!(filter.push("N"), "");
        assert_eq!(filter.push("Dtwo"), "");
        assert!(filter.stopped());
    }

    #[test]
    fn a_beginning_that_comes_to_nothing_is_shown_in_the_end() {
        let mut filter = StopFilter::new(vec!["END".into()]);
        assert_eq!(filter.push("EN"), "");
        assert_eq!(filter.push("E"), "EN");
        assert_eq!(filter.finish(), "E");
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(text in "[abc]{0,30}", stop in "[abc]{1,3}", cut in 1usize..5) {
            let expected = text.split(stop.as_str()).next().unwrap_or_default().to_owned();
            let mut filter = StopFilter::new(vec![stop]);
            let mut shown = String::new();
            for piece in text.as_bytes().chunks(cut) {
                shown += &filter.push(std::str::from_utf8(piece).unwrap());
            }
            shown += &filter.finish();
            prop_assert_eq!(shown, expected);
        }
    }
}
