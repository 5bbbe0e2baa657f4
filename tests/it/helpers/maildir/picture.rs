//! A mailbox before and after something that has to leave it as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Tree;

/// Everything of a mailbox that somebody could miss.
#[derive(Debug, PartialEq)]
pub struct Picture {
    /// Name, inode and date of each message, so flags and keywords too.
    pub files: BTreeSet<String>,
    contents: Vec<String>,
    folders: BTreeSet<String>,
    subscriptions: Option<Vec<u8>>,
}

impl Picture {
    pub fn take(home: &Path) -> Picture {
        let tree = Tree::read(home);
        let mut contents = tree.contents();
        contents.sort();
        let hidden = |name: &String| name.starts_with('.');
        let names = fs::read_dir(home).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        Picture {
            files: Tree::files(home).into_iter().collect(),
            contents,
            folders: names.filter(hidden).collect(),
            subscriptions: fs::read(home.join("subscriptions")).ok(),
        }
    }

    /// Messages lost, left over, and other than they were.
    pub fn harm(&self, after: &Picture) -> (usize, usize, usize) {
        let count = |all: &[String], sha: &String| all.iter().filter(|other| *other == sha).count();
        let fewer = |one: &[String], other: &[String]| {
            let distinct: BTreeSet<&String> = one.iter().collect();
            distinct.into_iter().map(|sha| count(one, sha).saturating_sub(count(other, sha))).sum()
        };
        let altered = self.files.symmetric_difference(&after.files).count();
        (fewer(&self.contents, &after.contents), fewer(&after.contents, &self.contents), altered)
    }
}
