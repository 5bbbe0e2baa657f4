//! `backup`: the file is opened here, with the caller's rights, and handed to the daemon. A backup has its name only
//! when it is complete.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::control::api::{BackedUp, Manager};

use super::Outcome;
use super::args::BackupArgs;
use super::connection::{Connection, answer};
use super::moments::{count, size};
use super::screen::{Meaning, Screen};
use super::trouble::Trouble;
use super::upload::tell_left_out;

pub(super) async fn backup(connection: &mut Connection, screen: &mut Screen, args: &BackupArgs) -> Outcome {
    let interrupted =
        interruption().map_err(|e| Trouble::failed(format!("signals cannot be heard: {e}"), "try again"))?;
    let (part, file): (Option<Part>, OwnedFd) = if args.output == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(Trouble::usage("a backup is nothing for a terminal", "name a file with -o FILE"));
        }
        let own = io::stdout().as_fd().try_clone_to_owned();
        (None, own.map_err(|e| unwritable("standard output", &e))?)
    } else {
        create(&args.output)?
    };
    let done = tokio::select! {
        result = follow(connection, args, file) => result?,
        () = interrupted => {
            let words = "the backup was broken off, and nothing of it is kept";
            return Err(Trouble::failed(words, "run it again").about(&args.member));
        }
    };
    if let Some(Part(part)) = &part
        && done.ok.is_some()
        && done.error.is_none()
    {
        std::fs::rename(part, &args.output)
            .map_err(|e| unwritable(&args.output.display().to_string(), &e))?;
    }
    drop(part);
    let good = done.ok == Some(true);
    if args.output != Path::new("-") {
        if screen.json {
            screen.json(&done)?;
        } else if done.ok.is_some() && done.error.is_none() {
            tell_left_out(screen, &done.left_out);
            let words = format!(
                "{}: {} in {}, {}",
                done.member,
                count(done.messages, "message"),
                count(done.folders, "folder"),
                size(done.bytes)
            );
            screen.painted(if good { Meaning::Good } else { Meaning::Bad }, &words);
        }
    }
    if !good {
        let lacking =
            format!("the server does not give {}; everything else is in the file", not_given(&done));
        let words = match (&done.error, done.unread) {
            (Some(error), _) => error,
            (None, 1..) => &lacking,
            (None, 0) => "the backup has no end; try again",
        };
        screen.failed(&args.member, Some(words));
    }
    Ok(good)
}

/// What is not in the file: messages, and folders of which nobody knows how many are missing.
fn not_given(done: &BackedUp) -> String {
    let folders = done.left_out.iter().filter(|out| out.what.ends_with(" (folder)")).count() as u64;
    match (done.unread.saturating_sub(folders), folders) {
        (messages, 0) => count(messages, "message"),
        (0, folders) => format!("all of {}", count(folders, "folder")),
        (messages, folders) => {
            format!("{}, and all of {}", count(messages, "message"), count(folders, "folder"))
        }
    }
}

/// What is being written: half a backup is none, and is removed however this ends.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // A complete one has another name by now.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Ends when somebody wants this to end; from now on a signal ends nothing else.
fn interruption() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

async fn follow(connection: &mut Connection, args: &BackupArgs, file: OwnedFd) -> Result<BackedUp, Trouble> {
    let (mailbox, destination) = (args.mailbox.as_deref(), args.destination.as_deref());
    let called = connection.backup(&args.member, mailbox, destination, args.format.name(), vec![file]).await;
    let mut last = BackedUp::default();
    let mut replies = pin!(answer(called.map(Ok))?);
    while let Some(reply) = replies.next().await {
        last = answer(reply)?;
    }
    Ok(last)
}

/// A file beside the one that is wanted; what is no regular file is written as it is.
fn create(output: &Path) -> Result<(Option<Part>, OwnedFd), Trouble> {
    let shown = output.display().to_string();
    let other = std::fs::metadata(output).is_ok_and(|metadata| !metadata.is_file());
    let mut options = File::options();
    options.write(true).mode(0o600);
    if other {
        let opened = options.open(output).map_err(|e| unwritable(&shown, &e))?;
        return Ok((None, opened.into()));
    }
    let mut part = OsString::from(output);
    part.push(".part");
    let part = PathBuf::from(part);
    let opened = options.create(true).truncate(true).open(&part).map_err(|e| unwritable(&shown, &e))?;
    Ok((Some(Part(part)), opened.into()))
}

fn unwritable(what: &str, error: &io::Error) -> Trouble {
    Trouble::usage(format!("{what} cannot be written: {error}"), "name another file with -o FILE")
}
