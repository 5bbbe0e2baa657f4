//! Access tokens: kept sealed with the owner's consent, asked for anew before they run out, and handed to
//! whoever opens a session. Of one account only one is asked for at a time: many servers give out a refresh
//! token once. It refuses to send a consent to another server than the one that gave it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Means, blocking, now};
use crate::account::Account;
use crate::failure::{Failure, Kind};
use crate::imap;
use crate::message::Parcel;
use crate::oauth::{self, Client};
use crate::pop3;
use crate::sealed::Item;
use crate::secret::{Grant, OAuth2, Secret};

/// A token is asked for anew so long before it runs out, in milliseconds, or at half its time.
const AHEAD: i64 = 300_000;

/// One who asks at a time, and the tokens that belong to no owner; those are in memory alone.
#[derive(Debug, Default)]
pub struct Tokens(Mutex<BTreeMap<String, Arc<Turn>>>);

type Turn = tokio::sync::Mutex<Option<Token>>;

impl Tokens {
    fn turn(&self, key: String) -> Arc<Turn> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }
}

/// What an owner is shown who is asked for consent.
#[derive(Debug)]
pub struct Question {
    /// What to open.
    pub address: String,
    /// What to type there; `None`: the browser comes back by itself.
    pub code: Option<String>,
    /// How long there is.
    pub good_for: Duration,
}

/// An access token and its times, in milliseconds since 1970.
#[derive(Debug)]
struct Token {
    access: Secret,
    renew_at: i64,
    ends_at: i64,
}

/// What is sealed of an owner's consent.
#[derive(Serialize, Deserialize)]
struct Kept {
    token_url: String,
    client_id: String,
    refresh: String,
    access: String,
    renew_at: i64,
    ends_at: i64,
}

impl Kept {
    fn token(&self) -> Token {
        let access = Secret::new(self.access.as_bytes().to_vec());
        Token { access, renew_at: self.renew_at, ends_at: self.ends_at }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop((
            Zeroizing::new(std::mem::take(&mut self.refresh)),
            Zeroizing::new(std::mem::take(&mut self.access)),
        ));
    }
}

fn text(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.expose()).into_owned()
}

/// When to ask for the next one, and when this one ends.
fn times(good_for: Duration) -> (i64, i64) {
    let good_for = i64::try_from(good_for.as_millis()).unwrap_or(i64::MAX / 4);
    let ends_at = now().saturating_add(good_for);
    (ends_at - AHEAD.min(good_for / 2), ends_at)
}

