//! `upload` and `backup`: the files are opened here, with the caller's rights, and handed to the daemon. A Maildir
//! is packed on its way. A backup has its name only when it is complete.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::thread::JoinHandle;

use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::archive::pack_maildir;
use crate::control::api::{BackedUp, LeftOut, Manager, Uploaded};

use super::Outcome;
use super::args::{BackupArgs, UploadArgs};
use super::connection::{Connection, answer};
use super::moments::{count, size};
use super::screen::{Meaning, Screen};
use super::table::Table;
use super::trouble::Trouble;

/// Descriptors that one call may have.
const FILES: usize = 16;

type Packing = JoinHandle<io::Result<()>>;

pub(super) async fn upload(connection: &mut Connection, screen: &mut Screen, args: &UploadArgs) -> Outcome {
    // Each is there before anything is sent.
    for file in args.files.iter().filter(|file| *file != Path::new("-")) {
        let metadata = std::fs::metadata(file).map_err(|e| unreadable(&file.display().to_string(), &e))?;
        file_or_directory(file, &metadata)?;
    }
    let mut sum = Uploaded { member: args.member.clone(), ok: Some(true), ..Uploaded::default() };
    for files in args.files.chunks(FILES) {
        let (mut names, mut descriptors, mut packings) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let (shown, descriptor, packing) = open(file)?;
            packings.extend(packing.map(|packing| (shown.clone(), packing)));
            names.push(shown);
            descriptors.push(descriptor);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mailbox, destination) = (args.mailbox.as_deref(), args.destination.as_deref());
        let called = connection.upload(&args.member, mailbox, destination, &names, descriptors).await;
        let mut last = Uploaded::default();
        {
            let mut replies = pin!(answer(called.map(Ok))?);
            while let Some(reply) = replies.next().await {
                last = answer(reply)?;
            }
        }
        add(&mut sum, last);
        packed(&mut sum, packings);
        if sum.error.is_some() {
            break;
        }
    }
    let good = sum.ok == Some(true) && sum.error.is_none();
    if screen.json {
        screen.json(&sum)?;
    } else {
        tell(screen, &sum, good);
    }
    if !good {
        let words = "a file could not be read to its end; see what was left out, and upload it again";
        screen.failed(&args.member, Some(sum.error.as_deref().unwrap_or(words)));
    }
    Ok(good)
}

/// A descriptor of a file, or of a pipe into which a Maildir is being packed.
fn open(file: &Path) -> Result<(String, OwnedFd, Option<Packing>), Trouble> {
    if file == Path::new("-") {
        let own = io::stdin().as_fd().try_clone_to_owned();
        return Ok(("standard input".to_owned(), own.map_err(|e| unreadable("standard input", &e))?, None));
    }
    let shown = file.display().to_string();
    // Whoever opens a FIFO waits for its other end.
    let opened = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(file);
    let opened = opened.map_err(|e| unreadable(&shown, &e))?;
    let metadata = opened.metadata().map_err(|e| unreadable(&shown, &e))?;
    file_or_directory(file, &metadata)?;
    if !metadata.is_dir() {
        return Ok((shown, opened.into(), None));
    }
    if !file.join("cur").is_dir() && !file.join("new").is_dir() {
        let what = format!("{shown} is a directory and no Maildir: there is no cur in it");
        return Err(Trouble::usage(what, "name the Maildir, or the files one by one"));
    }
    let (reader, writer) = io::pipe().map_err(|e| unreadable(&shown, &e))?;
    let root = file.to_owned();
    let packing = std::thread::spawn(move || pack_maildir(&root, writer));
    Ok((shown, reader.into(), Some(packing)))
}

fn file_or_directory(file: &Path, metadata: &Metadata) -> Result<(), Trouble> {
    if metadata.is_file() || metadata.is_dir() {
        return Ok(());
    }
    let what = format!("{} is neither a file nor a Maildir", file.display());
    Err(Trouble::usage(what, "name a regular file, or '-' for standard input"))
}

fn add(sum: &mut Uploaded, part: Uploaded) {
    sum.imported += part.imported;
    sum.already_there += part.already_there;
    sum.skipped += part.skipped;
    sum.bytes += part.bytes;
    sum.ok = Some(sum.ok == Some(true) && part.ok == Some(true));
    sum.left_out.extend(part.left_out);
    if part.ok.is_none() && part.error.is_none() {
        sum.error = Some("the upload has no end; try again".to_owned());
    }
    sum.error = sum.error.take().or(part.error);
}

/// Whether the Maildirs could be read.
fn packed(sum: &mut Uploaded, packings: Vec<(String, Packing)>) {
    for (shown, packing) in packings {
        let failed = match packing.join() {
            Ok(Ok(())) => continue,
            // The daemon has said why it read no further.
            Ok(Err(e)) if e.kind() == io::ErrorKind::BrokenPipe => continue,
            Ok(Err(e)) => e.to_string(),
            Err(_) => "it ended unexpectedly".to_owned(),
        };
        sum.error.get_or_insert(format!(
            "{shown} cannot be read to its end: {failed}; mend that and upload again"
        ));
    }
}

fn tell_left_out(screen: &mut Screen, left_out: &[LeftOut]) {
    if !left_out.is_empty() {
        let mut table = Table::new(&["LEFT OUT", "SIZE", "REASON"]);
        for out in left_out {
            table.row(vec![out.what.clone(), out.size.map(size).unwrap_or_default(), out.reason.clone()]);
        }
        table.print(screen, "");
        screen.line("");
    }
}

fn tell(screen: &mut Screen, sum: &Uploaded, good: bool) {
    tell_left_out(screen, &sum.left_out);
    let words = format!(
        "{}: {} imported ({}), {} already there, {} left out",
        sum.member,
        count(sum.imported, "message"),
        size(sum.bytes),
        sum.already_there,
        sum.skipped
    );
    screen.painted(if good { Meaning::Good } else { Meaning::Bad }, &words);
}

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
        let lacking = format!(
            "the server does not give {}; everything else is in the file",
            count(done.unread, "message")
        );
        let words = match (&done.error, done.unread) {
            (Some(error), _) => error,
            (None, 1..) => &lacking,
            (None, 0) => "the backup has no end; try again",
        };
        screen.failed(&args.member, Some(words));
    }
    Ok(good)
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

fn unreadable(what: &str, error: &io::Error) -> Trouble {
    Trouble::usage(format!("{what} cannot be read: {error}"), "look at its name and its mode")
}

fn unwritable(what: &str, error: &io::Error) -> Trouble {
    Trouble::usage(format!("{what} cannot be written: {error}"), "name another file with -o FILE")
}
