//! Builds `shim.c` with the C compiler that the build needs anyway, and says how the daemon is started with
//! it: which call is to fail, or is the daemon's last. It refuses to be skipped.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex};

use tempfile::TempDir;

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The call fails, once.
    Error,
    /// The process is gone before the call.
    Kill,
    /// The process is gone in the middle of a write.
    Torn,
}

impl How {
    pub fn word(self) -> &'static str {
        match self {
            How::Error => "error",
            How::Kill => "kill",
            How::Torn => "torn",
        }
    }
}

/// What the shim stands before.
#[derive(Debug, Clone)]
pub struct Watched {
    pub state: PathBuf,
    pub mail: PathBuf,
    /// The source's port.
    pub source: u16,
    /// The port of the server that is the destination; 0: there is none.
    pub there: u16,
}

/// The shim, with the directory for what it writes.
pub struct Shim {
    directory: TempDir,
}

impl Shim {
    pub fn build() -> Shim {
        let directory = tempfile::Builder::new().prefix("shim-").tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
        let compiler = std::env::var_os("CC").unwrap_or("cc".into());
        let built = Command::new(compiler)
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-o"])
            .arg(directory.path().join("shim.so"))
            .arg(source)
            .arg("-ldl")
            .output()
            .unwrap_or_else(|error| panic!("this test needs a C compiler: {error}"));
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Shim { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn variables(&self, watched: &Watched) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.file("shim.so"))),
            ("SHIM_STATE".to_owned(), text(&watched.state)),
            ("SHIM_MAIL".to_owned(), text(&watched.mail)),
            ("SHIM_SOURCE".to_owned(), watched.source.to_string()),
            ("SHIM_THERE".to_owned(), watched.there.to_string()),
        ]
    }

    /// The environment in which every point is written down.
    pub fn listing(&self, watched: &Watched) -> Vec<(String, String)> {
        let _ = fs::remove_file(self.file("list"));
        let mut variables = self.variables(watched);
        variables.push(("SHIM_LIST".to_owned(), self.file("list").display().to_string()));
        variables
    }

    /// What was written down: `KIND PATH` of each point, the first at 0.
    pub fn list(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("list")).unwrap();
        let mut lines: Vec<(usize, String)> = text.lines().map(numbered).collect();
        lines.sort();
        assert!(lines.iter().map(|(number, _)| *number).eq(1..=lines.len()), "numbers are missing:\n{text}");
        lines.into_iter().map(|(_, what)| what).collect()
    }

    /// The environment in which something happens at a point.
    pub fn at(&self, watched: &Watched, how: How, number: usize) -> Vec<(String, String)> {
        let _ = fs::remove_file(self.file("hit"));
        let mut variables = self.variables(watched);
        variables.push(("SHIM_HOW".to_owned(), how.word().to_owned()));
        variables.push(("SHIM_AT".to_owned(), number.to_string()));
        variables.push(("SHIM_HIT".to_owned(), self.file("hit").display().to_string()));
        variables
    }

    /// `KIND PATH` of the call that it happened to; `None`: that point was not reached.
    pub fn hit(&self) -> Option<String> {
        fs::read_to_string(self.file("hit")).ok().map(|line| numbered(line.trim_end()).1)
    }
}

fn numbered(line: &str) -> (usize, String) {
    let (number, what) = line.split_once(' ').unwrap();
    (number.parse().unwrap(), what.to_owned())
}

/// So many scenarios at once.
const AT_ONCE: usize = 2;

/// At most [`AT_ONCE`] scenarios run, however many threads there are.
pub struct Turn;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Turn {
    pub fn wait() -> Turn {
        let count = RUNNING.0.lock().unwrap_or_else(|e| e.into_inner());
        *RUNNING.1.wait_while(count, |count| *count >= AT_ONCE).unwrap_or_else(|e| e.into_inner()) += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
        RUNNING.1.notify_all();
    }
}
