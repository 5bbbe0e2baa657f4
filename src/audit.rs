//! Who did what: every administrative act goes into the journal, with a message id of its own, and into
//! `audit.log` in the state directory, a JSON object a line. The file is opened for each entry, so whoever
//! rotates it has to tell nobody. It refuses to hold a secret: it is told names and results alone.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// `MESSAGE_ID=` of every entry in the journal (systemd.journal-fields(7)).
pub const MESSAGE_ID: &str = "c2f1f0b6e3a94f0a9d8c5b1e7a6d4c33";
/// Acts on more accounts at once are one entry in the journal; the file has all of them.
const MANY: usize = 100;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// As the kernel says; `None`: the daemon itself, or a signal.
    pub uid: Option<u32>,
    /// Likewise.
    pub pid: Option<i32>,
    /// The user's name, or what it was instead of a user.
    pub name: String,
}

impl Who {
    /// A user.
    pub fn user(uid: u32, pid: i32) -> Who {
        let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
        Who { uid: Some(uid), pid: Some(pid), name: found.map_or_else(|| uid.to_string(), |user| user.name) }
    }

    /// Something that is no user: a signal, the policy.
    pub fn what(name: &str) -> Who {
        Who { uid: None, pid: None, name: name.to_owned() }
    }
}

/// One act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Act {
    /// The verb.
    pub act: &'static str,
    /// The account.
    pub account: Option<String>,
    /// Why it was refused or failed; `None`: it was done.
    pub error: Option<String>,
    /// It was begun: with an error it failed, and was not refused.
    pub begun: bool,
    /// The owner's consent was given by whoever did it.
    pub agreed: bool,
    /// What else should be known.
    pub detail: Option<String>,
}

#[derive(Serialize)]
struct Entry<'e> {
    time: String,
    uid: Option<u32>,
    pid: Option<i32>,
    user: &'e str,
    act: &'e str,
    account: Option<&'e str>,
    result: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'e str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    agreed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'e str>,
}

/// The log of acts; clones write into the same one.
#[derive(Debug, Clone)]
pub struct Audit {
    file: PathBuf,
}

impl Audit {
    /// Below the state directory.
    pub fn new(state: &Path) -> Audit {
        Audit { file: state.join("audit.log") }
    }

    /// Takes note of acts. A file that cannot be written is told in the log and stops nothing.
    pub fn record(&self, who: &Who, acts: &[Act]) {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let mut lines = Vec::new();
        for act in acts {
            let entry = Entry {
                time: time.clone(),
                uid: who.uid,
                pid: who.pid,
                user: &who.name,
                act: act.act,
                account: act.account.as_deref(),
                result: match act.error {
                    None => "done",
                    Some(_) if act.begun => "failed",
                    Some(_) => "refused",
                },
                error: act.error.as_deref(),
                agreed: act.agreed,
                detail: act.detail.as_deref(),
            };
            if serde_json::to_writer(&mut lines, &entry).is_ok() {
                lines.push(b'\n');
            }
        }
        let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.file);
        // One write, so that the lines of several acts do not mix.
        if let Err(error) = opened.and_then(|mut file| file.write_all(&lines)) {
            tracing::error!("the audit log {} cannot be written: {error}", self.file.display());
        }
        match acts {
            acts if acts.len() > MANY => tell(who, acts.first(), &format!("{} accounts", acts.len())),
            acts => {
                acts.iter().for_each(|act| tell(who, Some(act), act.account.as_deref().unwrap_or_default()))
            }
        }
    }
}

fn tell(who: &Who, act: Option<&Act>, account: &str) {
    let Some(act) = act else { return };
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    tracing::info!(
        MESSAGE_ID,
        ACT = act.act,
        ACCOUNT = (!account.is_empty()).then_some(account),
        ACTOR = who.name,
        ACTOR_UID = number(who.uid.map(i64::from)),
        ACTOR_PID = number(who.pid.map(i64::from)),
        "{}{}{account}: {}",
        act.act,
        if account.is_empty() { "" } else { " " },
        act.error.as_deref().unwrap_or("done")
    );
}
