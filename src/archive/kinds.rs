//! What lies beside mail in archives and mailboxes and is none, by its name or its first octets: contacts, settings,
//! indexes. It is passed over and counted by kind. It refuses to call anything no mail whose content begins as a
//! message, unless a program keeps its own notes under that name.

/// A kind of what is no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoMail {
    /// vCard and others.
    Contacts,
    /// iCalendar.
    Calendars,
    /// JSON, XML, property lists, rules.
    Settings,
    /// HTML and saved pages.
    WebPages,
    /// Pictures, office files, sound, databases.
    Documents,
    /// Plain text that does not begin as a message.
    Texts,
    /// The second half of files from a Mac: `._NAME`, `__MACOSX`.
    ResourceForks,
    /// Names that begin with a dot.
    Hidden,
    /// What Dovecot, Courier, Thunderbird and others know of their folders.
    Indexes,
    /// Files in `tmp` of a Maildir, which are no messages yet.
    Unfinished,
    /// Notes of c-client and others in the form of a message.
    PseudoMessages,
    /// Chats out of Gmail.
    Chats,
    /// Without an octet.
    Empty,
}

impl NoMail {
    /// What it is called.
    pub fn words(self) -> &'static str {
        match self {
            NoMail::Contacts => "contacts",
            NoMail::Calendars => "calendars",
            NoMail::Settings => "settings",
            NoMail::WebPages => "web pages",
            NoMail::Documents => "documents",
            NoMail::Texts => "texts",
            NoMail::ResourceForks => "resource forks",
            NoMail::Hidden => "hidden files",
            NoMail::Indexes => "indexes",
            NoMail::Unfinished => "unfinished deliveries",
            NoMail::PseudoMessages => "pseudo-messages",
            NoMail::Chats => "chats",
            NoMail::Empty => "empty files",
        }
    }
}

/// Names of files in which programs keep what they know of folders; small letters.
const INDEXES: [&str; 18] = [
    "maildirfolder",
    "maildirsize",
    "subscriptions",
    "courierimapsubscribed",
    "courierimapuiddb",
    "courierimapacl",
    "courierimaphieracl",
    "courierpop3dsizelist",
    "courierimapkeywords",
    "table_of_contents",
    "thumbs.db",
    "desktop.ini",
    "parent.lock",
    "lock",
    "cyrus.header",
    "cyrus.index",
    "cyrus.cache",
    "cyrus.squat",
];

/// Ends of names, in small letters, and what has them.
const ENDS: [(NoMail, &[&str]); 7] = [
    (NoMail::Contacts, &["vcf", "vcard", "ldif", "mab", "wab", "abook"]),
    (NoMail::Calendars, &["ics", "ical", "ifb", "vcs"]),
    (
        NoMail::Settings,
        &[
            "json", "xml", "plist", "ini", "cfg", "conf", "js", "css", "rdf", "xpi", "yaml", "yml", "toml",
            "dat", "sieve", "rules", "pem", "key", "crt", "asc", "sig", "p12",
        ],
    ),
    (NoMail::WebPages, &["html", "htm", "xhtml", "mht", "mhtml", "url", "webloc"]),
    (
        NoMail::Documents,
        &[
            "pdf",
            "doc",
            "docx",
            "xls",
            "xlsx",
            "ppt",
            "pptx",
            "odt",
            "ods",
            "odp",
            "rtf",
            "jpg",
            "jpeg",
            "png",
            "gif",
            "bmp",
            "tif",
            "tiff",
            "heic",
            "svg",
            "webp",
            "ico",
            "mp3",
            "mp4",
            "m4a",
            "mov",
            "avi",
            "wav",
            "ogg",
            "db",
            "sqlite",
            "sqlite3",
            "sqlite-wal",
            "sqlite-shm",
            "sqlite-journal",
            "exe",
            "dll",
            "so",
            "ttf",
        ],
    ),
    (NoMail::Texts, &["txt", "text", "md", "log", "csv", "tsv", "py", "sh", "bat"]),
    (NoMail::Indexes, &["msf", "idx", "toc", "cmeta", "ibex", "snm", "lck"]),
];

/// The end of a name, in small letters; empty: it has none.
pub(super) fn ending(name: &str) -> String {
    name.rsplit_once('.').map_or_else(String::new, |(_, end)| end.to_ascii_lowercase())
}

/// What the path alone says, whatever the content: what programs keep for themselves.
pub(super) fn by_path(path: &str) -> Option<NoMail> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.starts_with("._") || path.split('/').any(|level| level == "__MACOSX") {
        return Some(NoMail::ResourceForks);
    }
    if name.starts_with('.') && name != "." && name != ".." {
        return Some(NoMail::Hidden);
    }
    // Courier has a file for each keyword.
    if path.split('/').any(|level| level == "courierimapkeywords") {
        return Some(NoMail::Indexes);
    }
    if name == "mailfilter" {
        return Some(NoMail::Settings);
    }
    let small = name.to_ascii_lowercase();
    let known = INDEXES.contains(&small.as_str()) || small.starts_with("dovecot") || ending(&small) == "msf";
    known.then_some(NoMail::Indexes)
}

/// What the end of a name says where the content says nothing.
pub(super) fn by_ending(name: &str) -> Option<NoMail> {
    let end = ending(name);
    ENDS.iter().find(|(_, ends)| ends.contains(&end.as_str())).map(|(kind, _)| *kind)
}

/// What the first bytes say.
pub(super) fn by_content(head: &[u8]) -> Option<NoMail> {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|s| s.eq_ignore_ascii_case(with.as_bytes()));
    const TEXTS: [(&str, NoMail); 7] = [
        ("BEGIN:VCARD", NoMail::Contacts),
        ("BEGIN:VCALENDAR", NoMail::Calendars),
        ("<!DOCTYPE HTML", NoMail::WebPages),
        ("<HTML", NoMail::WebPages),
        ("<?XML", NoMail::Settings),
        ("// <!-- <MDB:MORK", NoMail::Indexes),
        ("%PDF-", NoMail::Documents),
    ];
    if let Some((_, kind)) = TEXTS.iter().find(|(with, _)| begins(with)) {
        return Some(*kind);
    }
    const MAGIC: [(&[u8], NoMail); 9] = [
        (&[0, 5, 0x16, 7], NoMail::ResourceForks),
        (&[0, 5, 0x16, 0], NoMail::ResourceForks),
        (b"bplist0", NoMail::Settings),
        (b"\x89PNG\r\n\x1a\n", NoMail::Documents),
        (b"GIF8", NoMail::Documents),
        (&[0xff, 0xd8, 0xff], NoMail::Documents),
        (b"SQLite format 3\0", NoMail::Documents),
        (b"\x7fELF", NoMail::Documents),
        (b"{\\rtf", NoMail::Documents),
    ];
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(*kind);
    }
    // JSON: a brace or a bracket, and a value.
    let rest = text.strip_prefix(b"{").or_else(|| text.strip_prefix(b"["))?.trim_ascii_start();
    matches!(rest.first(), Some(b'"' | b'{' | b'[' | b']' | b'}')).then_some(NoMail::Settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_courier_keeps_beside_mail() {
        assert_eq!(by_path("Maildir/courierimapkeywords/:list"), Some(NoMail::Indexes));
        assert_eq!(by_path("Maildir/.Work/courierimapkeywords/.1.x"), Some(NoMail::Hidden));
        assert_eq!(by_path("Maildir/mailfilter"), Some(NoMail::Settings));
        assert_eq!(by_path("Maildir/cur/1.x:2,S"), None);
    }
}
