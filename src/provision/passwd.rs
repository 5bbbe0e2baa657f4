//! Dovecot's passwd-file: a line is appended or taken away under a lock, and the file is replaced as a whole,
//! with the owner, the mode and the attributes that it had. It refuses to change any other line, and to make the file.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, fchown};
use ring::digest::{SHA256, digest};

use super::attributes;
use crate::account::Member;
use crate::failure::{Failure, Kind};
use crate::settings::PasswdFile;

/// A line without its end.
pub(super) struct Line(String);

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line(..)")
    }
}

impl Line {
    /// `user:password:uid:gid:gecos:home:shell:extra`
    pub(super) fn new(file: &PasswdFile, user: &str, hash: &str, name: &str, member: &Member) -> Line {
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        let (uid, gid, home) = (number(file.uid), number(file.gid), member.fill(&file.home));
        Line(format!("{user}:{hash}:{uid}:{gid}:{name}:{home}::"))
    }

    /// By which it is found again, and nothing can be found out.
    pub(super) fn digest(&self) -> String {
        of(&self.0)
    }
}

fn of(line: &str) -> String {
    digest(&SHA256, line.as_bytes()).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Everybody in the file.
pub(super) fn users(file: &PasswdFile) -> Result<HashSet<Vec<u8>>, Failure> {
    let text = fs::read(&file.path).map_err(|e| trouble(&file.path, &e))?;
    let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    Ok(lines.filter_map(|line| Some(line.split(|octet| *octet == b':').next()?.to_vec())).collect())
}

fn holds(text: &[u8], user: &str) -> bool {
    text.split(|octet| *octet == b'\n').any(|line| {
        line.strip_prefix(user.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
    })
}

/// Appends a line, unless the user has got one meanwhile.
pub(super) fn append(file: &PasswdFile, user: &str, line: &Line) -> Result<(), Failure> {
    change(&file.path, |text| {
        if holds(&text, user) {
            return None;
        }
        let mut text = text;
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(line.0.as_bytes());
        text.push(b'\n');
        Some(text)
    })
}

/// Takes the line with this digest away.
pub(super) fn remove(file: &PasswdFile, digest: &str) -> Result<(), Failure> {
    change(&file.path, |text| {
        let lines = text.split_inclusive(|octet| *octet == b'\n');
        let other = |line: &&[u8]| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            std::str::from_utf8(line).map_or(true, |line| of(line) != digest)
        };
        let left: Vec<u8> = lines.filter(other).flatten().copied().collect();
        (left.len() != text.len()).then_some(left)
    })
}

/// `None` from `work`: it stays as it is.
fn change(path: &Path, work: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) -> Result<(), Failure> {
    let trouble = |e: std::io::Error| trouble(path, &e);
    // A link stays a link.
    let path = path.canonicalize().map_err(trouble)?;
    let mut lock = locked(&path).map_err(trouble)?;
    let mut text = Vec::new();
    lock.read_to_end(&mut text).map_err(trouble)?;
    let mut name = path.clone().into_os_string();
    name.push(".mailhaul-new");
    let new = PathBuf::from(name);
    // Somebody was stopped before it was in place.
    let _ = fs::remove_file(&new);
    let Some(text) = work(text) else { return Ok(()) };
    let before = lock.metadata().map_err(trouble)?;
    let written = (|| {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        let after = file.metadata()?;
        if (after.uid(), after.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(Uid::from_raw(before.uid())), Some(Gid::from_raw(before.gid())))?;
        }
        attributes::copy(&lock, &file)?;
        // Last: the access control list has a say in the mode, too.
        file.set_permissions(before.permissions())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(trouble)
}

/// Whoever replaced the file while we waited holds a lock on one that is no longer there: once more.
fn locked(path: &Path) -> std::io::Result<Flock<File>> {
    loop {
        let file = File::open(path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| std::io::Error::from(e))?;
        let (held, there) = (lock.metadata()?, fs::metadata(path)?);
        if (held.dev(), held.ino()) == (there.dev(), there.ino()) {
            return Ok(lock);
        }
    }
}

fn trouble(path: &Path, error: &std::io::Error) -> Failure {
    let shown = path.display();
    let mend = match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("make it: install -m 0640 -o mailhaul -g dovecot /dev/null {shown}")
        }
        _ => "let the daemon's user write it, and into its directory (ReadWritePaths= of the service)"
            .to_owned(),
    };
    Failure::new(Kind::Destination, format!("the passwd-file {shown} cannot be changed: {error}"), mend)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::settings::Scheme;

    #[test]
    fn lines_come_and_go_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        fs::write(&path, "# users\neve@example.com:{PLAIN}x::::::").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let file = PasswdFile {
            path: path.clone(),
            scheme: Scheme::BlfCrypt,
            user: "{member}".to_owned(),
            uid: Some(5000),
            gid: None,
            home: "/h/{local}".to_owned(),
        };
        let member = Member { local: "bob".to_owned(), domain: "example.com".to_owned() };
        let line = Line::new(&file, "bob@example.com", "{X}y", "Bob B", &member);
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (file, member, barrier) = (&file, &member, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let user = format!("u{n}");
                    append(file, &user, &Line::new(file, &user, "{X}y", "", member)).unwrap();
                });
            }
        });
        append(&file, "bob@example.com", &line).unwrap();
        append(&file, "bob@example.com", &line).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 11, "{text}");
        assert!(text.ends_with("bob@example.com:{X}y:5000::Bob B:/h/bob::\n"), "{text}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        let users = users(&file).unwrap();
        assert!(users.contains(b"u3".as_slice()) && !users.contains(b"u".as_slice()));
        remove(&file, "no such digest").unwrap();
        remove(&file, &line.digest()).unwrap();
        assert_eq!(
            text.replace("bob@example.com:{X}y:5000::Bob B:/h/bob::\n", ""),
            fs::read_to_string(&path).unwrap()
        );
        fs::remove_file(&path).unwrap();
        assert!(append(&file, "x", &line).unwrap_err().mend.contains("install"));
    }
}
