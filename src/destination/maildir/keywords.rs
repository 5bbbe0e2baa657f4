//! Keywords as Dovecot keeps them: `dovecot-keywords` in the folder maps the letters `a` to `z` of file names
//! to words. The file is changed under Dovecot's own lock (`dovecot-uidlist.lock`). It refuses a
//! twenty-seventh keyword: that one is reported as not carried.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::folder::{Folder, entries};
use super::mailbox::Mailbox;
use crate::failure::{Failure, Kind};
use crate::message::Keyword;

const FILE: &str = "dovecot-keywords";
const LOCK: &str = "dovecot-uidlist.lock";
const NEW: &str = "dovecot-keywords.mailhaul";
/// The file is ours and Dovecot's; more than this in it is damage.
const LARGEST_FILE: u64 = 64 * 1024;

/// The keywords of one folder.
#[derive(Debug, Default)]
pub(crate) struct Keywords {
    /// Letter by letter; an empty name is a free letter.
    names: Vec<String>,
    read: bool,
}

impl Keywords {
    /// The letters for `wanted`, in ASCII order; new ones are given and made durable first. Also returns the
    /// keywords that cannot be carried.
    ///
    /// # Errors
    /// The folder cannot be written, or Dovecot holds its lock for longer than ten seconds.
    pub(crate) fn letters(
        &mut self,
        mailbox: &Mailbox,
        folder: &Folder,
        wanted: &[String],
    ) -> Result<(String, Vec<String>), Failure> {
        if wanted.is_empty() {
            return Ok((String::new(), Vec::new()));
        }
        if !self.read {
            tidy(mailbox, folder)?;
            self.names = read(mailbox, folder)?;
            self.read = true;
        }
        if wanted.iter().any(|w| Keyword::new(w).is_some() && self.position(w).is_none())
            && self.names.len() < 26
        {
            self.add(mailbox, folder, wanted)?;
        }
        let (mut letters, mut left) = (Vec::new(), Vec::new());
        for word in wanted {
            match self.position(word).filter(|_| Keyword::new(word).is_some()) {
                Some(at) => letters.push(char::from(b'a' + at)),
                None => left.push(word.clone()),
            }
        }
        letters.sort_unstable();
        letters.dedup();
        Ok((letters.into_iter().collect(), left))
    }

    fn position(&self, word: &str) -> Option<u8> {
        let at = self.names.iter().position(|n| n.eq_ignore_ascii_case(word))?;
        u8::try_from(at).ok().filter(|at| *at < 26)
    }

    fn add(&mut self, mailbox: &Mailbox, folder: &Folder, wanted: &[String]) -> Result<(), Failure> {
        let _lock = Lock::take(mailbox, folder)?;
        self.names = read(mailbox, folder)?;
        for word in wanted {
            if Keyword::new(word).is_some() && self.position(word).is_none() && self.names.len() < 26 {
                self.names.push(word.clone());
            }
        }
        write(mailbox, folder, &self.names)
    }
}

/// Replaces the file, durably. Whoever calls has the lock.
fn write(mailbox: &Mailbox, folder: &Folder, names: &[String]) -> Result<(), Failure> {
    let mut text = String::new();
    for (at, name) in names.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
        text.push_str(&format!("{at} {name}\n"));
    }
    let dir = folder.dir.as_fd();
    let _ = unlinkat(dir, NEW, UnlinkatFlags::NoRemoveDir);
    let mut file = mailbox.create(dir, NEW)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|e| mailbox.trouble(FILE, errno(&e)))?;
    renameat(dir, NEW, dir, FILE).and_then(|()| nix::unistd::fsync(dir)).map_err(|e| mailbox.trouble(FILE, e))
}

/// The words behind a folder's letters, in the order of the letters; an empty one is a free letter.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn words(mailbox: &Mailbox, folder: &Folder) -> Result<Vec<String>, Failure> {
    read(mailbox, folder)
}

/// The only keywords, in lower case, that messages of a folder can have, if it has no letter left for others.
///
/// # Errors
/// The mailbox or the folder cannot be read.
pub fn last_keywords(path: &Path, directory: &str) -> Result<Option<BTreeSet<String>>, Failure> {
    let Some(mailbox) = Mailbox::open_existing(path)? else { return Ok(None) };
    let Some(folder) = Folder::open_existing(&mailbox, directory)? else { return Ok(None) };
    let words = words(&mailbox, &folder)?;
    let full = words.iter().filter(|word| !word.is_empty()).count() >= 26;
    Ok(full.then(|| words.iter().map(|word| word.to_ascii_lowercase()).collect()))
}

/// The letters that are taken, bit by bit: `a` is the lowest.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn taken(mailbox: &Mailbox, folder: &Folder) -> Result<u32, Failure> {
    let names = read(mailbox, folder)?;
    Ok(names.iter().zip(0..26).filter(|(name, _)| !name.is_empty()).fold(0, |all, (_, at)| all | 1 << at))
}

