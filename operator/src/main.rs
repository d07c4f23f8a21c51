//! The operator's command line.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use shoal_operator::settings::Settings;
use shoal_operator::{check, run};
use tracing_subscriber::EnvFilter;

/// Shoal's operator: runs VectorCollections on Kubernetes.
#[derive(Parser, Debug)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What is logged, such as `info` or `shoal_operator=debug,warn`.
    #[arg(long, env = "SHOAL_LOG", default_value = "info", global = true)]
    log: String,

    /// How logs are written.
    #[arg(long, env = "SHOAL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json, global = true)]
    log_format: LogFormat,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs the operator, with the kubeconfig or the pod's service account.
    Run(Box<Settings>),
    /// Asks a URL and fails unless the answer is a 2xx.
    Check {
        /// What to ask, such as http://shoal-operator:9090/readyz.
        #[arg(long, env = "SHOAL_CHECK_URL")]
        url: String,
        /// How long to go on asking, in seconds.
        #[arg(long, default_value_t = 30)]
        timeout_seconds: u64,
    },
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum LogFormat {
    Json,
    Text,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = log(&cli) {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    match command(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ending");
            ExitCode::FAILURE
        }
    }
}

async fn command(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(settings) => {
            let client = kube::Client::try_default()
                .await
                .context("no Kubernetes API: neither in a pod nor a kubeconfig")?;
            run::run(*settings, client).await
        }
        Command::Check { url, timeout_seconds } => {
            check::check(&url, Duration::from_secs(timeout_seconds)).await?;
            tracing::info!(url, "well");
            Ok(())
        }
    }
}

fn log(cli: &Cli) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&cli.log).with_context(|| format!("--log {}", cli.log))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match cli.log_format {
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
        LogFormat::Text => logs.try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("cannot log: {error}"))
}
