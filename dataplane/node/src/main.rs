//! The binary `shoal`: reads the command line, starts logging and the runtime, runs one command.

use std::process::ExitCode;

use clap::Parser;
use shoal_node::cmd::{self, Cli};
use shoal_node::logs;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Plain, whatever the log's form: this is the last line, and what a person or a pod's status shows.
            eprintln!("shoal: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    logs::init(&cli.logs)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(cmd::run(cli.command));
    // What still runs on blocking threads (an open that was interrupted) is safe to cut off.
    runtime.shutdown_background();
    outcome
}
