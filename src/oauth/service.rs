//! A service account's word for one of its domain's members: a signed assertion (RFC 7523, RS256). It refuses
//! a key file that others can read, and an address in it that a token must not be sent to; one that stands in the
//! template comes first.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};
use crate::sealed;
use crate::secret::{OAuth2, Secret, endpoint};

/// A key file has a few kilobytes.
const LONGEST: u64 = 64 << 10;
/// An assertion is good for so long, in seconds; Google takes no longer ones.
const GOOD_FOR: i64 = 3600;

/// A signed word, and where it is to be shown.
pub(super) struct Assertion {
    pub(super) token: Secret,
    pub(super) url: String,
}

/// The assertion that `oauth2`'s service account acts for `username`.
///
/// # Errors
/// [`Kind::Secret`]: the key file cannot be used.
pub(super) async fn assertion(key: &Path, oauth2: &OAuth2, username: &str) -> Result<Assertion, Failure> {
    let (path, oauth2, username) = (key.to_owned(), oauth2.clone(), username.to_owned());
    let signed = tokio::task::spawn_blocking(move || {
        let octets = read(&path).map_err(|e| trouble(&path, &e.to_string()))?;
        sign(&octets, &oauth2, &username, jiff::Timestamp::now().as_second())
            .map_err(|what| trouble(&path, what))
    });
    signed.await.unwrap_or_else(|e| Err(trouble(key, &e.to_string())))
}

fn trouble(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::Secret,
        format!("the key file {} cannot be used: {why}", path.display()),
        "put the service account's key there, as JSON, owned by the daemon's user, chmod 600",
    )
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(std::io::Error::other("it is open to others than its owner"));
    }
    sealed::read(file, LONGEST)
}

fn sign(file: &[u8], oauth2: &OAuth2, username: &str, now: i64) -> Result<Assertion, &'static str> {
    let key: Value = serde_json::from_slice(file).map_err(|_| "it is no JSON")?;
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let (Some(email), Some(pem)) = (text("client_email"), text("private_key")) else {
        return Err("it has no client_email or no private_key");
    };
    let url = match text("token_uri").filter(|_| oauth2.key_names_url) {
        Some(url) if endpoint(url).is_none() => return Err("its token_uri is no https:// address"),
        Some(url) => url.to_owned(),
        None if oauth2.token_url.is_empty() => {
            return Err("it has no token_uri, and the template has no token_url");
        }
        None => oauth2.token_url.clone(),
    };
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let coded = Zeroizing::new(lines.map(str::trim).collect::<String>());
    let der = Zeroizing::new(STANDARD.decode(coded.as_bytes()).map_err(|_| "its private_key is no PEM")?);
    let pair =
        RsaKeyPair::from_pkcs8(&der).map_err(|_| "its private_key is no RSA key of 2048 bits or more")?;
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let (Some(id), Some(header)) = (text("private_key_id"), header.as_object_mut()) {
        header.insert("kid".to_owned(), id.into());
    }
    let claims = json!({
        "iss": email,
        "sub": username,
        "scope": oauth2.scope,
        "aud": url,
        "iat": now,
        "exp": now + GOOD_FOR,
    });
    let code = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut token = format!("{}.{}", code(&header), code(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
        .map_err(|_| "it could not sign")?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(Assertion { token: Secret::new(token.into_bytes()), url })
}
