//! `[policy]` and `[policy.domain."x"]`: what is allowed, key by key. It refuses to say what follows from it.

use std::collections::BTreeMap;

use crate::settings::{Policy, Rules};

use super::walk::Table;

const KEYS: [&str; 4] = ["external_import", "network_access", "upload", "backup"];

/// Reads the table.
pub(super) fn read(table: &Table<'_>) -> Policy {
    table.only(&["external_import", "network_access", "upload", "backup", "domain"]);
    let all = rules(table, Rules::default());
    let mut domains = BTreeMap::new();
    if let Some(named) = table.get("domain").and_then(|value| value.table()) {
        for (name, value) in named.entries() {
            let Some(domain) = value.table() else { continue };
            domain.only(&KEYS);
            let known = domains.insert(name.to_lowercase(), rules(&domain, all));
            if name.is_empty() || name.contains('@') || known.is_some() {
                value.complain("is not the name of one domain", "write [policy.domain.\"example.com\"] once");
            }
        }
    }
    Policy { all, domains }
}

/// What a table says, over what holds without it.
fn rules(table: &Table<'_>, mut rules: Rules) -> Rules {
    let word = |name, words| table.get(name).and_then(|value| value.choice(words));
    for (name, place) in [
        ("external_import", &mut rules.external_import),
        ("upload", &mut rules.upload),
        ("backup", &mut rules.backup),
    ] {
        if let Some(word) = word(name, &["allow", "deny"]) {
            *place = word == "allow";
        }
    }
    if let Some(word) = word("network_access", &["any", "designated-ips"]) {
        rules.designated_ips = word == "designated-ips";
    }
    rules
}
