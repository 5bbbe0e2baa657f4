//! `mailhauld`, the daemon. Its command line is read here; everything else is in `mailhaul::daemon`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mailhaul::daemon::{Options, Task, run};
use mailhaul::telemetry::Log;

/// Brings people's mail home: polls POP3 accounts and moves IMAP mailboxes.
#[derive(Debug, Parser)]
#[command(name = "mailhauld", version, max_term_width = 100)]
struct Args {
    /// The settings file; accounts.d and servers.d lie beside it
    #[arg(long, value_name = "FILE", default_value = "/etc/mailhaul/mailhaul.toml")]
    config: PathBuf,

    /// Say what is wrong with the files, and exit: 0, or 78 with every mistake
    #[arg(long, conflicts_with = "once")]
    check: bool,

    /// Poll every enabled account and run every migration once, and exit: 0, or 1 if any failed
    #[arg(long)]
    once: bool,

    /// Where the log goes: journal, stderr or auto
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    log: Log,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let task = match (args.check, args.once) {
        (true, _) => Task::Check,
        (_, true) => Task::Once,
        _ => Task::Serve,
    };
    run(&Options { config: args.config, task, log: args.log })
}
