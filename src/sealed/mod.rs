//! Secrets that Mailhaul keeps for an account: encrypted at rest in the state directory, one small file
//! each, replaced as a whole or not at all. The key comes from the service manager or from a file that is
//! made at the first start. It refuses to show a secret to anybody but its own account: the names of both
//! are authenticated with it, so that a file that was renamed does not open.

mod key;
mod place;
mod reading;

pub use reading::read;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failure::{Failure, Kind};
use crate::secret::Secret;

use key::Key;

/// What is kept of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// The password at the source.
    Password,
    /// The password that a mailbox is made with.
    MailboxPassword,
    /// What OAuth2 gave: refresh and access token, in whatever form their owner writes them.
    Tokens,
}

impl Item {
    /// All of them.
    pub const ALL: [Item; 3] = [Item::Password, Item::MailboxPassword, Item::Tokens];

    fn name(self) -> &'static str {
        match self {
            Item::Password => "password",
            Item::MailboxPassword => "mailbox-password",
            Item::Tokens => "tokens",
        }
    }
}

/// The secrets of all accounts; clones share them. Every call may wait for the disk.
#[derive(Debug, Clone)]
pub struct Vault {
    directory: PathBuf,
    /// The first one seals, any of them opens.
    keys: Arc<Vec<Key>>,
}

impl Vault {
    /// Opens the vault below the state directory; `credentials` is `$CREDENTIALS_DIRECTORY`. A credential
    /// `mailhaul.key` is the key; without one it is the file `sealed.key` in the state directory, made with
    /// mode 0600 if it is missing. What the file's key had sealed before there was a credential still opens.
    ///
    /// # Errors
    /// [`Kind::Secret`]: no key can be read or made, or others may read it.
    pub fn open(state: &Path, credentials: Option<&Path>) -> Result<Vault, Failure> {
        let directory = state.join("sealed");
        place::make(&directory).map_err(|e| trouble(&directory, &e))?;
        let keys = key::keys(state, credentials)?;
        Ok(Vault { directory, keys: Arc::new(keys) })
    }

    /// Keeps a secret in place of an older one; it is durable on return.
    ///
    /// # Errors
    /// [`Kind::Secret`]: it could not be written, and the older one is still there.
    pub fn put(&self, account: &str, item: Item, secret: &Secret) -> Result<(), Failure> {
        self.put_all([(account, item, secret)])
    }

    /// Keeps many secrets; all of them are durable on return.
    ///
    /// # Errors
    /// [`Kind::Secret`]: some may have been written.
    pub fn put_all<'s>(
        &self,
        secrets: impl IntoIterator<Item = (&'s str, Item, &'s Secret)>,
    ) -> Result<(), Failure> {
        let key = self.keys.first().ok_or_else(|| Failure::new(Kind::Secret, "there is no key", ""))?;
        let mut batch = place::Batch::default();
        for (account, item, secret) in secrets {
            let sealed = key.seal(&label(account, item), secret)?;
            batch.put(self.file(account, item), &sealed).map_err(|e| trouble(&self.directory, &e))?;
        }
        batch.commit(&self.directory).map_err(|e| trouble(&self.directory, &e))
    }

    /// A secret, if it is kept.
    ///
    /// # Errors
    /// [`Kind::Secret`]: it cannot be read, or was sealed with another key or for another account.
    pub fn get(&self, account: &str, item: Item) -> Result<Option<Secret>, Failure> {
        let file = self.file(account, item);
        let Some(sealed) = place::read(&file).map_err(|e| trouble(&file, &e))? else { return Ok(None) };
        let label = label(account, item);
        match self.keys.iter().find_map(|key| key.open(&label, &sealed)) {
            Some(secret) => Ok(Some(secret)),
            None => Err(Failure::new(
                Kind::Secret,
                format!("{} does not open with the key that is there now", file.display()),
                "give the service the key that it had, or set the password again",
            )),
        }
    }

    /// Forgets a secret; one that is not kept is no error.
    ///
    /// # Errors
    /// [`Kind::Secret`]: it may still be there.
    pub fn remove(&self, account: &str, item: Item) -> Result<(), Failure> {
        self.forget([(account, item)])
    }

    /// Forgets everything of these accounts.
    ///
    /// # Errors
    /// [`Kind::Secret`]: some of it may still be there.
    pub fn remove_all<'a>(&self, accounts: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
        self.forget(accounts.into_iter().flat_map(|account| Item::ALL.map(|item| (account, item))))
    }

    /// Forgets what was kept of an account before `time`, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Kind::Secret`]: some of it may still be there.
    pub fn remove_before(&self, account: &str, time: i64) -> Result<(), Failure> {
        for item in Item::ALL {
            let file = self.file(account, item);
            let written = place::written_at(&file).map_err(|e| trouble(&file, &e))?;
            if written.is_some_and(|written| written < time) {
                self.remove(account, item)?;
            }
        }
        Ok(())
    }

    fn forget<'a>(&self, what: impl IntoIterator<Item = (&'a str, Item)>) -> Result<(), Failure> {
        let files = what.into_iter().map(|(account, item)| self.file(account, item));
        place::remove(&self.directory, files).map_err(|e| trouble(&self.directory, &e))
    }

    /// `=` is in no account's name.
    fn file(&self, account: &str, item: Item) -> PathBuf {
        self.directory.join(format!("{account}={}", item.name()))
    }
}

