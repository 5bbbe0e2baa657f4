//! Why a verb stopped, and the exit status that says so. A trouble always knows what to do.

use std::fmt;

/// Why a verb stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    kind: Kind,
    name: Option<String>,
    what: String,
    mend: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Usage,
    Unreachable,
    NotPermitted,
    NoSuchAccount,
}

impl Trouble {
    fn new(kind: Kind, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Trouble { kind, name: None, what: what.into(), mend: mend.into() }
    }

    /// The daemon could not do it.
    pub(super) fn failed(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Trouble::new(Kind::Failed, what, mend)
    }

    /// What was typed cannot be done.
    pub(super) fn usage(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Trouble::new(Kind::Usage, what, mend)
    }

    /// There is no daemon, or none that understands us.
    pub(super) fn unreachable(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Trouble::new(Kind::Unreachable, what, mend)
    }

    /// The caller may not.
    pub(super) fn not_permitted(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Trouble::new(Kind::NotPermitted, what, mend)
    }

    /// Nothing has that name.
    pub(super) fn no_such_account(name: impl Into<String>) -> Self {
        let trouble = Trouble::new(Kind::NoSuchAccount, "no such account", "see mailhaulctl list");
        trouble.about(name)
    }

    /// The same, about an account.
    #[must_use]
    pub(super) fn about(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it is of no use to go on with the next name.
    pub(super) fn ends_everything(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    /// The exit status.
    pub(super) fn code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Unreachable => 3,
            Kind::NotPermitted => 4,
            Kind::NoSuchAccount => 5,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mailhaulctl: ")?;
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        f.write_str(&self.what)?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}
