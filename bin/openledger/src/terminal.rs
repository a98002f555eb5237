use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Colours of the contributors, in order of appearance; ANSI 256.
const PALETTE: [u8; 8] = [39, 208, 76, 170, 220, 44, 203, 141];

/// What the terminal can show. Data goes to stdout; this says how.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Colours on stdout.
    colour: bool,
    /// Moving progress bars on stderr.
    bars: bool,
}

impl Terminal {
    pub fn detect(json: bool) -> Self {
        let plain = json || std::env::var_os("NO_COLOR").is_some();
        Self {
            colour: !plain && std::io::stdout().is_terminal(),
            bars: std::io::stderr().is_terminal(),
        }
    }

    /// `text` in the colour of contributor `index`; without colours, in brackets with its number.
    pub fn marked(self, text: &str, index: usize) -> String {
        if self.colour {
            let colour = PALETTE[index % PALETTE.len()];
            format!("\x1b[38;5;{colour}m{text}\x1b[0m")
        } else {
            format!("[{text}]{}", index + 1)
        }
    }

    /// The name of contributor `index` in the same colour as its spans.
    pub fn name(self, name: &str, index: usize) -> String {
        if self.colour { self.marked(name, index) } else { name.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A bar of `length` steps on stderr: moving on a terminal, silent elsewhere.
    pub fn bar(self, label: &str, length: u64) -> ProgressBar {
        let target =
            if self.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let style =
            ProgressStyle::with_template("{prefix:<26} {bar:24} {pos}/{len}  {msg}  {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("██░");
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        bar
    }

    /// Whether progress is better told in lines.
    pub fn lines(self) -> bool {
        !self.bars
    }
}
