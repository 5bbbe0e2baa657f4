//! Password hashes as Dovecot's `doveadm pw` takes them. It refuses to choose weaker costs than the usual.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use ring::rand::{SecureRandom, SystemRandom};
use sha_crypt::ShaCrypt;

use crate::failure::{Failure, Kind};
use crate::secret::Secret;
use crate::settings::Scheme;

/// Rounds of bcrypt are two to the power of this.
const COST: u32 = 10;

/// The hash with its scheme in front.
pub(super) fn hash(scheme: Scheme, password: &Secret) -> Result<String, Failure> {
    let failed = |why: String| {
        Failure::new(Kind::Unsupported, format!("the password cannot be hashed: {why}"), "choose another one")
    };
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| failed("no random numbers".to_owned()))?;
    let password = password.expose();
    match scheme {
        Scheme::Argon2id => Argon2::default()
            .hash_password_with_salt(password, &salt)
            .map(|hash: argon2::password_hash::phc::PasswordHash| format!("{{ARGON2ID}}{hash}"))
            .map_err(|e| failed(e.to_string())),
        Scheme::Sha512Crypt => {
            // crypt(5): a salt has sixteen characters at most, and twelve octets become so many.
            let (salt, _) = salt.split_at(12);
            ShaCrypt::SHA512
                .hash_password_with_salt(password, salt)
                .map(|hash| format!("{{SHA512-CRYPT}}{}", hash.as_str()))
                .map_err(|e| failed(e.to_string()))
        }
        // bcrypt looks at 72 octets: a longer password would be cut without a word.
        Scheme::BlfCrypt => bcrypt::non_truncating_hash_with_salt(password, COST, salt)
            .map(|hash| format!("{{BLF-CRYPT}}{}", hash.format_for_version(bcrypt::Version::TwoY)))
            .map_err(|e| failed(e.to_string())),
    }
}
