//! `add`, `set` and `remove`: one definition. It refuses to rename one: progress belongs to the name.

use super::unfinished::Aim;
use super::{Change, Definitions, Item, Known, Makers, NewMailbox, Single, Wrong, denied, item, new_file};
use crate::config::{Draft, Drafts, Loaded, NotAKey, Proposed, Surroundings, own_definitions};
use crate::secret::Secret;

impl Definitions {
    pub(super) fn add(&self, wanted: Single, known: &[Known]) -> Result<Change, Vec<Wrong>> {
        let Single { name, keys, secrets } = wanted;
        if let Some(taken) = known.iter().find(|known| known.name == name) {
            let what = format!("is there already, in {}:{}", taken.file.display(), taken.line);
            return Err(vec![Wrong::new(name, what, "choose another name, or change it with set")]);
        }
        let (loaded, file) = self.load(|around| {
            let mut draft = Draft::default();
            let mut wrong = apply(&mut draft, &name, &keys, &secrets, around);
            if draft.set("name", &name, &around.servers).is_err() || draft.name() != Some(&name) {
                wrong.push(Wrong::new(&name, "is not a name", "write 1 to 64 of a-z, 0-9, '.', '_' and '-'"));
            }
            if !draft.has("poll") && !draft.has("migrate") {
                let mend = "add the word migrate, or the word poll";
                wrong.push(Wrong::new(&name, "it does not say what to do", mend));
            }
            if !wrong.is_empty() {
                return Err(wrong);
            }
            let file = new_file(around.settings, &format!("account-{name}"));
            Ok(Proposed { file, text: Some(written(&name, Drafts(vec![draft]))?) })
        })?;
        let change = self.settle(name, loaded, file, secrets, Vec::new())?;
        let added = change.loaded.accounts.iter().filter(|account| change.names.contains(&account.name));
        let denied = added.filter_map(|account| {
            let what = denied(&change.loaded, &account.member)?;
            Some(Wrong::new(&account.name, what, "see [policy] in mailhaul.toml"))
        });
        let denied: Vec<Wrong> = denied.collect();
        if denied.is_empty() { Ok(change) } else { Err(denied) }
    }

    pub(super) fn set(&self, wanted: Single, known: &[Known]) -> Result<Change, Vec<Wrong>> {
        let Single { name, keys, secrets } = wanted;
        let place = find(&name, known)?;
        let mut forgotten = Vec::new();
        let (loaded, file) = self.load(|around| {
            let mut drafts = read(&name, place, around)?;
            let Some(draft) = drafts.0.iter_mut().find(|draft| draft.name() == Some(&name)) else {
                return Err(vec![lost(&name, place)]);
            };
            let wrong = apply(draft, &name, &keys, &secrets, around);
            if !wrong.is_empty() {
                return Err(wrong);
            }
            for (key, item) in
                [("source.password", Item::Password), ("new_mailbox.password", Item::MailboxPassword)]
            {
                if !draft.has(&format!("{key}.sealed")) {
                    forgotten.push((name.clone(), item));
                }
            }
            Ok(Proposed { file: place.file.clone(), text: Some(written(&name, drafts)?) })
        })?;
        self.settle(name, loaded, file, secrets, forgotten)
    }

    pub(super) fn remove(&self, name: &str, known: &[Known]) -> Result<Change, Vec<Wrong>> {
        let place = find(name, known)?;
        let (loaded, file) = self.load(|around| {
            let mut drafts = read(name, place, around)?;
            drafts.0.retain(|draft| draft.name() != Some(name));
            let text = if drafts.0.is_empty() { None } else { Some(written(name, drafts)?) };
            Ok(Proposed { file: place.file.clone(), text })
        })?;
        let forgotten = Item::ALL.map(|item| (name.to_owned(), item)).to_vec();
        Ok(Change {
            names: vec![name.to_owned()],
            loaded,
            file,
            secrets: Vec::new(),
            forgotten,
            aim: Aim::Go,
        })
    }

