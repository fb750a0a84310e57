//! The `main` of a worker: command line, settings, logs, exit code.

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser};
use nexus_common::{
    Result,
    config::{self, Env},
    jobs::Queue,
    observability::{self, traces},
};

use super::{registry::Registry, run};

/// Runs the jobs of one queue. Settings come from the environment.
#[derive(Parser)]
#[command(version = nexus_common::VERSION)]
struct Arguments {
    /// Jobs at once; overrides WORKER_CONCURRENCY.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: Option<u16>,
    /// Only say whether every setting is there, and what is wrong with them.
    #[arg(long)]
    check_config: bool,
    /// Only print the variables that are read, with what each is taken for when it is not set.
    #[arg(long)]
    list_config: bool,
    /// Only print the kinds of jobs that it runs.
    #[arg(long)]
    list_kinds: bool,
}

/// The exit code for an unusable environment: EX_CONFIG of sysexits.h, as in `nexus-api`.
const UNUSABLE: u8 = 78;

/// Serves `queue` until SIGTERM or SIGINT: the whole `main` of a worker.
///
/// `settings` reads what the queue's handlers need from the environment and returns what builds
/// their state; `register` names the handlers and the schedule.
pub fn run_worker<S, B>(
    queue: Queue,
    settings: impl FnOnce(&mut Env) -> B,
    register: impl FnOnce(Registry<S>) -> Registry<S>,
) -> ExitCode
where
    S: Send + Sync + 'static,
    B: FnOnce() -> Result<S>,
{
    let name: &'static str = format!("nexus-worker-{}", queue.name()).leak();
    let command = Arguments::command().name(name);
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let registry = register(Registry::new(queue));
    if !registry.mistakes.is_empty() {
        return unusable(&registry.mistakes.join("\n"));
    }
    if arguments.list_kinds {
        registry.kinds().iter().for_each(|kind| println!("{kind}"));
        return ExitCode::SUCCESS;
    }
    let read = |env: &mut Env| {
        let (config, build) = (config::Worker::from_env(env, queue), settings(env));
        (config, build, env.warnings())
    };
    if arguments.list_config {
        print!("{}", Env::list(read));
        return ExitCode::SUCCESS;
    }
    let (mut config, build, warnings) = match Env::read().load(read) {
        Ok(loaded) => loaded,
        Err(error) => return unusable(&error.to_string()),
    };
    if arguments.check_config {
        warnings.iter().for_each(|warning| println!("{warning}"));
        println!("The configuration is usable.");
        return ExitCode::SUCCESS;
    }
    if let Some(concurrency) = arguments.concurrency {
        config.concurrency = usize::from(concurrency);
    }
    if let Err(error) = observability::start(name, &config.observability, &warnings) {
        return unusable(&error.details());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unusable(&error.to_string()),
    };
    let result = runtime.block_on(run(queue, name, config, build, registry));
    runtime.shutdown_timeout(Duration::from_secs(1));
    traces::stop();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => unusable(&error.details()),
    }
}

fn unusable(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::from(UNUSABLE)
}