impl Means {
    /// A session at the account's source. A token that is refused although it should be good is replaced once.
    ///
    /// # Errors
    /// As with the session; [`Kind::Consent`] if a fresh token is refused, too.
    pub(super) async fn imap<T: From<Parcel> + Send + 'static>(
        &self,
        account: &Account,
    ) -> Result<imap::Session<T>, Failure> {
        let (source, secret) = (&account.source, self.secret(account).await?);
        match imap::Session::open(&self.connector, source, &secret).await {
            Err(failure) if is_refused(account, &failure) => {
                let secret = self.another(account, secret).await?;
                let opened = imap::Session::open(&self.connector, source, &secret).await;
                opened.map_err(|failure| explained(account, &secret, failure))
            }
            opened => opened,
        }
    }

    /// The same by POP3.
    ///
    /// # Errors
    /// Likewise.
    pub(super) async fn pop3(&self, account: &Account) -> Result<pop3::Session, Failure> {
        let (source, secret) = (&account.source, self.secret(account).await?);
        match pop3::Session::open(&self.connector, source, &secret).await {
            Err(failure) if is_refused(account, &failure) => {
                let secret = self.another(account, secret).await?;
                let opened = pop3::Session::open(&self.connector, source, &secret).await;
                opened.map_err(|failure| explained(account, &secret, failure))
            }
            opened => opened,
        }
    }

    /// An access token that is good now.
    pub(super) async fn token(&self, account: &Account, oauth2: &OAuth2) -> Result<Secret, Failure> {
        self.fresh(account, oauth2, None).await
    }

    /// Whether the account's last access token is so old that a server may have ended its sessions for that; some
    /// hang up without a word, or with a wrong one.
    pub(super) async fn token_ran_out(&self, account: &Account) -> bool {
        let Some(oauth2) = account.source.password.oauth2() else { return false };
        let renew_at = match oauth2.grant {
            Grant::Owner => self.consent(account, oauth2).await.ok().map(|kept| kept.renew_at),
            Grant::Tenant | Grant::ServiceAccount(_) => {
                let turn = self.tokens.turn(key_of(account, oauth2));
                let token = turn.lock().await;
                token.as_ref().map(|token| token.renew_at)
            }
        };
        renew_at.is_some_and(|at| at <= now())
    }

    /// The server ended a session because of the access token, whatever was said of its time: the next session gets
    /// another one, unless none is to be had.
    pub(super) async fn outlived(&self, account: &Account) {
        let Some(oauth2) = account.source.password.oauth2() else { return };
        let turn = self.tokens.turn(key_of(account, oauth2));
        let mut there = turn.lock().await;
        if let Some(token) = there.as_mut() {
            token.renew_at = 0;
        }
        if oauth2.grant != Grant::Owner {
            return;
        }
        let Ok(mut kept) = self.consent(account, oauth2).await else { return };
        kept.renew_at = 0;
        if let Err(failure) = self.keep(account, &kept).await {
            tracing::warn!(ACCOUNT = account.name, "the token that is over is still kept: {failure}");
        }
    }

    /// Another access token than the one that was refused.
    async fn another(&self, account: &Account, used: Secret) -> Result<Secret, Failure> {
        match account.source.password.oauth2() {
            Some(oauth2) => self.fresh(account, oauth2, Some(used)).await,
            None => Ok(used),
        }
    }

    /// In a task of its own: a run that is broken off must not lose a refresh token that is given out once.
    async fn fresh(
        &self,
        account: &Account,
        oauth2: &OAuth2,
        used: Option<Secret>,
    ) -> Result<Secret, Failure> {
        let (means, account, oauth2) = (self.clone(), account.clone(), oauth2.clone());
        let asked = tokio::spawn(async move { means.renew(&account, &oauth2, used).await });
        asked.await.unwrap_or_else(|e| {
            let words = format!("asking for a token ended unexpectedly: {e}");
            Err(Failure::new(Kind::Unavailable, words, "it is tried again"))
        })
    }

    async fn renew(
        &self,
        account: &Account,
        oauth2: &OAuth2,
        used: Option<Secret>,
    ) -> Result<Secret, Failure> {
        let username = account.source.username.as_str();
        let turn = self.tokens.turn(key_of(account, oauth2));
        let mut there = turn.lock().await;
        let kept =
            if oauth2.grant == Grant::Owner { Some(self.consent(account, oauth2).await?) } else { None };
        let current = kept.as_ref().map(Kept::token);
        let good = |token: &Token, until: i64| now() < until && used.as_ref() != Some(&token.access);
        if let Some(token) = current.as_ref().or(there.as_ref())
            && good(token, token.renew_at)
        {
            return Ok(copy(&token.access));
        }
        let client = self.client(oauth2).await?;
        let asked = match &kept {
            Some(kept) => client.refresh(&Secret::new(kept.refresh.as_bytes().to_vec())).await,
            None => client.grant(username).await,
        };
        let tokens = match asked {
            Ok(tokens) => tokens,
            // Asked ahead of time: what is there is good for a while.
            Err(failure) if failure.kind != Kind::Consent => {
                return match current.as_ref().or(there.as_ref()) {
                    Some(token) if good(token, token.ends_at) => {
                        tracing::warn!(ACCOUNT = account.name, "no new access token yet: {failure}");
                        Ok(copy(&token.access))
                    }
                    _ => Err(failure),
                };
            }
            Err(failure) => return Err(needs_consent(account, oauth2, failure)),
        };
        let access = copy(&tokens.access);
        match kept {
            Some(kept) => {
                // The server may have taken the old refresh token back already: the new one is good at once.
                let refresh = tokens.refresh.as_ref().map_or_else(|| kept.refresh.clone(), text);
                if let Err(failure) = self.seal(account, oauth2, refresh, &tokens).await {
                    tracing::error!(ACCOUNT = account.name, "the new tokens are not kept: {failure}");
                }
            }
            None => {
                let (renew_at, ends_at) = times(tokens.good_for);
                *there = Some(Token { access: tokens.access, renew_at, ends_at });
            }
        }
        Ok(access)
    }

    /// The owner's consent, if it was given to this server and this client.
    async fn consent(&self, account: &Account, oauth2: &OAuth2) -> Result<Kept, Failure> {
        let (vault, name) = (self.vault.clone(), account.name.clone());
        let kept = blocking(move || vault.get(&name, Item::Tokens)).await?;
        let kept = kept.and_then(|kept| serde_json::from_slice::<Kept>(kept.expose()).ok());
        kept.filter(|kept| kept.token_url == oauth2.token_url && kept.client_id == oauth2.client_id)
            .ok_or_else(|| {
                let words = format!("{} has not consented yet", account.source.username);
                needs_consent(account, oauth2, Failure::new(Kind::Consent, words, ""))
            })
    }

    async fn seal(
        &self,
        account: &Account,
        oauth2: &OAuth2,
        refresh: String,
        tokens: &oauth::Tokens,
    ) -> Result<(), Failure> {
        let (renew_at, ends_at) = times(tokens.good_for);
        let kept = Kept {
            token_url: oauth2.token_url.clone(),
            client_id: oauth2.client_id.clone(),
            refresh,
            access: text(&tokens.access),
            renew_at,
            ends_at,
        };
        self.keep(account, &kept).await
    }

    async fn keep(&self, account: &Account, kept: &Kept) -> Result<(), Failure> {
        let octets = serde_json::to_vec(kept)
            .map_err(|e| Failure::new(Kind::Secret, format!("tokens cannot be written: {e}"), ""))?;
        let (vault, name, secret) = (self.vault.clone(), account.name.clone(), Secret::new(octets));
        blocking(move || vault.put(&name, Item::Tokens, &secret)).await
    }

    async fn client<'a>(&'a self, oauth2: &'a OAuth2) -> Result<Client<'a>, Failure> {
        let secret = match oauth2.client_secret.clone() {
            Some(place) => {
                let environment = self.environment.clone();
                Some(blocking(move || crate::config::read_secret(&place, &environment)).await?)
            }
            None => None,
        };
        Ok(Client { connector: &self.connector, oauth2, secret })
    }

    /// Asks the account's owner for consent, by a code or in a browser on this machine: `told` gets what is
    /// shown; returns when it was given and is kept.
    ///
    /// # Errors
    /// It was refused, or not given in time.
    pub(super) async fn authorize(
        &self,
        account: &Account,
        oauth2: &OAuth2,
        browser: bool,
        told: impl FnOnce(Question),
    ) -> Result<(), Failure> {
        let client = self.client(oauth2).await?;
        let tokens = if browser {
            let browser = client.browser(&account.source.username).await?;
            told(Question { address: browser.address.clone(), code: None, good_for: oauth::PATIENCE });
            client.returned(&browser).await?
        } else {
            let device = client.device().await?;
            let (address, code) = (device.address.clone(), Some(device.user_code.clone()));
            told(Question { address, code, good_for: device.good_for });
            client.wait(&device).await?
        };
        let Some(refresh) = tokens.refresh.as_ref().map(text) else {
            return Err(Failure::new(
                Kind::Consent,
                "the server gave no refresh token, so the consent would end within the hour",
                "ask for it in scopes (at Microsoft: offline_access)",
            ));
        };
        let turn = self.tokens.turn(format!("owner {}", account.name));
        let _turn = turn.lock().await;
        self.seal(account, oauth2, refresh, &tokens).await
    }
}