/// Gives letters back that were not taken `before` and that no message has any more.
///
/// # Errors
/// As [`Keywords::letters`].
pub(super) fn give_back(mailbox: &Mailbox, folder: &Folder, before: u32) -> Result<(), Failure> {
    let trouble = |e| mailbox.trouble(&folder.name, e);
    if taken(mailbox, folder)? & !before == 0 {
        return Ok(());
    }
    let _lock = Lock::take(mailbox, folder)?;
    let mut names = read(mailbox, folder)?;
    let mut used = before;
    for directory in [&folder.cur, &folder.new] {
        for file in entries(directory.as_fd()).map_err(trouble)? {
            let info = memchr::memmem::find(&file, b":2,").and_then(|at| file.get(at + 3..));
            let letters = info.unwrap_or_default().iter().filter(|letter| letter.is_ascii_lowercase());
            used = letters.fold(used, |used, letter| used | 1 << (letter - b'a'));
        }
    }
    for (name, at) in names.iter_mut().zip(0..26) {
        if used & 1 << at == 0 {
            name.clear();
        }
    }
    if before == 0 && names.iter().all(String::is_empty) {
        let dir = folder.dir.as_fd();
        return match unlinkat(dir, FILE, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => nix::unistd::fsync(dir).map_err(trouble),
            Err(e) => Err(trouble(e)),
        };
    }
    write(mailbox, folder, &names)
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn read(mailbox: &Mailbox, folder: &Folder) -> Result<Vec<String>, Failure> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match openat(folder.dir.as_fd(), FILE, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        Err(e) => return Err(mailbox.trouble(FILE, e)),
    };
    let mut text = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut text).map_err(|e| mailbox.trouble(FILE, errno(&e)))?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let Some((at, name)) = line.split_once(' ') else { continue };
        let Ok(at) = at.parse::<usize>() else { continue };
        if at < 26 {
            if names.len() <= at {
                names.resize(at + 1, String::new());
            }
            if let Some(slot) = names.get_mut(at) {
                name.clone_into(slot);
            }
        }
    }
    names
}

/// Dovecot's lock on a folder's `dovecot-uidlist` and `dovecot-keywords`; released when dropped.
struct Lock<'f>(&'f Folder);