    /// What was read has to hold the account, and good.
    fn settle(
        &self,
        name: String,
        loaded: Loaded,
        file: Proposed,
        secrets: Vec<(String, Secret)>,
        forgotten: Vec<(String, Item)>,
    ) -> Result<Change, Vec<Wrong>> {
        let broken = loaded.broken.iter().filter(|broken| broken.origin.file == file.file);
        let of_it = broken.filter(|broken| broken.name.as_ref().is_none_or(|other| *other == name));
        let mut wrong: Vec<Wrong> = of_it
            .flat_map(|broken| &broken.complaints)
            .map(|c| {
                let key = c.key.strip_prefix("account.").unwrap_or(&c.key);
                Wrong::new(&name, format!("{key}: {}", c.what), &*c.mend)
            })
            .collect();
        let account = loaded.accounts.iter().find(|account| account.name == name);
        let Some(account) = account.filter(|_| wrong.is_empty()) else {
            if wrong.is_empty() {
                wrong.push(Wrong::new(
                    &name,
                    "its definition cannot be read back",
                    "look at the state directory",
                ));
            }
            return Err(wrong);
        };
        let given =
            |key| secrets.iter().find(|(other, _)| Draft::key(other) == key).map(|(_, secret)| secret);
        let makers = Makers::new(&loaded.settings)
            .map_err(|failure| vec![Wrong::new(&name, failure.words, failure.mend)])?;
        let new = NewMailbox::of(account);
        if let Some((_, what)) = makers.wrong(&new, given("source.password"), given("new_mailbox.password")) {
            return Err(vec![Wrong::new(&name, what, "give it another one: new_mailbox.password=-")]);
        }
        let secrets = secrets
            .into_iter()
            .filter_map(|(key, secret)| Some((name.clone(), item(&Draft::key(&key))?, secret)))
            .collect();
        Ok(Change { names: vec![name], loaded, file, secrets, forgotten, aim: Aim::Stay })
    }
}

/// The account, if its definition is one of ours.
fn find<'k>(name: &str, known: &'k [Known]) -> Result<&'k Known, Vec<Wrong>> {
    known
        .iter()
        .find(|known| known.name == name)
        .ok_or_else(|| vec![Wrong::new(name, "no such account", "see mailhaulctl list")])
}

fn read(name: &str, place: &Known, around: &Surroundings<'_>) -> Result<Drafts, Vec<Wrong>> {
    if !place.file.starts_with(own_definitions(around.settings)) {
        let what = format!("is defined in {}:{}", place.file.display(), place.line);
        return Err(vec![Wrong::new(name, what, "change it there, then run 'mailhaulctl reload'")]);
    }
    Drafts::read(&place.file).map_err(|c| {
        let what = format!("{}:{}:{}: {}", c.file.display(), c.line, c.column, c.what);
        vec![Wrong::new(name, what, c.mend)]
    })
}

fn lost(name: &str, place: &Known) -> Wrong {
    let what = format!("is not in {} any more", place.file.display());
    Wrong::new(name, what, "run 'mailhaulctl reload'")
}

/// The text of a file.
pub(super) fn written(place: &str, drafts: Drafts) -> Result<String, Vec<Wrong>> {
    let cannot = || vec![Wrong::new(place, "cannot be written as TOML", "leave out unusual characters")];
    drafts.write().ok_or_else(cannot)
}

/// Sets every key; what could not be set.
pub(super) fn apply(
    draft: &mut Draft,
    place: &str,
    keys: &[String],
    secrets: &[(String, Secret)],
    around: &Surroundings<'_>,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for key in keys {
        let done = match key.split_once('=') {
            Some(("name", _)) => Err(NotAKey {
                key: "name".to_owned(),
                what: "cannot be changed: progress belongs to the name".to_owned(),
                mend: "add another account, and remove this one".to_owned(),
            }),
            Some((key, value)) => draft.set(key, value, &around.servers),
            None => draft.table(key),
        };
        if let Err(NotAKey { key, what, mend }) = done {
            wrong.push(Wrong::new(place, format!("{key}: {what}"), mend));
        }
    }
    for (key, secret) in secrets {
        if let Err(NotAKey { key, what, mend }) = draft.seal(key) {
            wrong.push(Wrong::new(place, format!("{key}: {what}"), mend));
        }
        // It would end the line in the protocol that carries it.
        if secret.expose().is_empty() || secret.expose().iter().any(u8::is_ascii_control) {
            let what = format!("{key}: the password is empty or holds a control character");
            wrong.push(Wrong::new(place, what, "type it on one line"));
        }
    }
    wrong
}
