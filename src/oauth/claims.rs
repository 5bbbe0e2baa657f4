//! What an access token says of itself, if it is a JWT (RFC 7519), so that a refusal without a reason can be
//! explained. It refuses to believe any of it: nothing is verified, and nothing is decided by it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::account::Protocol;
use crate::secret::Secret;

/// Why a mail server may have refused a fresh token, and what to do.
pub fn diagnosis(token: &Secret, username: &str, protocol: Protocol) -> (String, String) {
    let known = claims(token);
    let text = |name: &str| known.as_ref().and_then(|claims| claims.get(name)).and_then(Value::as_str);
    let name = match protocol {
        Protocol::Imap => "IMAP",
        Protocol::Pop3 => "POP",
    };
    if let Some(audience) = text("aud")
        && !audience.contains("outlook.office")
    {
        return (
            format!("the token is for {}, not for Outlook", shown(audience)),
            "mend scopes: they must begin with https://outlook.office.com/ or https://outlook.office365.com/"
                .to_owned(),
        );
    }
    let roles: Option<Vec<&str>> = known
        .as_ref()
        .and_then(|claims| claims.get("roles"))
        .and_then(Value::as_array)
        .map(|roles| roles.iter().filter_map(Value::as_str).collect());
    let wanted = format!("{name}.AccessAsUser.All");
    let wanted_role = format!("{name}.AccessAsApp");
    match (text("scp"), &roles) {
        (Some(scopes), _) if !scopes.split(' ').any(|scope| scope == wanted) => {
            return (
                format!("the token has not the scope {wanted}"),
                "allow it to the client at the provider, and consent again".to_owned(),
            );
        }
        (None, Some(roles)) if !roles.contains(&wanted_role.as_str()) => {
            return (
                format!("the token has not the permission {wanted_role}"),
                "grant it to the application, with admin consent".to_owned(),
            );
        }
        _ => {}
    }
    let whose = text("upn").or_else(|| text("preferred_username")).or_else(|| text("unique_name"));
    if let Some(whose) = whose
        && !whose.eq_ignore_ascii_case(username)
    {
        return (
            format!("{} consented, not {username}", shown(whose)),
            "consent as the owner of the mailbox, or set username".to_owned(),
        );
    }
    if roles.is_some() {
        return (
            "the token is good, and the mailbox is not open to it".to_owned(),
            format!(
                "register the application's service principal in Exchange, give it permission for the mailbox, \
                 and look whether the mailbox has a licence and {name} is switched on"
            ),
        );
    }
    (
        "the token is fresh, and the mailbox is not open to it".to_owned(),
        format!("switch {name} on for the mailbox, and see that it has a licence and is {username}'s own"),
    )
}

fn claims(token: &Secret) -> Option<Value> {
    let mut parts = token.expose().split(|octet| *octet == b'.');
    let payload = parts.nth(1)?;
    parts.next()?;
    let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    serde_json::from_slice(&json).ok()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(claims: &str) -> String {
        let token = Secret::new(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims)).into_bytes());
        let (what, mend) = diagnosis(&token, "alice@example.com", Protocol::Imap);
        format!("{what}; {mend}")
    }

    #[test]
    fn what_is_missing_is_named() {
        for (claims, words) in [
            (r#"{"aud":"https://graph.microsoft.com"}"#, "not for Outlook"),
            (
                r#"{"aud":"https://outlook.office.com","scp":"POP.AccessAsUser.All"}"#,
                "scope IMAP.AccessAsUser",
            ),
            (
                r#"{"aud":"https://outlook.office365.com","roles":["Mail.Read"]}"#,
                "permission IMAP.AccessAsApp",
            ),
            (r#"{"scp":"IMAP.AccessAsUser.All","upn":"bob@example.com"}"#, "bob@example.com consented"),
            (r#"{"roles":["IMAP.AccessAsApp"]}"#, "service principal"),
            (r#"{"scp":"IMAP.AccessAsUser.All","upn":"Alice@example.com"}"#, "switch IMAP on"),
            ("not json", "licence"),
        ] {
            assert!(told(claims).contains(words), "{claims}: {}", told(claims));
        }
        let (_, mend) = diagnosis(&Secret::new(b"ya29.opaque".to_vec()), "a", Protocol::Pop3);
        assert!(mend.contains("POP"), "{mend}");
    }
}