impl<'f> Lock<'f> {
    fn take(mailbox: &Mailbox, folder: &'f Folder) -> Result<Self, Failure> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match make_lock(mailbox, folder) {
                Ok(()) => return Ok(Lock(folder)),
                Err(failure) => {
                    if is_dead(folder) {
                        let _ = unlinkat(folder.dir.as_fd(), LOCK, UnlinkatFlags::NoRemoveDir);
                        continue;
                    }
                    let held = fstatat(folder.dir.as_fd(), LOCK, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
                    if Instant::now() > until {
                        if !held {
                            return Err(failure);
                        }
                        let place = mailbox.path().join(&folder.name).join(LOCK);
                        return Err(Failure::new(
                            Kind::Destination,
                            format!("{} has been locked for ten seconds", place.display()),
                            "it is tried again; if no mail server uses the mailbox, remove that file",
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Makes the lock, with its holder in it, so that others can tell whether we still live, as Dovecot does. The
/// holder is there as soon as the lock is, or a kill in between would lock everybody out for two minutes;
/// only a file system that cannot link a file without a name gets the holder afterwards.
fn make_lock(mailbox: &Mailbox, folder: &Folder) -> Result<(), Failure> {
    let dir = folder.dir.as_fd();
    let holder = format!("{}:{}", std::process::id(), host());
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    if let Ok(file) = openat(dir, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut file = std::fs::File::from(file);
        // Synced, or after a power cut the lock may be there without its holder.
        file.write_all(holder.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|e| mailbox.trouble(LOCK, errno(&e)))?;
        match linkat(AT_FDCWD, name.as_str(), dir, LOCK, AtFlags::AT_SYMLINK_FOLLOW) {
            Ok(()) => {
                return mailbox.give_away(dir, LOCK).inspect_err(|_| {
                    let _ = unlinkat(dir, LOCK, UnlinkatFlags::NoRemoveDir);
                });
            }
            Err(Errno::EEXIST) => return Err(mailbox.trouble(LOCK, Errno::EEXIST)),
            Err(_) => {}
        }
    }
    let _ = write!(mailbox.create(dir, LOCK)?, "{holder}");
    Ok(())
}

/// Removes what somebody who was killed left of a new list, and his lock; the list itself is whole.
///
/// # Errors
/// The folder cannot be written, or Dovecot holds its lock for longer than ten seconds.
pub(super) fn tidy(mailbox: &Mailbox, folder: &Folder) -> Result<(), Failure> {
    let dir = folder.dir.as_fd();
    if fstatat(dir, NEW, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
        let _lock = Lock::take(mailbox, folder)?;
        let _ = unlinkat(dir, NEW, UnlinkatFlags::NoRemoveDir);
    } else if is_dead(folder) {
        let _ = unlinkat(dir, LOCK, UnlinkatFlags::NoRemoveDir);
    }
    Ok(())
}

/// Whether the holder of the lock is gone: its process does not exist on this host, or it is too old for
/// anybody to hold it (Dovecot refreshes a lock that it still needs).
fn is_dead(folder: &Folder) -> bool {
    let dir = folder.dir.as_fd();
    let Ok(held) = fstatat(dir, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW) else { return false };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if u64::try_from(held.st_mtime).unwrap_or(0) + 120 < now {
        return true;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let Ok(file) = openat(dir, LOCK, flags, Mode::empty()) else { return false };
    let mut text = String::new();
    if std::fs::File::from(file).take(512).read_to_string(&mut text).is_err() {
        return false;
    }
    let Some((pid, host_name)) = text.trim().split_once(':') else { return false };
    let Ok(pid) = pid.parse::<i32>() else { return false };
    if host_name != host() || pid <= 0 {
        return false;
    }
    if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return true;
    }
    // After a power cut another process may have the number, even we ourselves.
    started(pid).is_some_and(|at| u64::try_from(held.st_mtime).is_ok_and(|made| made + 1 < at))
}

/// When a process began, in seconds since 1970 (proc(5): `btime` of stat, `starttime` of PID/stat).
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let own = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold blanks.
    let ticks: u64 = own.rsplit(')').next()?.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let rate = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(boot + ticks / u64::try_from(rate).ok().filter(|rate| *rate > 0)?)
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // One that stays would hold everybody up for as long as we live.
        let gone = || unlinkat(self.0.dir.as_fd(), LOCK, UnlinkatFlags::NoRemoveDir);
        let _ = gone().or_else(|_| gone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(list: &[&str]) -> Vec<String> {
        list.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn letters_are_kept_over_runs_and_run_out() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(&dir.path().join("m")).unwrap();
        let folder = Folder::open(&mailbox, ".A").unwrap();
        let file = dir.path().join("m/.A/dovecot-keywords");
        std::fs::write(&file, "0 old\n2 $Forwarded\n").unwrap();
        let mut keywords = Keywords::default();
        let (letters, left) =
            keywords.letters(&mailbox, &folder, &list(&["$forwarded", "new", "b\"ad"])).unwrap();
        assert_eq!((letters.as_str(), left), ("cd", list(&["b\"ad"])));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "0 old\n2 $Forwarded\n3 new\n");
        let many: Vec<String> = (0..40).map(|i| format!("k{i}")).collect();
        let (letters, left) = Keywords::default().letters(&mailbox, &folder, &many).unwrap();
        assert_eq!((letters.len(), left.len()), (22, 18));
        assert!(!dir.path().join("m/.A").join(LOCK).exists());
        std::fs::write(dir.path().join("m/.A/cur/1.x.h:2,Sd"), "").unwrap();
        give_back(&mailbox, &folder, 0b101).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "0 old\n2 $Forwarded\n3 new\n");
        std::fs::remove_file(dir.path().join("m/.A/cur/1.x.h:2,Sd")).unwrap();
        give_back(&mailbox, &folder, 0b101).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "0 old\n2 $Forwarded\n");
        give_back(&mailbox, &folder, 0).unwrap();
        assert!(!file.exists(), "there was none before");
    }

    #[test]
    fn a_dead_holder_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(&dir.path().join("m")).unwrap();
        let folder = Folder::open(&mailbox, ".A").unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        std::fs::write(dir.path().join("m/.A").join(LOCK), format!("{}:{}", child.id(), host())).unwrap();
        assert!(is_dead(&folder));
        let (letters, _) = Keywords::default().letters(&mailbox, &folder, &list(&["a"])).unwrap();
        assert_eq!(letters, "a");
        std::fs::write(dir.path().join("m/.A").join(LOCK), format!("{}:{}", std::process::id(), host()))
            .unwrap();
        assert!(!is_dead(&folder), "we live");
        let lock = std::fs::File::options().write(true).open(dir.path().join("m/.A").join(LOCK)).unwrap();
        let own = started(std::process::id().cast_signed()).unwrap();
        lock.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(own - 60)).unwrap();
        assert!(is_dead(&folder), "it was made before we began");
        std::fs::write(dir.path().join("m/.A").join(LOCK), format!("{}:elsewhere", child.id())).unwrap();
        assert!(!is_dead(&folder), "who knows what lives elsewhere");
    }

    #[test]
    fn a_lock_tells_its_holder_and_a_dead_one_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(&dir.path().join("m")).unwrap();
        let folder = Folder::open(&mailbox, ".A").unwrap();
        let file = |name: &str| dir.path().join("m/.A").join(name);
        make_lock(&mailbox, &folder).unwrap();
        let holder = format!("{}:{}", std::process::id(), host());
        assert_eq!(std::fs::read_to_string(file(LOCK)).unwrap(), holder);
        assert!(make_lock(&mailbox, &folder).is_err(), "it is held");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        for (lock, new) in [(true, true), (true, false), (false, true)] {
            let _ = std::fs::remove_file(file(LOCK));
            if lock {
                std::fs::write(file(LOCK), format!("{}:{}", child.id(), host())).unwrap();
            }
            if new {
                std::fs::write(file(NEW), "0 half").unwrap();
            }
            tidy(&mailbox, &folder).unwrap();
            assert!(!file(LOCK).exists() && !file(NEW).exists(), "{lock} {new}");
        }
    }
}
