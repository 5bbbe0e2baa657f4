//! A file system on a disk that forgets what was not flushed when the power fails: `disk.c` behind a loop
//! device, with ext4 on it. It refuses to use or to remove any loop device, mount or file but its own.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::helpers::daemon::eventually;

/// So long may the machine take for a step.
const LIMIT: Duration = Duration::from_secs(30);
/// Octets.
const SIZE: u64 = 256 * 1024 * 1024;

/// The disk, and the file system on it while it is mounted.
pub struct Disk {
    directory: TempDir,
    program: Option<Child>,
    device: Option<String>,
    mounted: bool,
}

impl Disk {
    /// A new, empty file system, mounted.
    pub fn new() -> Disk {
        assert!(nix::unistd::getuid().is_root(), "this test mounts a file system: it needs root");
        let directory = tempfile::Builder::new().prefix("disk-").tempdir().unwrap();
        let disk = Disk { directory, program: None, device: None, mounted: false };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/disk.c");
        let compiler = std::env::var_os("CC").unwrap_or("cc".into());
        run(Command::new(compiler)
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(disk.file("program"))
            .arg(source));
        File::create(disk.file("image")).unwrap().set_len(SIZE).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.file("image")));
        fs::create_dir(disk.file("served")).unwrap();
        fs::create_dir(disk.file("mounted")).unwrap();
        disk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the file system is while there is power.
    pub fn path(&self) -> PathBuf {
        self.file("mounted")
    }

    /// Power on: what the medium holds is mounted. `seed`: what the next cut takes.
    pub fn on(&mut self, seed: u32) {
        let served = self.file("served");
        let program = Command::new(self.file("program"))
            .args([&served, &self.file("image"), &self.file("cut")])
            .arg(seed.to_string())
            .stdout(File::create(self.file("told")).unwrap())
            .spawn()
            .unwrap();
        self.program = Some(program);
        eventually("the disk is there", LIMIT, || fs::metadata(served.join("disk")).ok());
        let found = Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(served.join("disk"))
            .output()
            .unwrap();
        assert!(found.status.success(), "no loop device: {}", String::from_utf8_lossy(&found.stderr));
        let device = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        self.device = Some(device.clone());
        run(Command::new("mount").args(["-t", "ext4", &device]).arg(self.path()));
        self.mounted = true;
    }

    /// The power fails, at one instant. Nothing is written after it.
    pub fn fail(&mut self) {
        let id = Pid::from_raw(i32::try_from(self.program.as_ref().unwrap().id()).unwrap());
        eventually("the power has failed", LIMIT, || {
            // Again, for it may have come just before a wait for work.
            kill(id, Signal::SIGUSR1).unwrap();
            self.file("cut").exists().then_some(())
        });
    }

    /// Takes everything down and makes of what the medium holds the disk of the next start. Says how many
    /// blocks of the cache had reached the medium, and how many are gone.
    pub fn down(&mut self) -> (u64, u64) {
        self.take_down();
        fs::rename(self.file("cut"), self.file("image")).unwrap();
        let told = fs::read_to_string(self.file("told")).unwrap();
        let (kept, gone) = told.trim().split_once(' ').unwrap();
        (kept.parse().unwrap(), gone.parse().unwrap())
    }

    fn take_down(&mut self) {
        let quiet = |program: &str| {
            let mut command = Command::new(program);
            command.stderr(Stdio::null());
            command
        };
        if std::mem::take(&mut self.mounted) {
            // Whoever was just killed may not quite have let go.
            eventually("it is unmounted", LIMIT, || {
                quiet("umount").arg(self.path()).status().unwrap().success().then_some(())
            });
        }
        if let Some(device) = self.device.take() {
            run(Command::new("losetup").args(["--detach", &device]));
        }
        if let Some(mut program) = self.program.take() {
            let served = self.file("served");
            eventually("the disk is unmounted", LIMIT, || {
                quiet("umount").arg(&served).status().unwrap().success().then_some(())
            });
            program.wait().unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // As far as it goes; a second panic would hide the first.
            let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
            if let Some(device) = &self.device {
                let _ = Command::new("losetup").args(["--detach", device]).status();
            }
            let _ = Command::new("umount").arg("--lazy").arg(self.file("served")).status();
            if let Some(program) = &mut self.program {
                let _ = program.kill();
                let _ = program.wait();
            }
        } else {
            self.take_down();
        }
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