/// What is authenticated with a secret.
fn label(account: &str, item: Item) -> String {
    format!("{account}={}", item.name())
}

fn trouble(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Kind::Secret,
        format!("{} cannot be used: {error}", path.display()),
        "look at the owner and the mode of the state directory, and at the disk",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn what_was_put_is_got_and_nobody_else_gets_it() {
        let state = tempfile::tempdir().unwrap();
        let vault = Vault::open(state.path(), None).unwrap();
        assert_eq!(vault.get("a", Item::Password).unwrap(), None);
        vault.put("a", Item::Password, &secret("hunter2")).unwrap();
        vault.put("a", Item::Tokens, &secret(&"t".repeat(9000))).unwrap();
        vault.put("a", Item::Password, &secret("hunter3")).unwrap();
        let again = Vault::open(state.path(), None).unwrap();
        assert_eq!(again.get("a", Item::Password).unwrap().unwrap().expose(), b"hunter3");
        assert_eq!(again.get("a", Item::Tokens).unwrap().unwrap().expose().len(), 9000);
        let sealed = state.path().join("sealed");
        for entry in std::fs::read_dir(&sealed).unwrap() {
            let path = entry.unwrap().path();
            let octets = std::fs::read(&path).unwrap();
            assert!(!octets.windows(6).any(|window| window == b"hunter"), "{path:?}");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::rename(sealed.join("a=password"), sealed.join("b=password")).unwrap();
        let failure = again.get("b", Item::Password).unwrap_err();
        assert!(failure.words.contains("does not open"), "{failure}");
        again.remove_before("b", 0).unwrap();
        assert!(sealed.join("b=password").exists());
        again.remove_before("b", i64::MAX).unwrap();
        assert!(!sealed.join("b=password").exists());
        again.remove_all(["a", "b"]).unwrap();
        again.remove("a", Item::Password).unwrap();
        assert_eq!(std::fs::read_dir(&sealed).unwrap().count(), 0);
    }

    #[test]
    fn the_key_is_the_service_managers_if_it_gives_one() {
        let (state, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = Vault::open(state.path(), None).unwrap();
        own.put("a", Item::Password, &secret("hunter2")).unwrap();
        let file = state.path().join("sealed.key");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(credentials.path().join("mailhaul.key"), "short").unwrap();
        assert!(Vault::open(state.path(), Some(credentials.path())).unwrap_err().words.contains("32"));
        std::fs::write(credentials.path().join("mailhaul.key"), [7; 32]).unwrap();
        let given = Vault::open(state.path(), Some(credentials.path())).unwrap();
        assert!(given.get("a", Item::Password).unwrap().is_some(), "sealed before there was a credential");
        given.put("b", Item::Password, &secret("hunter2")).unwrap();
        assert!(own.get("b", Item::Password).is_err());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Vault::open(state.path(), None).unwrap_err().words.contains("open to others"));
    }
}
