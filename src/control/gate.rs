//! Who may control the daemon: root, the daemon's own user, and the members of the control group. It refuses
//! to believe what a caller says of itself: the kernel says who is calling. What the daemon may run and read is not
//! for the whole group: who is in it has no rights of the daemon's user otherwise.

use nix::unistd::{Gid, Group, Uid, geteuid};

/// What a caller may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing.
    Stranger,
    /// To control the daemon, but not to name what it runs and reads.
    Group,
    /// Everything: root or the daemon's own user.
    Own,
}

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

    /// What a caller with this user and these groups may.
    pub(super) fn standing(&self, user: u32, groups: impl IntoIterator<Item = u32>) -> Standing {
        let in_group = || self.group.is_some_and(|gid| groups.into_iter().any(|group| group == gid.as_raw()));
        match user {
            0 => Standing::Own,
            user if user == self.own.as_raw() => Standing::Own,
            _ if in_group() => Standing::Group,
            _ => Standing::Stranger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_may_and_nobody_else() {
        let gate = Gate { own: Uid::from_raw(500), group: Some(Gid::from_raw(70)) };
        assert_eq!(gate.standing(0, []), Standing::Own);
        assert_eq!(gate.standing(500, [70]), Standing::Own);
        assert_eq!(gate.standing(1000, [1, 70]), Standing::Group);
        assert_eq!(gate.standing(1000, [1, 71]), Standing::Stranger);
        assert_eq!(Gate { group: None, ..gate }.standing(1000, [70]), Standing::Stranger);
    }
}
