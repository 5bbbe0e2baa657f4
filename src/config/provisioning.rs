//! `[provisioning]`: what makes a missing mailbox, and what its password has to be like. It refuses two ways
//! at once, and to look into the passwd-file.

use nix::unistd::{Group, User};

use crate::settings::{PasswdFile, PasswordRules, Provisioning, Scheme, Way};

use super::names;
use super::walk::{Table, Value};

/// Reads the table; what was wrong has been complained about.
pub(super) fn read(table: &Table<'_>) -> Provisioning {
    table.only(&["password_rules", "passwd_file", "command"]);
    let password_rules = table.get("password_rules").and_then(|value| value.table());
    let (file, command) = (table.get("passwd_file"), table.get("command"));
    if file.is_some()
        && let Some(value) = &command
    {
        value.complain("stands beside passwd_file", "write one of them");
    }
    let way = match (&file, &command) {
        (Some(value), _) => value.table().and_then(|table| passwd_file(&table)).map(Way::PasswdFile),
        (None, Some(value)) => program(value).map(Way::Command),
        (None, None) => None,
    };
    Provisioning { password_rules: password_rules.map(|table| rules(&table)).unwrap_or_default(), way }
}

fn rules(table: &Table<'_>) -> PasswordRules {
    table.only(&["min_length", "lower", "upper", "digit_or_special"]);
    let usual = PasswordRules::default();
    let switch = |name, usual| table.get(name).and_then(|value| value.boolean()).unwrap_or(usual);
    PasswordRules {
        min_length: table
            .get("min_length")
            .and_then(|value| value.count(1, 1000))
            .unwrap_or(usual.min_length),
        lower: switch("lower", usual.lower),
        upper: switch("upper", usual.upper),
        digit_or_special: switch("digit_or_special", usual.digit_or_special),
    }
}

fn passwd_file(table: &Table<'_>) -> Option<PasswdFile> {
    table.only(&["path", "scheme", "user", "uid", "gid", "home"]);
    let path = table.require("path", "write path = \"/etc/dovecot/users\"").and_then(|value| value.path());
    let scheme = match table.get("scheme") {
        None => Some(Scheme::Argon2id),
        Some(value) => match value.choice(&["ARGON2ID", "SHA512-CRYPT", "BLF-CRYPT"]) {
            Some("ARGON2ID") => Some(Scheme::Argon2id),
            Some("SHA512-CRYPT") => Some(Scheme::Sha512Crypt),
            Some(_) => Some(Scheme::BlfCrypt),
            None => None,
        },
    };
    let words = |name, usual: &str| match table.get(name) {
        None => Some(usual.to_owned()),
        Some(value) => template(&value),
    };
    let user = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    let group = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    // All of them first: each has its own complaint.
    let uid = table.get("uid").and_then(|value| number(&value, "user", user));
    let gid = table.get("gid").and_then(|value| number(&value, "group", group));
    let (login, home) = (words("user", "{member}"), words("home", ""));
    Some(PasswdFile { path: path?, scheme: scheme?, user: login?, uid, gid, home: home? })
}

/// A number, or the name of somebody who has one.
fn number(value: &Value<'_>, what: &str, known: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    let Some(name) = value.if_string() else {
        return value.integer(1, u64::from(u32::MAX - 1)).and_then(|number| u32::try_from(number).ok());
    };
    let found = known(name);
    if found.is_none() {
        value.complain(format!("there is no {what} {name:?}"), "write a number, or a name that exists");
    }
    found
}

fn template(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    // A colon would end the field.
    let wrong = match names::maildir(written) {
        Ok(()) if written.contains(':') => Err(("holds a colon".to_owned(), "leave it out".to_owned())),
        checked => checked,
    };
    match wrong {
        Ok(()) => Some(written.to_owned()),
        Err((what, mend)) => {
            value.complain(what, mend);
            None
        }
    }
}

fn program(value: &Value<'_>) -> Option<Vec<String>> {
    let words: Vec<String> = value.strings()?.into_iter().map(|(word, _)| word.to_owned()).collect();
    if words.iter().any(|word| word.contains('\0'))
        || !words.first().is_some_and(|word| word.starts_with('/'))
    {
        value.complain("is not a command", "write the program with its whole path, and its arguments");
        return None;
    }
    Some(words)
}
