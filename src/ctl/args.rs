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

/// Where passwords come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Passwords {
    /// The password at the source is the first line of standard input
    #[arg(long, conflicts_with = "password_fd")]
    pub(super) password_stdin: bool,
    /// The password that a missing mailbox is made with is the next line
    #[arg(long)]
    pub(super) new_password_stdin: bool,
    /// Passwords are read from this descriptor, a line each
    #[arg(long, value_name = "NUMBER")]
    pub(super) password_fd: Option<u32>,
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum List {
    /// server;user;password;mailbox;mailbox password
    Konsoleh,
    /// "login","password", or six columns
    Yandex,
    /// A line of keys, then a line an account
    Mailhaul,
}

impl List {
    pub(super) fn name(self) -> &'static str {
        match self {
            List::Konsoleh => "konsoleh",
            List::Yandex => "yandex",
            List::Mailhaul => "mailhaul",
        }
    }
}

/// What `bulk` does.
#[derive(Debug, Subcommand)]
pub(super) enum BulkVerb {
    /// Adds every account of a list, or none if anything in it is wrong
    Add(BulkArgs),
}

/// `bulk add`
#[derive(Debug, clap::Args)]
pub(super) struct BulkArgs {
    /// The list; - is standard input
    pub(super) file: PathBuf,
    /// How it is written
    #[arg(long, value_enum)]
    pub(super) format: List,
    /// The server of every row: a template, HOST or HOST:PORT
    #[arg(long)]
    pub(super) server: Option<String>,
    /// The domain of mailboxes that are written without one
    #[arg(long)]
    pub(super) domain: Option<String>,
    /// Poll the accounts instead of migrating them
    #[arg(long)]
    pub(super) poll: bool,
    /// imap or pop3; usually imap, and pop3 with --poll
    #[arg(long, value_parser = ["imap", "pop3"])]
    pub(super) protocol: Option<String>,
    /// How connections to a server that is no template are protected
    #[arg(long, value_parser = ["tls", "starttls", "none"])]
    pub(super) security: Option<String>,
    /// The folder to put the mail into
    #[arg(long, value_name = "FOLDER")]
    pub(super) into: Option<String>,
    /// A key for every row
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Check every account, side by side, and start the migrations of those that are ready
    #[arg(long)]
    pub(super) start: bool,
    /// Wait until they have ended
    #[arg(long, requires = "start")]
    pub(super) wait: bool,
}

/// `upload`
#[derive(Debug, clap::Args)]
pub(super) struct UploadArgs {
    /// Whose mailbox
    #[arg(long, value_name = "ADDRESS")]
    pub(super) member: String,
    /// The folder for everything; else as the files have it or are called, and INBOX
    #[arg(long, value_name = "FOLDER")]
    pub(super) mailbox: Option<String>,
    /// The destination, if the member has more than one
    #[arg(long, value_name = "NAME")]
    pub(super) destination: Option<String>,
    /// Messages, mboxes, zip and tar archives, directories; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
}

/// How a backup is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Packed {
    /// A zip archive of .eml files
    Zip,
    /// One mbox
    Mbox,
    /// A tar archive of a Maildir
    Maildir,
}

impl Packed {
    pub(super) fn name(self) -> &'static str {
        match self {
            Packed::Zip => "zip",
            Packed::Mbox => "mbox",
            Packed::Maildir => "maildir",
        }
    }
}

/// `backup`
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// Whose mailbox
    #[arg(long, value_name = "ADDRESS")]
    pub(super) member: String,
    /// Only this folder
    #[arg(long, value_name = "FOLDER")]
    pub(super) mailbox: Option<String>,
    /// The destination, if the member has more than one
    #[arg(long, value_name = "NAME")]
    pub(super) destination: Option<String>,
    /// How it is written
    #[arg(long, value_enum)]
    pub(super) format: Packed,
    /// The file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
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
        /// The accounts; for an address, its servers are looked for
        #[arg(value_name = "NAME|ADDRESS")]
        names: Vec<String>,
    },
    /// Asks an account's owner for consent (OAuth2): shows an address and a code, and waits
    Authorize {
        /// The account
        name: String,
        /// No code: a browser on this machine, which comes back by itself
        #[arg(long)]
        browser: bool,
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
    /// Many accounts from a list
    Bulk {
        #[command(subcommand)]
        verb: BulkVerb,
    },
    /// Adds an account, which the daemon keeps
    Add {
        /// The account
        name: String,
        /// Keys of the definition as in mailhaul.toml(5), and the word migrate or poll; password=- asks
        #[arg(value_name = "KEY=VALUE", required = true)]
        keys: Vec<String>,
        /// Without server=: take the one that is found, without asking
        #[arg(long)]
        found: bool,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Changes keys of an account that was added; an empty value takes a key away, password=- asks
    Set {
        /// The account
        name: String,
        /// Keys of the definition
        #[arg(value_name = "KEY=VALUE")]
        keys: Vec<String>,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Removes an account that was added, with its password and its progress; mail that came stays
    Remove {
        /// The accounts
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Brings messages, mailboxes and archives into a member's mailbox
    Upload(UploadArgs),
    /// Writes a member's mailbox, or one folder of it, into a file
    Backup(BackupArgs),
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
        if let Some(trouble) = error.print().err().and_then(|e| screen::unwritten(&e)) {
            screen::complain(&trouble.to_string());
            return trouble.code();
        }
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
