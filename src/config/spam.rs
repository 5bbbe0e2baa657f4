//! `[spam]`: who judges mail for `apply_spam`, and what follows from it. It refuses a server that would need
//! STARTTLS, which HTTP has not.

use std::time::Duration;

use crate::account::Security;
use crate::settings::{Action, Listener, Spam, WhenAway};

use super::accounts::good;
use super::names;
use super::servers;
use super::source;
use super::walk::Table;

/// rspamd's own default for its normal worker.
const PORT: u16 = 11333;

/// Reads the table.
pub(super) fn read(table: &Table<'_>) -> Spam {
    table.only(&["rspamd", "when_away", "minimum", "max_size", "timeout", "folder"]);
    let mut spam = Spam::default();
    if let Some(rspamd) = table.get("rspamd").and_then(|value| value.table()) {
        rspamd.only(&["socket", "host", "port", "security", "ca_file", "password"]);
        let mend = "write host = \"localhost\" and port = 11333, or socket = \"/run/rspamd/normal.sock\"";
        match servers::listener(&rspamd, PORT, mend) {
            Some(Listener::Host { security: Security::StartTls, .. }) => {
                rspamd.complain("HTTP has no STARTTLS", "write security = \"tls\" or \"none\"");
            }
            Some(listener) => spam.rspamd = listener,
            None => {}
        }
        let password = rspamd.get("password").and_then(|value| value.table());
        spam.password = password.and_then(|table| source::password(&table, &source::For::Server));
    }
    match table.get("when_away").and_then(|value| value.choice(&["delay", "pass"])) {
        Some("pass") => spam.when_away = WhenAway::Pass,
        _ => spam.when_away = WhenAway::Delay,
    }
    let actions = ["add header", "rewrite subject", "reject"];
    match table.get("minimum").and_then(|value| value.choice(&actions)) {
        Some("rewrite subject") => spam.minimum = Action::RewriteSubject,
        Some("reject") => spam.minimum = Action::Reject,
        _ => spam.minimum = Action::AddHeader,
    }
    if let Some(size) = table.get("max_size").and_then(|value| value.size()) {
        spam.max_size = size;
    }
    if let Some(value) = table.get("timeout")
        && let Some(timeout) = value.duration()
    {
        if timeout > Duration::from_secs(600) {
            value.complain("is longer than 10 minutes", "write a time such as \"30s\"");
        }
        spam.timeout = timeout;
    }
    if let Some(value) = table.get("folder")
        && let Some(folder) = value.string().and_then(|written| good(&value, names::folder(written)))
    {
        if folder == ["INBOX"] {
            value.complain("is the inbox", "write the name of a folder, such as \"Junk\"");
        }
        spam.folder = folder;
    }
    spam
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Reader;

    #[test]
    fn what_is_written_is_what_is_meant() {
        let reader = Reader::default();
        let read = |text: &str| match reader.read(text.as_bytes(), b"", b"") {
            Ok(loaded) => Ok(loaded.settings.spam),
            Err(complaints) => Err(complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        };
        assert_eq!(read("[spam]\n"), Ok(Spam::default()));
        let all = read(
            "[spam]\nrspamd = { socket = \"/run/rspamd/normal.sock\" }\nwhen_away = \"pass\"\n\
             minimum = \"reject\"\nmax_size = \"none\"\ntimeout = \"5s\"\nfolder = \"Spam\"\n",
        );
        let expected = Spam {
            rspamd: Listener::Socket(Path::new("/run/rspamd/normal.sock").to_owned()),
            password: None,
            when_away: WhenAway::Pass,
            minimum: Action::Reject,
            max_size: None,
            timeout: Duration::from_secs(5),
            folder: vec!["Spam".to_owned()],
        };
        assert_eq!(all, Ok(expected));
        for (text, words) in [
            ("rspamd = {}", "2:10: spam.rspamd: does not say where the server listens;"),
            (
                "rspamd = { host = \"a\", security = \"starttls\" }",
                "2:10: spam.rspamd: HTTP has no STARTTLS;",
            ),
            ("when_away = \"drop\"", "2:13: spam.when_away: \"drop\" is not possible;"),
            ("minimum = \"greylist\"", "2:11: spam.minimum: \"greylist\" is not possible;"),
            ("timeout = \"1h\"", "2:11: spam.timeout: is longer than 10 minutes;"),
            ("folder = \"inbox\"", "2:10: spam.folder: is the inbox;"),
            ("score = 5", "2:1: spam.score: unknown key;"),
        ] {
            let said = read(&format!("[spam]\n{text}\n")).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
