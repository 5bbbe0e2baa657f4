//! Who may control the daemon: root, the daemon's own user, and the members of the control group. It refuses
//! to believe what a caller says of itself: the kernel says who is calling.

use nix::unistd::{Gid, Group, Uid, geteuid};

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    own: Uid,
    group: Option<Gid>,
}

impl Gate {
    /// For the control group of that name. Also says what should be known if there is no such group.
    pub fn new(group: &str) -> (Gate, Option<String>) {
        let found = Group::from_name(group).ok().flatten().map(|group| group.gid);
        let warning = found.is_none().then(|| {
            format!("there is no group {group}: only root and the daemon's own user may control mailhauld")
        });
        (Gate { own: geteuid(), group: found }, warning)
    }

    /// The group that the socket belongs to, if it exists.
    pub fn group(&self) -> Option<Gid> {
        self.group
    }

    /// Whether a caller with this user and these groups may.
    pub(super) fn admits(&self, user: u32, groups: impl IntoIterator<Item = u32>) -> bool {
        user == 0
            || user == self.own.as_raw()
            || self.group.is_some_and(|gid| groups.into_iter().any(|group| group == gid.as_raw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_may_and_nobody_else() {
        let gate = Gate { own: Uid::from_raw(500), group: Some(Gid::from_raw(70)) };
        assert!(gate.admits(0, []));
        assert!(gate.admits(500, []));
        assert!(gate.admits(1000, [1, 70]));
        assert!(!gate.admits(1000, [1, 71]));
        assert!(!Gate { group: None, ..gate }.admits(1000, [70]));
    }
}
