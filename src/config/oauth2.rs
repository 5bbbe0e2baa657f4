//! `oauth2` of a server: a provider's name, or a table with addresses, client and scopes. It refuses addresses
//! that are neither `https` nor at this very machine: a token is as good as a password.

use std::path::PathBuf;

use crate::account::Protocol;
use crate::secret::{Grant, OAuth2, SecretPlace};

use super::names::Wrong;
use super::source;
use super::walk::{Table, Value};

/// What is written, before it is known which protocol the tokens are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    provider: Option<Provider>,
    tenant: Option<String>,
    grant: Option<Grant>,
    token_url: Option<String>,
    device_url: Option<String>,
    auth_url: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretPlace>,
    scopes: Vec<String>,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Microsoft,
    Google,
}

/// Reads the value.
pub(super) fn read(value: &Value<'_>) -> Option<Tokens> {
    match value.if_table() {
        None => Some(Tokens { provider: Some(provider(value)?), ..Tokens::default() }),
        Some(table) => written(&table),
    }
}

fn provider(value: &Value<'_>) -> Option<Provider> {
    match value.choice(&["microsoft", "google"])? {
        "microsoft" => Some(Provider::Microsoft),
        _ => Some(Provider::Google),
    }
}

fn written(table: &Table<'_>) -> Option<Tokens> {
    table.only(&[
        "provider",
        "tenant",
        "grant",
        "key_file",
        "token_url",
        "device_url",
        "auth_url",
        "client_id",
        "client_secret",
        "scopes",
        "ca_file",
    ]);
    let key_file = table.get("key_file").and_then(|value| source::file(&value));
    let grant = match table.get("grant") {
        None => Some(Grant::Owner),
        Some(value) => match value.choice(&["consent", "client-credentials", "service-account"])? {
            "consent" => Some(Grant::Owner),
            "client-credentials" => Some(Grant::Tenant),
            _ => match key_file {
                Some(path) => Some(Grant::ServiceAccount(path)),
                None => {
                    value.complain("needs the service account's key", "write key_file = \"KEY.json\"");
                    None
                }
            },
        },
    };
    let secret = table.get("client_secret");
    if grant == Some(Grant::Tenant) && secret.is_none() {
        table.require("client_secret", "write client_secret = { file = \"NAME.secret\" }");
    }
    let scopes = table.get("scopes").and_then(|value| value.strings()).unwrap_or_default();
    for (scope, value) in &scopes {
        if scope.is_empty() || !scope.bytes().all(|c| c.is_ascii_graphic() && c != b'"' && c != b'\\') {
            value.complain("is not a scope", "write it as the provider's documentation has it");
        }
    }
    Some(Tokens {
        provider: table.get("provider").and_then(|value| provider(&value)),
        tenant: table.get("tenant").and_then(|value| tenant(&value)),
        grant,
        token_url: table.get("token_url").and_then(|value| address(&value)),
        device_url: table.get("device_url").and_then(|value| address(&value)),
        auth_url: table.get("auth_url").and_then(|value| address(&value)),
        client_id: table.get("client_id").and_then(|value| text(&value)),
        client_secret: secret.and_then(|value| source::password(&value.table()?, &source::For::Server)),
        scopes: scopes.into_iter().map(|(scope, _)| scope.to_owned()).collect(),
        ca_file: table.get("ca_file").and_then(|value| super::servers::ca_file(&value)),
    })
}

/// A part of an address at Microsoft: a domain or an id.
fn tenant(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if written.is_empty() || written.len() > 253 || !written.chars().all(good) {
        value.complain("is not a tenant", "write its domain or its id");
        return None;
    }
    Some(written.to_owned())
}

fn text(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    if written.is_empty() || written.len() > 1000 || written.chars().any(char::is_control) {
        value.complain("is empty, too long or holds a control character", "write it as the provider gave it");
        return None;
    }
    Some(written.to_owned())
}

fn address(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    match crate::secret::endpoint(written) {
        Some(_) => Some(written.to_owned()),
        None => {
            value.complain(
                "is not an address that a token may be sent to",
                "write \"https://...\"; http:// is for 127.0.0.1, [::1] and localhost only",
            );
            None
        }
    }
}

impl Tokens {
    /// Everything that is needed for tokens for `protocol`.
    ///
    /// # Errors
    /// What is missing, and what to write.
    pub(super) fn resolve(&self, protocol: Protocol) -> Result<OAuth2, Wrong> {
        let missing = |what: &str, mend: &str| Err((what.to_owned(), mend.to_owned()));
        let grant = self.grant.clone().unwrap_or(Grant::Owner);
        let tenant = self.tenant.as_deref().unwrap_or("common");
        let microsoft = |what| format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/{what}");
        let (token_url, device_url, auth_url, scope) = match self.provider {
            Some(Provider::Microsoft) => {
                if grant == Grant::Tenant && self.tenant.is_none() {
                    return missing("the server's oauth2 names no tenant", "write its tenant");
                }
                let scope = match (&grant, protocol) {
                    (Grant::Owner, Protocol::Imap) => {
                        "https://outlook.office.com/IMAP.AccessAsUser.All offline_access"
                    }
                    (Grant::Owner, Protocol::Pop3) => {
                        "https://outlook.office.com/POP.AccessAsUser.All offline_access"
                    }
                    _ => "https://outlook.office365.com/.default",
                };
                (Some(microsoft("token")), Some(microsoft("devicecode")), Some(microsoft("authorize")), scope)
            }
            Some(Provider::Google) => (
                Some("https://oauth2.googleapis.com/token".to_owned()),
                // Google gives out no device codes for mail.
                None,
                Some("https://accounts.google.com/o/oauth2/v2/auth".to_owned()),
                "https://mail.google.com/",
            ),
            None => (None, None, None, ""),
        };
        let is_service = matches!(grant, Grant::ServiceAccount(_));
        let key_names_url = is_service && self.token_url.is_none();
        let token_url = match self.token_url.clone().or(token_url) {
            Some(token_url) => token_url,
            // Its key file may have one.
            None if is_service => String::new(),
            None => return missing("the server's oauth2 has no token_url", "write token_url, or provider"),
        };
        let client_id = match (&self.client_id, &grant) {
            (Some(client_id), _) => client_id.clone(),
            (None, Grant::ServiceAccount(_)) => String::new(),
            (None, _) => {
                return missing(
                    "the server's oauth2 has no client_id: a provider knows programs by the one that it gave",
                    "register Mailhaul with the provider, and write oauth2 = { provider = \"...\", client_id = \
                     \"...\" } in a template",
                );
            }
        };
        let scope = if self.scopes.is_empty() { scope.to_owned() } else { self.scopes.join(" ") };
        Ok(OAuth2 {
            grant,
            token_url,
            key_names_url,
            device_url: self.device_url.clone().or(device_url),
            auth_url: self.auth_url.clone().or(auth_url),
            client_id,
            client_secret: self.client_secret.clone(),
            scope,
            ca_file: self.ca_file.clone(),
        })
    }
}
