//! Making a mailbox that is missing: a line in Dovecot's passwd-file and a Maildir with the right owner, or a
//! command of the administrator's. It refuses to change a mailbox that is there, and a password that the
//! rules do not allow; it says which of them.

mod attributes;
mod command;
mod hash;
mod passwd;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, geteuid, mkdir};

use crate::account::Member;
use crate::failure::{Failure, Kind};
use crate::secret::Secret;
use crate::settings::{PasswdFile, PasswordRules, Way};

/// A mailbox that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose it is.
    pub member: Member,
    /// The owner's first name; may be empty.
    pub first_name: String,
    /// The owner's last name; may be empty.
    pub last_name: String,
    /// The Maildir; `None`: it is at a server, which makes it.
    pub path: Option<PathBuf>,
}

/// What is about to be done, so that it can be recorded first and undone later.
#[derive(Debug)]
pub struct Plan {
    wanted: Wanted,
    way: Way,
    line: Option<passwd::Line>,
}

/// The rules that a password breaks, in words.
pub fn broken_rules(rules: &PasswordRules, password: &Secret) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(password.expose()) else {
        return vec!["it is not UTF-8".to_owned()];
    };
    let special = |c: char| c.is_numeric() || !(c.is_alphanumeric() || c.is_control());
    let mut broken = Vec::new();
    let mut rule = |holds: bool, words: String| {
        if !holds {
            broken.push(words);
        }
    };
    let length = text.chars().count();
    rule(length >= rules.min_length, format!("it has fewer than {} characters", rules.min_length));
    rule(!rules.lower || text.chars().any(char::is_lowercase), "it has no small letter".to_owned());
    rule(!rules.upper || text.chars().any(char::is_uppercase), "it has no capital letter".to_owned());
    let digit = !rules.digit_or_special || text.chars().any(special);
    rule(digit, "it has neither a digit nor a special character".to_owned());
    rule(!text.chars().any(char::is_control), "it holds a control character".to_owned());
    broken
}

/// Who is there: read once for a whole list. Waits for the disk.
#[derive(Debug)]
pub struct Inventory {
    users: HashSet<Vec<u8>>,
}

impl Inventory {
    /// Looks.
    ///
    /// # Errors
    /// The passwd-file cannot be read.
    pub fn of(way: &Way) -> Result<Inventory, Failure> {
        let users = match way {
            Way::PasswdFile(file) => passwd::users(file)?,
            Way::Command(_) => HashSet::new(),
        };
        Ok(Inventory { users })
    }

    /// Whether the mailbox is there already: its Maildir, or its line in the passwd-file.
    pub fn has(&self, way: &Way, wanted: &Wanted) -> bool {
        let user = match way {
            Way::PasswdFile(file) => wanted.member.fill(&file.user),
            Way::Command(_) => String::new(),
        };
        self.users.contains(user.as_bytes())
            || wanted.path.as_ref().is_some_and(|path| path.join("cur").exists())
    }
}

fn user(file: &PasswdFile, wanted: &Wanted) -> Result<String, Failure> {
    let user = wanted.member.fill(&file.user);
    if user.contains(':') || user.starts_with('#') || user.chars().any(char::is_whitespace) {
        return Err(Failure::new(
            Kind::Unsupported,
            format!("{user} cannot be a user in {}", file.path.display()),
            "make the mailbox by hand",
        ));
    }
    Ok(user)
}

impl Plan {
    /// What it takes to make a mailbox that is not there. Hashing takes a while.
    ///
    /// # Errors
    /// The password cannot be hashed, or the name cannot be a user.
    pub fn new(way: Way, wanted: Wanted, password: &Secret) -> Result<Self, Failure> {
        let line = match &way {
            Way::PasswdFile(file) => {
                let name = format!("{} {}", wanted.first_name, wanted.last_name);
                let name: String = name.trim().chars().map(|c| if c == ':' { ' ' } else { c }).collect();
                let hash = hash::hash(file.scheme, password)?;
                Some(passwd::Line::new(file, &user(file, &wanted)?, &hash, &name, &wanted.member))
            }
            Way::Command(_) => None,
        };
        Ok(Plan { wanted, way, line })
    }

    /// What [`unmake`] needs; to be recorded before [`Plan::make`].
    pub fn digest(&self) -> Option<String> {
        self.line.as_ref().map(passwd::Line::digest)
    }

    /// Makes it. May be done again after it was stopped anywhere.
    ///
    /// # Errors
    /// [`Kind::Destination`]: in the words of whoever refused.
    pub fn make(self, password: &Secret) -> Result<(), Failure> {
        match (&self.way, self.line) {
            (Way::PasswdFile(file), Some(line)) => {
                // First the place, then the login: nobody gets in before it is there.
                if let Some(path) = &self.wanted.path {
                    directories(path, file)?;
                }
                passwd::append(file, &user(file, &self.wanted)?, &line)
            }
            (Way::Command(words), _) => command::run(words, &self.wanted, password),
            (Way::PasswdFile(_), None) => Ok(()),
        }
    }
}

/// Takes the login of a mailbox away that was made here and was never changed.
///
/// # Errors
/// [`Kind::Destination`]: the passwd-file cannot be written.
pub fn unmake(way: &Way, digest: &str) -> Result<(), Failure> {
    match way {
        Way::PasswdFile(file) => passwd::remove(file, digest),
        Way::Command(_) => Ok(()),
    }
}

/// The directories of a Maildir that belongs to somebody else; only root can give them away.
fn directories(path: &Path, file: &PasswdFile) -> Result<(), Failure> {
    let (Some(uid), gid) = (file.uid, file.gid) else { return Ok(()) };
    let trouble = |what: &Path, why: nix::errno::Errno| {
        let words = format!("{} cannot be made: {}", what.display(), why.desc());
        Failure::new(Kind::Destination, words, "let the daemon's user write there")
    };
    if !geteuid().is_root() {
        if geteuid().as_raw() == uid {
            return Ok(());
        }
        return Err(Failure::new(
            Kind::Destination,
            format!("the mailbox is to belong to uid {uid}, and we run as {}", geteuid()),
            "run mailhauld as that user (see vmail.conf)",
        ));
    }
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    for directory in missing.into_iter().rev() {
        match mkdir(directory, Mode::S_IRWXU) {
            Ok(()) => {}
            Err(nix::errno::Errno::EEXIST) => continue,
            Err(e) => return Err(trouble(directory, e)),
        }
        chown(directory, Some(Uid::from_raw(uid)), gid.map(Gid::from_raw))
            .map_err(|e| trouble(directory, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_rule_is_named() {
        let rules = PasswordRules::default();
        let broken = |password: &str| broken_rules(&rules, &Secret::new(password.as_bytes().to_vec()));
        assert_eq!(broken("Abcdefghijk1"), Vec::<String>::new());
        assert_eq!(broken("Äbcdefghijk-"), Vec::<String>::new());
        assert_eq!(broken("abc").len(), 3);
        assert_eq!(
            broken("ABCDEFGHIJKLM"),
            ["it has no small letter", "it has neither a digit nor a special character"]
        );
        let lax = PasswordRules { min_length: 1, lower: false, upper: false, digit_or_special: false };
        assert_eq!(broken_rules(&lax, &Secret::new(b"x".to_vec())), Vec::<String>::new());
    }
}
