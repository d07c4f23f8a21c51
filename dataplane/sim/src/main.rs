//! `shoal-sim [whole | routed] [SEED [SEEDS [MISTAKE]]]`: simulates from one seed after the other, with whole shards or routers if told to,
//! and stops at the first that fails.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::process::ExitCode;

use shoal_consensus::{Mistake, Mistakes};
use shoal_shard::fail;
use shoal_sim::{Plan, RouterMistake, run};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let whole = args.first().is_some_and(|arg| arg == "whole");
    let routed = args.first().is_some_and(|arg| arg == "routed");
    args.drain(..usize::from(whole || routed));
    let number = |at: usize, or: u64| args.get(at).map_or(Some(or), |text| text.parse().ok());
    let (Some(first), Some(seeds)) = (number(0, 0), number(1, 1)) else {
        println!("SEED and SEEDS are numbers, not {args:?}");
        return ExitCode::FAILURE;
    };
    let named = |name: &String| Mistake::ALL.into_iter().find(|m| format!("{m:?}") == *name);
    let mistakes = args.get(2).and_then(named).map_or(Mistakes::default(), Mistakes::one);
    let named = |name: &String| fail::Mistake::ALL.into_iter().find(|m| format!("{m:?}") == *name);
    let disk_mistake = args.get(2).and_then(named);
    let named = |name: &String| RouterMistake::ALL.into_iter().find(|m| format!("{m:?}") == *name);
    let router_mistake = args.get(2).and_then(named);
    for seed in first..first.saturating_add(seeds) {
        let plan = match (whole, routed) {
            (true, _) => Plan { disk_mistake, ..Plan::whole(seed, mistakes) },
            (_, true) => Plan { router_mistake, ..Plan::routed(seed, mistakes) },
            _ => Plan::of(seed, mistakes),
        };
        match run(plan) {
            Ok(outcome) => println!("seed {seed}: {outcome:?}"),
            Err(broken) => {
                println!("seed {seed}: {broken}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
