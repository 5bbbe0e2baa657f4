//! A small file system for a test that fills it. It refuses to pretend: where none can be mounted, it says so.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stderr, reason = "this is a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own in memory; only root can make one, and not in every container.
pub struct Disk(pub PathBuf);

impl Disk {
    /// Below `parent`; `None`: it cannot be had here.
    pub fn mount(parent: &Path, options: &str) -> Option<Disk> {
        let place = parent.join("disk");
        fs::create_dir(&place).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&place).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Disk(place));
        }
        eprintln!("not tested: a file system of its own needs root and the right to mount");
        None
    }

    /// Makes it larger, or something else.
    pub fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
