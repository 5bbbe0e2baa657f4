//! `upload`: the files are opened here, with the caller's rights, and handed to the daemon. A directory is packed on its
//! way, and so are single messages in number, so that the daemon looks at the mailbox once. It refuses to call an upload
//! done of which nothing came.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::thread::JoinHandle;

use futures_util::StreamExt;

use crate::archive::{is_single_message, pack_directory, pack_files};
use crate::control::api::{LeftOut, Manager, PassedOver, Uploaded};

use super::Outcome;
use super::args::UploadArgs;
use super::connection::{Connection, answer};
use super::moments::{count, size};
use super::screen::{Meaning, Screen};
use super::table::Table;
use super::trouble::Trouble;

/// Descriptors that one call may have.
const FILES: usize = 16;

type Packing = JoinHandle<io::Result<()>>;

/// What one descriptor of a call is.
enum Part {
    /// A file, or a directory.
    One(PathBuf),
    /// Single messages, packed together.
    Messages(Vec<PathBuf>),
}

pub(super) async fn upload(connection: &mut Connection, screen: &mut Screen, args: &UploadArgs) -> Outcome {
    // Each is there before anything is sent.
    for file in args.files.iter().filter(|file| *file != Path::new("-")) {
        let metadata = std::fs::metadata(file).map_err(|e| unreadable(&file.display().to_string(), &e))?;
        file_or_directory(file, &metadata)?;
    }
    let mut sum = Uploaded { member: args.member.clone(), ok: Some(true), ..Uploaded::default() };
    for parts in parts(&args.files)?.chunks(FILES) {
        let (mut names, mut descriptors, mut packings) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            let (shown, descriptor, packing) = open(part)?;
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
    let nothing = sum.imported + sum.already_there + sum.folders == 0;
    let good = sum.ok == Some(true) && sum.error.is_none() && !nothing;
    sum.ok = Some(good);
    if screen.json {
        screen.json(&sum)?;
    } else {
        tell(screen, &sum, good);
    }
    if !good {
        screen.failed(&args.member, Some(&what_failed(&sum)));
    }
    Ok(good)
}

/// Why the upload is not done, and what to do.
fn what_failed(sum: &Uploaded) -> String {
    match (&sum.error, sum.skipped) {
        (Some(error), _) => error.clone(),
        (None, 0) => "there is no mail in what was named; name messages, mailboxes or archives".to_owned(),
        (None, 1) => "1 thing that may be mail was left out; see why, mend it and upload it again".to_owned(),
        (None, more) => {
            format!("{more} things that may be mail were left out; see why, mend them and upload them again")
        }
    }
}

/// What the descriptors will be: where there are more files than one call takes, single messages go together.
fn parts(files: &[PathBuf]) -> Result<Vec<Part>, Trouble> {
    let (mut parts, mut messages) = (Vec::new(), Vec::new());
    for file in files {
        let many = files.len() > FILES && file != Path::new("-") && !file.is_dir();
        if many && is_single_message(file).map_err(|e| unreadable(&file.display().to_string(), &e))? {
            messages.push(file.clone());
        } else {
            parts.push(Part::One(file.clone()));
        }
    }
    if !messages.is_empty() {
        parts.push(Part::Messages(messages));
    }
    Ok(parts)
}

/// A descriptor of a file, or of a pipe into which something is being packed.
fn open(part: &Part) -> Result<(String, OwnedFd, Option<Packing>), Trouble> {
    let file = match part {
        Part::One(file) => file,
        Part::Messages(files) => {
            let (reader, writer) = io::pipe().map_err(|e| unreadable("the messages", &e))?;
            let files = files.clone();
            let packing = std::thread::spawn(move || pack_files(&files, writer));
            return Ok(("the messages".to_owned(), reader.into(), Some(packing)));
        }
    };
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
    let (reader, writer) = io::pipe().map_err(|e| unreadable(&shown, &e))?;
    let root = file.clone();
    let packing = std::thread::spawn(move || pack_directory(&root, writer));
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
    sum.folders += part.folders;
    sum.ok = Some(sum.ok == Some(true) && part.ok == Some(true));
    sum.left_out.extend(part.left_out);
    for PassedOver { kind, count } in part.passed_over {
        match sum.passed_over.iter_mut().find(|known| known.kind == kind) {
            Some(known) => known.count += count,
            None => sum.passed_over.push(PassedOver { kind, count }),
        }
    }
    if part.ok.is_none() && part.error.is_none() {
        sum.error = Some("the upload has no end; try again".to_owned());
    }
    sum.error = sum.error.take().or(part.error);
}

/// Whether everything could be packed.
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

pub(super) fn tell_left_out(screen: &mut Screen, left_out: &[LeftOut]) {
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
    if !sum.passed_over.is_empty() {
        let kinds: Vec<String> =
            sum.passed_over.iter().map(|passed| format!("{} ({})", passed.kind, passed.count)).collect();
        screen.line(&format!("no mail, and passed over: {}", kinds.join(", ")));
    }
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

fn unreadable(what: &str, error: &io::Error) -> Trouble {
    Trouble::usage(format!("{what} cannot be read: {error}"), "look at its name and its mode")
}
