//! `mailhaulctl`: verbs, tables, progress. It has no way in but the control socket, decides nothing, and
//! prints what came from servers only after its control characters were made visible.

mod args;
mod authorize;
mod check;
mod connection;
mod define;
mod files;
mod find;
mod idle;
mod list;
mod live;
mod moments;
mod plan;
mod poll;
mod precheck;
mod queue;
mod reload;
mod report;
mod screen;
mod show;
mod start;
mod status;
mod switch;
mod table;
#[cfg(test)]
mod tests;
mod trouble;
mod upload;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, BulkVerb, Verb};
use screen::Screen;
use trouble::Trouble;

/// What a verb comes to: `false` if the work failed or a part of it did.
type Outcome = Result<bool, Trouble>;

/// The whole program.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return ExitCode::from(args::refused(&error)),
    };
    let mut screen = Screen::new(args.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(run(args, &mut screen)),
        Err(error) => {
            screen.trouble(&Trouble::failed(format!("cannot start: {error}"), "try again"));
            1
        }
    };
    ExitCode::from(code)
}

/// Runs a verb; returns the exit status.
async fn run(args: Args, screen: &mut Screen) -> u8 {
    let outcome = match args.verb {
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "mailhaulctl", &mut script);
            screen.raw(&script);
            Ok(true)
        }
        verb => call(verb, &args.socket, screen).await,
    };
    let code = match outcome {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(trouble) => {
            screen.trouble(&trouble);
            trouble.code()
        }
    };
    match screen.lost() {
        Some(trouble) => {
            screen.trouble(&trouble);
            if code == 0 { trouble.code() } else { code }
        }
        None => code,
    }
}

async fn call(verb: Verb, socket: &std::path::Path, screen: &mut Screen) -> Outcome {
    let connection = &mut connection::open(socket).await?;
    match verb {
        Verb::Status => status::run(connection, screen).await,
        Verb::List { state, member } => {
            list::run(connection, screen, state.as_deref(), member.as_deref()).await
        }
        Verb::Show { name } => show::run(connection, screen, &name).await,
        Verb::Check { names } => check::run(connection, screen, names).await,
        Verb::Authorize { name, browser } => authorize::run(connection, screen, &name, browser).await,
        Verb::Poll { names, all, no_wait } => poll::run(connection, screen, &names, all, !no_wait).await,
        Verb::Start { names, all, dry_run: true, .. } => plan::run(connection, screen, &names, all).await,
        Verb::Start { names, all, wait, .. } => start::many(connection, screen, &names, all, wait).await,
        Verb::Finish { names, wait } => start::finish(connection, screen, &names, wait).await,
        Verb::Enable { names } => switch::run(connection, screen, switch::To::Enabled, &names).await,
        Verb::Disable { names } => switch::run(connection, screen, switch::To::Disabled, &names).await,
        Verb::Pause { names } => switch::run(connection, screen, switch::To::Paused, &names).await,
        Verb::Resume { names } => switch::run(connection, screen, switch::To::Resumed, &names).await,
        Verb::Cancel { names, keep } => {
            switch::run(connection, screen, switch::To::Cancelled { keep }, &names).await
        }
        Verb::Verify { name, bodies } => verify::run(connection, screen, &name, bodies).await,
        Verb::Report { name, format } => report::run(connection, screen, &name, format).await,
        Verb::Queue => queue::queue(connection, screen).await,
        Verb::History => queue::history(connection, screen).await,
        Verb::Watch { name } => watch::run(connection, screen, name.as_deref()).await,
        Verb::Bulk { verb: BulkVerb::Add(args) } => define::bulk(connection, screen, &args).await,
        Verb::Add { name, keys, found, passwords } => {
            define::add(connection, screen, &name, keys, found, &passwords).await
        }
        Verb::Set { name, keys, passwords } => {
            define::set(connection, screen, &name, &keys, &passwords).await
        }
        Verb::Remove { names } => {
            let mut good = true;
            for name in &names {
                good &= define::remove(connection, screen, name).await?;
            }
            Ok(good)
        }
        Verb::Upload(args) => upload::upload(connection, screen, &args).await,
        Verb::Backup(args) => files::backup(connection, screen, &args).await,
        Verb::Reload => reload::run(connection, screen).await,
        Verb::Completions { .. } => Ok(true),
    }
}
