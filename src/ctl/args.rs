//! The command line as typed. It refuses what cannot be meant, in one line and with exit status 2.

use std::path::PathBuf;

use clap::{Parser, Subcommand, error::ErrorKind};

use super::screen;

/// Talks to mailhauld.
#[derive(Debug, Parser)]
#[command(name = "mailhaulctl", version, about = ABOUT, arg_required_else_help = true, after_help = AFTER)]
pub(super) struct Args {
    /// The daemon's control socket
    #[arg(long, global = true, env = "MAILHAUL_SOCKET", default_value = "/run/mailhaul/control")]
    pub(super) socket: PathBuf,
    /// Print the control protocol's answer as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

const ABOUT: &str = "Controls mailhauld, which collects and moves mail";
const AFTER: &str = "Exit status: 0 done; 1 the work failed or a part of it did; 2 usage; 3 the daemon cannot be \
                     reached; 4 not permitted; 5 no such account.";

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For a person
    Text,
    /// For a program
    Json,
    /// A page that needs nothing else
    Html,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The daemon: version, accounts by state, what runs, rates
    Status,
    /// Every account with its state, last result and next run
    List {
        /// Only those in this state
        #[arg(long, value_parser = ["enabled", "disabled", "invalid", "denied"])]
        state: Option<String>,
        /// Only those of this member
        #[arg(long)]
        member: Option<String>,
    },
    /// One account whole, with folders and skipped messages
    Show {
        /// The account
        name: String,
    },
    /// Connects, logs in, counts; without a name: every account
    Check {
        /// The accounts
        names: Vec<String>,
    },
    /// Polls now, waits and reports
    Poll {
        /// The accounts
        #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
        names: Vec<String>,
        /// Every enabled account
        #[arg(long)]
        all: bool,
        /// Do not wait for the result
        #[arg(long)]
        no_wait: bool,
    },
    /// Switches automatic import on; earlier failures are forgotten
    Enable {
        /// The accounts
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Switches automatic import off
    Disable {
        /// The accounts
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Puts migrations into the queue; one that completed brings only what is new
    Start {
        /// The migrations
        #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
        names: Vec<String>,
        /// Every migration
        #[arg(long)]
        all: bool,
        /// Wait until they have ended
        #[arg(long)]
        wait: bool,
        /// Bring only what is new, and flags that changed (a second run always does)
        #[arg(long)]
        delta: bool,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// One last run of migrations with delta; then they repeat themselves no more
    Finish {
        /// The migrations
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Wait until they have ended
        #[arg(long)]
        wait: bool,
    },
    /// Stops a migration where it is
    Pause {
        /// The migrations
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Lets a paused migration go on
    Resume {
        /// The migrations
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Ends a migration and puts the destination back
    Cancel {
        /// The migrations
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Leave what came
        #[arg(long)]
        keep: bool,
    },
    /// Compares source and destination, message by message
    Verify {
        /// The account
        name: String,
        /// Read every message on both sides and compare the octets
        #[arg(long)]
        bodies: bool,
    },
    /// What became of every message, to be kept or handed on
    Report {
        /// The account
        name: String,
        /// How it is written
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Migrations that wait and run, in order
    Queue,
    /// Migrations that ended, newest first
    History,
    /// Live progress
    Watch {
        /// Only this account
        name: Option<String>,
    },
    /// Reads the definitions again
    Reload,
    /// Prints a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

/// Shows help where it was asked for, and otherwise one line; returns the exit status.
pub(super) fn refused(error: &clap::Error) -> u8 {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader that went away is no error.
        let _ = error.print();
    } else {
        screen::complain(&in_one_line(&error.render().to_string()));
    }
    if error.use_stderr() { 2 } else { 0 }
}

/// clap's first paragraph and its tip.
fn in_one_line(rendered: &str) -> String {
    let what: Vec<&str> = rendered.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let what = what.join(" ");
    let tip = rendered.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    format!("mailhaulctl: {what}; {}", tip.unwrap_or("see mailhaulctl --help"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_and_after_the_verb() {
        for line in [["--json", "--socket", "/s", "list"], ["list", "--json", "--socket", "/s"]] {
            let args = Args::try_parse_from(["mailhaulctl"].iter().chain(&line)).unwrap();
            assert!(args.json);
            assert_eq!(args.socket, PathBuf::from("/s"));
        }
    }

    #[test]
    fn usage_is_one_line_and_two() {
        for line in [
            "mailhaulctl lst",
            "mailhaulctl poll",
            "mailhaulctl poll --all x",
            "mailhaulctl show",
            "mailhaulctl list --state x",
        ] {
            let error = Args::try_parse_from(line.split(' ')).unwrap_err();
            let shown = in_one_line(&error.render().to_string());
            assert!(
                shown.starts_with("mailhaulctl: ") && shown.contains("; ") && !shown.contains('\n'),
                "{shown}"
            );
            assert_eq!(error.exit_code(), 2);
        }
    }
}
