//! Logs: lines for a person on a terminal, JSON where a machine collects them.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How and what to log.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Form of log lines. Default: text on a terminal, json elsewhere.
    #[arg(long, env = "SHOAL_LOG_FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
    /// What to log: a level, or levels by module as in `info,shoal_node=debug`.
    #[arg(long, env = "SHOAL_LOG", default_value = "info", global = true)]
    pub log: String,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error; standard output is for what a command answers.
pub fn init(args: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| anyhow::anyhow!("--log `{}` is not understood: {error}", args.log))?;
    let terminal = std::io::stderr().is_terminal();
    let format =
        args.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(terminal).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(())
}
