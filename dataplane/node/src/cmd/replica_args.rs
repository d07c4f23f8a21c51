//! What a shard is told as one of several replicas.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use shoal_consensus::{Acks, Settings, Timing};

/// Time of a sync that failovers are prepared for, in ms: that of a cheap cloud disk on a bad day.
const FSYNC_MS: u64 = 100;

/// Entries that may be durable on the primary alone, with `--acks primary`: a second of many small writes.
const MAX_LAG: u64 = 10_000;

/// Says that the register is in the Shard object.
const SHARD_OBJECT: &str = "shard-object";

/// Flags of a replica. Without `--replica` a shard is alone.
#[derive(Args, Clone, Debug)]
pub struct ReplicaArgs {
    /// Its name among the shard's replicas, such as r0. Without it the shard is alone.
    #[arg(long, env = "SHOAL_REPLICA", requires_all = ["register", "advertise"])]
    pub replica: Option<String>,
    /// Names of all replicas that the shard is to have, such as r0,r1,r2. They decide who votes once all were heard of.
    #[arg(long, env = "SHOAL_REPLICAS", value_delimiter = ',')]
    pub replicas: Vec<String>,
    /// The file through which the replicas agree who leads, which all of them have; or `shard-object` for the Shard object of
    /// the shard's name in the pod's namespace, which also says which replicas there are to be.
    #[arg(long, env = "SHOAL_REGISTER")]
    pub register: Option<PathBuf>,
    /// HOST:PORT where the other replicas reach this one.
    #[arg(long, env = "SHOAL_ADVERTISE")]
    pub advertise: Option<String>,
    /// Within what time another replica is to lead after one is gone, such as 5s.
    #[arg(long, env = "SHOAL_FAILOVER_BUDGET", default_value = "5s", value_parser = duration)]
    pub failover_budget: Duration,
    /// When a write is answered: once it is on enough replicas that no failover loses it, or on the primary alone.
    #[arg(long, env = "SHOAL_ACKS", default_value = "quorum", value_parser = ["quorum", "primary"])]
    pub acks: String,
    /// Within what time it is to show what was acknowledged, such as 2s. Metrics count for how long it did not.
    #[arg(long, env = "SHOAL_VISIBILITY_SLA", default_value = "2s", value_parser = duration)]
    pub visibility_sla: Duration,
    /// For tests: how often a primary compares the replicas, roughly; 0s for never.
    #[arg(long, hide = true, default_value = "600s", value_parser = duration)]
    pub compare_every: Duration,
    /// For tests: reach a replica elsewhere than it says, such as r1=127.0.0.1:7001.
    #[arg(long, hide = true, value_parser = pair)]
    pub peer_address: Vec<(String, String)>,
}

/// One of several replicas.
#[derive(Clone, Debug)]
pub struct Among {
    /// Its name.
    pub name: String,
    /// Of all.
    pub replicas: Vec<String>,
    /// The register's file; `None` for the Shard object.
    pub register: Option<PathBuf>,
    /// Where it is reached.
    pub address: String,
    /// Replicas that are reached elsewhere than they say.
    pub via: BTreeMap<String, String>,
    /// How it is to behave.
    pub settings: Settings,
    /// Within what time it is to show what was acknowledged.
    pub visibility_sla: Duration,
    /// How often a primary compares the replicas, roughly; never if it is zero.
    pub compare_every: Duration,
}

impl ReplicaArgs {
    /// What was said, if the shard is not alone.
    pub fn among(&self) -> anyhow::Result<Option<Among>> {
        let Some(name) = self.replica.clone() else { return Ok(None) };
        let register = self.register.clone().context("--register is missing")?;
        let register = Some(register).filter(|path| path.as_os_str() != SHARD_OBJECT);
        anyhow::ensure!(
            register.is_none() || self.replicas.contains(&name),
            "--replicas does not name this one: {name} is not among {}",
            self.replicas.join(",")
        );
        let address = self.advertise.clone().context("--advertise is missing")?;
        let budget = u64::try_from(self.failover_budget.as_millis()).unwrap_or(u64::MAX);
        let timing = Timing::for_budget(budget, FSYNC_MS)?;
        let acks = match self.acks.as_str() {
            "primary" => Acks::Primary { max_lag: MAX_LAG },
            _ => Acks::Quorum,
        };
        let settings = Settings { timing, acks, ..Settings::default() };
        let replicas = self.replicas.clone();
        let via = self.peer_address.iter().cloned().collect();
        Ok(Some(Among {
            name,
            replicas,
            register,
            address,
            via,
            settings,
            visibility_sla: self.visibility_sla,
            compare_every: self.compare_every,
        }))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time, such as 5s or 800ms");
    let (number, ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_000),
        (None, None) => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(number.saturating_mul(ms)))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').map(|(name, at)| (name.to_owned(), at.to_owned()));
    split.ok_or_else(|| format!("`{text}` is not NAME=HOST:PORT"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: ReplicaArgs,
    }

    fn parse(line: &str) -> Result<Option<Among>, String> {
        let words = std::iter::once("shoal").chain(line.split_whitespace());
        let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
        only.args.among().map_err(|error| error.to_string())
    }

    const WHOLE: &str = "--replica r0 --replicas r0,r1,r2 --register f --advertise a:1";

    #[test]
    fn a_shard_is_alone_unless_it_is_told_which_replica_it_is() {
        assert!(parse("").unwrap().is_none());
        let among = parse(&format!("{WHOLE} --peer-address r1=b:2")).unwrap().unwrap();
        assert_eq!((among.name.as_str(), among.replicas.len()), ("r0", 3));
        assert_eq!(among.via.get("r1").map(String::as_str), Some("b:2"));
        assert!(parse("--replica r0").unwrap_err().contains("--register"));
        let object = parse("--replica r0 --register shard-object --advertise a:1");
        assert!(object.unwrap().unwrap().register.is_none());
        assert!(parse(&WHOLE.replace("r0,", "r5,")).unwrap_err().contains("not among"));
    }

    #[test]
    fn a_budget_that_disks_cannot_keep_is_refused_with_one_that_they_can() {
        let error = parse(&format!("{WHOLE} --failover-budget 100ms")).unwrap_err();
        assert!(error.contains("too soon"), "{error}");
        assert!(parse(&format!("{WHOLE} --failover-budget 5")).unwrap_err().contains("5s"));
        let quick = parse(&format!("{WHOLE} --failover-budget 3s")).unwrap().unwrap();
        assert!(quick.settings.timing.election < 1_000);
        assert_eq!(quick.visibility_sla, Duration::from_secs(2));
    }
}
