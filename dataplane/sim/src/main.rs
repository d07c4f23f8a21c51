//! `shoal-sim [SEED [SEEDS [MISTAKE]]]`: simulates from one seed after the other and stops at the first that fails.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::process::ExitCode;

use shoal_consensus::{Mistake, Mistakes};
use shoal_sim::{Plan, run};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: u64| args.get(at).map_or(Some(or), |text| text.parse().ok());
    let (Some(first), Some(seeds)) = (number(0, 0), number(1, 1)) else {
        println!("SEED and SEEDS are numbers, not {args:?}");
        return ExitCode::FAILURE;
    };
    let named = |name: &String| Mistake::ALL.into_iter().find(|m| format!("{m:?}") == *name);
    let mistakes = args.get(2).and_then(named).map_or(Mistakes::default(), Mistakes::one);
    for seed in first..first.saturating_add(seeds) {
        match run(Plan::of(seed, mistakes)) {
            Ok(outcome) => println!("seed {seed}: {outcome:?}"),
            Err(broken) => {
                println!("seed {seed}: {broken}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