/// Whose turn it is: an owner's, or that of all who get the same token.
fn key_of(account: &Account, oauth2: &OAuth2) -> String {
    match &oauth2.grant {
        Grant::Owner => format!("owner {}", account.name),
        Grant::Tenant => format!("tenant {} {} {}", oauth2.token_url, oauth2.client_id, oauth2.scope),
        Grant::ServiceAccount(key) => {
            let username = account.source.username.as_str();
            format!("service {} {} {} {username}", key.display(), oauth2.token_url, oauth2.scope)
        }
    }
}

fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_vec())
}

fn is_refused(account: &Account, failure: &Failure) -> bool {
    account.source.password.oauth2().is_some()
        && matches!(failure.kind, Kind::Credentials | Kind::Refused | Kind::Expired)
}

fn needs_consent(account: &Account, oauth2: &OAuth2, failure: Failure) -> Failure {
    if oauth2.grant != Grant::Owner || !failure.mend.is_empty() {
        return failure;
    }
    Failure { mend: format!("consent needed: mailhaulctl authorize {}", account.name), ..failure }
}

/// A token that is as good as new was refused: it is not the token.
fn explained(account: &Account, token: &Secret, failure: Failure) -> Failure {
    if !is_refused(account, &failure) {
        return failure;
    }
    let source = &account.source;
    let (what, mend) = oauth::diagnosis(token, &source.username, source.protocol);
    Failure::new(Kind::Consent, format!("{}: {what}", failure.words), mend)
}
