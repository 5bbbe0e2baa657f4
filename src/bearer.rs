//! How an access token is written for a mail server (RFC 7628; XOAUTH2 as Google and Microsoft define it), and
//! how its refusal is read. It refuses to let a token through into words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The one answer of XOAUTH2, not yet in base64.
pub fn xoauth2(username: &str, token: &Secret) -> Zeroizing<Vec<u8>> {
    written(&format!("user={username}"), token)
}

/// The one answer of OAUTHBEARER, not yet in base64 (RFC 7628, 3.1).
pub fn oauthbearer(username: &str, host: &str, port: u16, token: &Secret) -> Zeroizing<Vec<u8>> {
    let username = username.replace('=', "=3D").replace(',', "=2C");
    written(&format!("n,a={username},\x01host={host}\x01port={port}"), token)
}

fn written(before: &str, token: &Secret) -> Zeroizing<Vec<u8>> {
    const AUTH: &[u8] = b"\x01auth=Bearer ";
    // Its size is known, so that it never moves and leaves a copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(before.len() + AUTH.len() + token.expose().len() + 2));
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(AUTH);
    out.extend_from_slice(token.expose());
    out.extend_from_slice(b"\x01\x01");
    out
}

/// The `status` of an error challenge (RFC 7628, 3.2.2), which is JSON in base64.
pub fn status(challenge: &str) -> Option<String> {
    let json = STANDARD.decode(challenge.trim()).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let status = value.get("status")?.as_str()?;
    let status: String = status.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
    (!status.is_empty()).then_some(status)
}

/// A server's words without the token, in whatever form it was sent.
pub fn without(text: &str, token: &Secret, coded: &str) -> String {
    let token = String::from_utf8_lossy(token.expose());
    text.replace(coded, "***").replace(token.as_ref(), "***")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_written_as_documented() {
        let token = Secret::new(b"ya29.x".to_vec());
        assert_eq!(xoauth2("a@b.c", &token).as_slice(), b"user=a@b.c\x01auth=Bearer ya29.x\x01\x01");
        assert_eq!(
            oauthbearer("a,b=c", "h", 143, &token).as_slice(),
            b"n,a=a=2Cb=3Dc,\x01host=h\x01port=143\x01auth=Bearer ya29.x\x01\x01"
        );
    }

    #[test]
    fn a_refusal_is_read_and_never_trusted() {
        assert_eq!(status("eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIn0="), Some("401".to_owned()));
        assert_eq!(status("not base64"), None);
        assert_eq!(status("e30="), None);
        assert_eq!(
            without("NO abc Y29kZWQ= abc", &Secret::new(b"abc".to_vec()), "Y29kZWQ="),
            "NO *** *** ***"
        );
    }
}
