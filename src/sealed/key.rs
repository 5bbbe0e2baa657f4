//! The key: AES-256-GCM (RFC 5116) with a nonce by chance for each secret. It refuses a key that is too
//! short, and a key file that others may read.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};
use crate::secret::Secret;

use super::reading::read as read_in;
use super::{place, trouble};

/// The name of the credential.
const CREDENTIAL: &str = "mailhaul.key";
/// The name of the file in the state directory.
const FILE: &str = "sealed.key";
/// Octets of a key that is made here, and the fewest that one may have.
const OCTETS: usize = 32;
/// What a sealed file begins with: the form, in case there is another one some day.
const FORM: &[u8; 4] = b"MHS1";

/// A key.
pub(super) struct Key(LessSafeKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Any 32 octets or more: what is used is their digest.
    fn of(octets: &[u8]) -> Option<Key> {
        let digest = digest(&SHA256, octets);
        Some(Key(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, digest.as_ref()).ok()?)))
    }

    /// Seals a secret: form, nonce, ciphertext with its tag.
    pub(super) fn seal(&self, label: &str, secret: &Secret) -> Result<Vec<u8>, Failure> {
        let cannot = || Failure::new(Kind::Secret, "a secret cannot be sealed", "it is tried again");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| cannot())?;
        let mut text = Zeroizing::new(Vec::with_capacity(secret.expose().len() + AES_256_GCM.tag_len()));
        text.extend_from_slice(secret.expose());
        let (sealing, label) = (Nonce::assume_unique_for_key(nonce), Aad::from(label.as_bytes()));
        self.0.seal_in_place_append_tag(sealing, label, &mut *text).map_err(|_| cannot())?;
        Ok([FORM.as_slice(), &nonce, &text].concat())
    }

    /// Opens what [`Key::seal`] made with the same label; `None`: it is something else.
    pub(super) fn open(&self, label: &str, sealed: &[u8]) -> Option<Secret> {
        let (nonce, text) = sealed.strip_prefix(FORM)?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let open = self.0.open_in_place(nonce, Aad::from(label.as_bytes()), &mut text).ok()?;
        Some(Secret::new(open.to_vec()))
    }
}

/// The credential's key if there is one, then the file's; the file is made only where there is neither.
pub(super) fn keys(state: &Path, credentials: Option<&Path>) -> Result<Vec<Key>, Failure> {
    let mut keys = Vec::new();
    let credential = credentials.map(|directory| directory.join(CREDENTIAL)).filter(|path| path.exists());
    if let Some(path) = &credential {
        // systemd guards the directory and shows an ACL as group permission: no look at the mode.
        keys.extend(read(path)?);
    }
    let file = state.join(FILE);
    if file.exists() {
        let mode = file.metadata().map_err(|e| trouble(&file, &e))?.permissions().mode();
        if mode & 0o077 != 0 {
            let shown = file.display();
            let words = format!("the key {shown} is open to others than its owner");
            return Err(Failure::new(Kind::Secret, words, format!("chmod 600 {shown}")));
        }
        keys.extend(read(&file)?);
    } else if credential.is_none() {
        make(state, &file).map_err(|e| trouble(&file, &e))?;
        keys.extend(read(&file)?);
    }
    Ok(keys)
}

fn read(path: &Path) -> Result<Option<Key>, Failure> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let octets = file.and_then(|file| read_in(file, 4096)).map_err(|e| trouble(path, &e))?;
    if octets.len() < OCTETS {
        return Err(Failure::new(
            Kind::Secret,
            format!("the key {} has fewer than {OCTETS} octets", path.display()),
            format!("make one: openssl rand -out FILE {OCTETS}"),
        ));
    }
    Ok(Key::of(&octets))
}

fn make(state: &Path, file: &Path) -> std::io::Result<()> {
    let mut octets = Zeroizing::new([0; OCTETS]);
    SystemRandom::new().fill(&mut *octets).map_err(|_| std::io::Error::other("no random numbers"))?;
    let new = file.with_extension("new");
    let mut opened = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    opened.write_all(&*octets)?;
    opened.sync_all()?;
    std::fs::rename(&new, file)?;
    place::sync(state)
}
