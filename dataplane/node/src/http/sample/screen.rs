//! What a person sees: lines on standard output, and a bar where there is a terminal for it.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Lines of progress where there is no terminal, from nothing to all.
const PLAIN_STEPS: usize = 10;

/// Standard output.
pub(super) struct Screen {
    terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    /// Prints a line.
    pub(super) fn say(&self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout().lock(), "{line}")?)
    }

    /// Shows progress towards so many points.
    pub(super) fn progress(&self, total: usize) -> Progress {
        let bar = self.terminal.then(|| {
            let style = ProgressStyle::with_template(
                "{bar:40} {human_pos}/{human_len} points  {per_sec}  {eta} left",
            );
            ProgressBar::new(total as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { bar, total, so_far: AtomicUsize::new(0) }
    }
}

/// Progress of one load.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    so_far: AtomicUsize,
}

impl Progress {
    /// So many more are done.
    pub(super) fn add(&self, more: usize) -> anyhow::Result<()> {
        let before = self.so_far.fetch_add(more, Ordering::Relaxed);
        let after = before + more;
        match &self.bar {
            Some(bar) => bar.set_position(after as u64),
            None if step(before, self.total) < step(after, self.total) => {
                writeln!(
                    std::io::stdout().lock(),
                    "  {} of {} points",
                    count(after),
                    count(self.total)
                )?;
            }
            None => {}
        }
        Ok(())
    }

    /// Leaves the screen to what comes next.
    pub(super) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn step(done: usize, total: usize) -> usize {
    done * PLAIN_STEPS / total.max(1)
}

/// A number as people write it: `10,000`.
pub(super) fn count(n: usize) -> String {
    HumanCount(n as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_progress_prints_each_step_once() {
        let lines = (0..1000).filter(|n| step(*n, 1000) < step(n + 1, 1000)).count();
        assert_eq!(lines, PLAIN_STEPS);
        assert_eq!(count(10_000), "10,000");
    }
}
