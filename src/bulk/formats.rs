//! The three formats. konsoleH: `server;user;password;mailbox;mailbox password`. Yandex: `"login","password"`,
//! or six columns with first name, last name, new login, new password. Mailhaul: a line of keys, then values.

use zeroize::Zeroizing;

use crate::secret::Secret;

use super::lines::{Field, Line, lines, text, told_separator};
use super::{Cell, Mistake, ROWS, Row};

/// Octets that a password may have.
const LONGEST: usize = 1024;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As konsoleH's mail import takes it.
    Konsoleh,
    /// As Yandex's mailbox import takes it.
    Yandex,
    /// With a line of keys first.
    Mailhaul,
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "konsoleh" => Some(Format::Konsoleh),
            "yandex" => Some(Format::Yandex),
            "mailhaul" => Some(Format::Mailhaul),
            _ => None,
        }
    }
}

/// Reads a list: every row that has the right shape, and every mistake that can be seen in the list alone, in
/// its order. A row may have mistakes and still be among the rows, so that the rest of it can be judged: what
/// was wrong in it is [`Row::told`]. `domain` completes logins that are no addresses.
pub fn read(octets: &[u8], format: Format, domain: Option<&str>) -> (Vec<Row>, Vec<Mistake>) {
    let alone = |mistake| (Vec::new(), vec![mistake]);
    let text = match text(octets) {
        Ok(text) => text,
        Err(mistake) => return alone(mistake),
    };
    let mut mistakes = Vec::new();
    let mut lines = lines(text, separator(format, text), &mut mistakes);
    let headless = |first: &Line| mistakes.iter().any(|mistake| mistake.at.0 < first.number);
    if format == Format::Mailhaul && lines.first().is_none_or(headless) && !mistakes.is_empty() {
        // Without its keys a value means nothing.
        return (Vec::new(), mistakes);
    }
    let keys = header(format, &mut lines, &mut mistakes);
    if lines.len() > ROWS {
        let mend = format!("divide it into lists of at most {ROWS} rows");
        return alone(Mistake { at: (1, 1), what: "has too many rows".to_owned(), mend });
    }
    if lines.is_empty() && mistakes.is_empty() {
        let mend = "write one line a mailbox".to_owned();
        return alone(Mistake { at: (1, 1), what: "holds no row".to_owned(), mend });
    }
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        let number = line.number;
        let mut sheet = Sheet {
            row: Row {
                line: number,
                cells: Vec::new(),
                password: None,
                mailbox_password: None,
                told: Vec::new(),
            },
            mistakes: &mut mistakes,
            domain,
        };
        let shaped = match format {
            Format::Konsoleh => sheet.konsoleh(line),
            Format::Yandex => sheet.yandex(line),
            Format::Mailhaul => sheet.own(line, &keys),
        };
        if shaped {
            rows.push(sheet.row);
        }
    }
    mistakes.sort_by_key(|mistake| mistake.at);
    (rows, mistakes)
}

/// The keys of a list that has a line of them, without looking any further: where that line cannot be read, the
/// list cannot either.
pub fn columns(octets: &[u8], format: Format) -> Vec<String> {
    let (Format::Mailhaul, Ok(text)) = (format, text(octets)) else { return Vec::new() };
    let mut mistakes = Vec::new();
    let mut lines = lines(first(text), separator(format, text), &mut mistakes);
    header(format, &mut lines, &mut mistakes)
}

/// The first line that has something in it, behind the one that Excel adds.
fn first(text: &str) -> &str {
    let mut lines =
        text.lines().filter(|line| !line.trim_matches([';', ',', '"', ' ', '\t', '\r']).is_empty());
    match lines.next() {
        Some(line) if told_separator(line).is_some() => lines.next().unwrap_or_default(),
        line => line.unwrap_or_default(),
    }
}

fn separator(format: Format, text: &str) -> char {
    let told = text.lines().find(|line| !line.trim().is_empty()).and_then(told_separator);
    match (told, format) {
        (Some(told), _) => told,
        (None, Format::Konsoleh) => ';',
        (None, Format::Mailhaul) if first(text).contains(';') => ';',
        (None, Format::Yandex | Format::Mailhaul) => ',',
    }
}

/// Takes the line of keys away, if the format has one. A key that is none is empty in what is returned.
fn header(format: Format, lines: &mut Vec<Line>, mistakes: &mut Vec<Mistake>) -> Vec<String> {
    let Some(first) = lines.first() else { return Vec::new() };
    let mut words: Vec<String> = first.fields.iter().map(|field| field.text.trim().to_lowercase()).collect();
    let is_header = match format {
        Format::Konsoleh => words.get(..3).is_some_and(|words| words == ["server", "user", "password"]),
        Format::Yandex => words.get(..2).is_some_and(|words| words == ["login", "password"]),
        Format::Mailhaul => true,
    };
    if !is_header {
        return Vec::new();
    }
    let mut line = lines.remove(0);
    // Columns that a table has at its end, with nothing in them.
    while words.len() > 1 && words.last().is_some_and(String::is_empty) {
        words.pop();
        line.fields.pop();
    }
    if format == Format::Mailhaul {
        for (at, field) in line.fields.iter().enumerate() {
            let (before, rest) = words.split_at_mut(at);
            let Some(key) = rest.first_mut() else { break };
            let twice = !key.is_empty() && before.contains(key);
            let good = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
            if twice || !good {
                key.clear();
                let what = if twice { "is there twice" } else { "is no key" };
                mistakes.push(Mistake {
                    at: field.at,
                    what: what.to_owned(),
                    mend: "the first line has keys such as member, server, username, password".to_owned(),
                });
            }
        }
    }
    words
}

struct Sheet<'s> {
    row: Row,
    mistakes: &'s mut Vec<Mistake>,
    domain: Option<&'s str>,
}

impl Sheet<'_> {
    fn wrong(&mut self, at: (usize, usize), what: &str, mend: &str) {
        self.mistakes.push(Mistake { at, what: what.to_owned(), mend: mend.to_owned() });
    }

    /// What is wrong with the value of a key.
    fn told(&mut self, key: &str, at: (usize, usize), what: &str, mend: &str) {
        self.row.told.push(key.to_owned());
        self.wrong(at, what, mend);
    }

    /// Whether the row has as many fields as are allowed; empty ones at its end do not count.
    fn counted(&mut self, line: &mut Line, allowed: &[usize], mend: &str) -> bool {
        let least = allowed.iter().min().copied().unwrap_or_default();
        while !allowed.contains(&line.fields.len())
            && line.fields.len() > least
            && line.fields.last().is_some_and(|field| field.text.trim().is_empty())
        {
            line.fields.pop();
        }
        let count = line.fields.len();
        if allowed.contains(&count) {
            return true;
        }
        let most = allowed.iter().max().copied().unwrap_or_default();
        let beyond = line.fields.iter().skip(most).find(|field| !field.text.trim().is_empty());
        let at = beyond.or(line.fields.get(most)).map_or((line.number, line.end), |field| field.at);
        let words: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        self.wrong(at, &format!("the row has {count} fields, not {}", words.join(" or ")), mend);
        false
    }

    /// Whether the row has the right shape; this and the next two.
    fn konsoleh(&mut self, mut line: Line) -> bool {
        let mend =
            "write server;user;password;mailbox;mailbox password, and put what holds a ';' into quotes";
        if !self.counted(&mut line, &[4, 5], mend) {
            return false;
        }
        let mut fields = line.fields.into_iter();
        let mut next = || fields.next();
        let (server, user, password, mailbox, new) = (next(), next(), next(), next(), next());
        self.server(server);
        self.login(user);
        self.password(password);
        self.member(mailbox);
        self.new_password(new);
        true
    }

    fn yandex(&mut self, mut line: Line) -> bool {
        let mend = "write \"login\",\"password\", or six columns with first name, last name, new login and new \
                    password, and put what holds a ',' into quotes";
        if !self.counted(&mut line, &[2, 6], mend) {
            return false;
        }
        let mut fields = line.fields.into_iter();
        let mut next = || fields.next();
        let (login, password, first, last) = (next(), next(), next(), next());
        let (new_login, new_password) = (next(), next());
        let member = match new_login.filter(|field| !field.text.trim().is_empty()) {
            Some(field) => Some(field),
            None => login.as_ref().map(|login| {
                // Without a new login the mailbox has the old one's name, in the domain that was given.
                let (local, domain) = login.text.rsplit_once('@').unwrap_or((&login.text, ""));
                let domain = self.domain.unwrap_or(domain);
                let whole = if domain.is_empty() { local.to_owned() } else { format!("{local}@{domain}") };
                Field { text: Zeroizing::new(whole), at: login.at }
            }),
        };
        self.login(login);
        self.password(password);
        self.name("new_mailbox.first_name", first);
        self.name("new_mailbox.last_name", last);
        self.member(member);
        self.new_password(new_password);
        true
    }

    fn own(&mut self, mut line: Line, keys: &[String]) -> bool {
        if !self.counted(
            &mut line,
            &[keys.len()],
            "write a value, or nothing, for each key of the first line",
        ) {
            return false;
        }
        for (key, field) in keys.iter().zip(line.fields) {
            if field.text.is_empty() || key.is_empty() {
                continue;
            }
            match key.as_str() {
                "password" | "source.password" => self.password(Some(field)),
                "new_mailbox.password" => self.new_password(Some(field)),
                "member" => self.member(Some(field)),
                "username" | "source.username" => self.login(Some(field)),
                "server" | "source.server" => self.server(Some(field)),
                _ => self.put(key, field),
            }
        }
        if self.row.value("member").is_none() && !self.row.has_told("member") {
            self.told("member", (line.number, 1), "the member is missing", "fill the column member");
        }
        true
    }

    fn put(&mut self, key: &str, field: Field) {
        let value = Zeroizing::new(field.text.trim().to_owned());
        if value.chars().any(char::is_control) {
            return self.told(key, field.at, "holds a control character", "write it on one line");
        }
        self.row.cells.push(Cell { key: key.to_owned(), value, at: field.at });
    }

    fn server(&mut self, field: Option<Field>) {
        if let Some(field) = field.filter(|field| !field.text.trim().is_empty()) {
            self.put("source.server", field);
        }
    }

    fn login(&mut self, field: Option<Field>) {
        let Some(field) = field else { return };
        if field.text.trim().is_empty() {
            let mend = "write the login that the server expects";
            return self.told("source.username", field.at, "the login is empty", mend);
        }
        self.put("source.username", field);
    }

    fn name(&mut self, key: &str, field: Option<Field>) {
        if let Some(field) = field.filter(|field| !field.text.trim().is_empty()) {
            self.put(key, field);
        }
    }

    fn member(&mut self, field: Option<Field>) {
        let Some(mut field) = field else { return };
        let mut value = field.text.trim().to_owned();
        if let Some(domain) = self.domain.filter(|_| !value.contains('@') && !value.is_empty()) {
            value = format!("{value}@{domain}");
        }
        let good = value.rsplit_once('@').is_some_and(|(local, domain)| {
            let part = |part: &str| {
                !matches!(part, "" | "." | "..")
                    && !part.contains(['/', ' '])
                    && !part.chars().any(char::is_control)
            };
            part(local) && part(domain) && local.len() <= 64 && domain.len() <= 255
        });
        if !good {
            let mend = "write an address such as alice@example.com, or give the domain with --domain";
            return self.told("member", field.at, "the mailbox is not an address", mend);
        }
        field.text = Zeroizing::new(value);
        self.put("member", field);
    }

    fn password(&mut self, field: Option<Field>) {
        self.row.password = self.secret("source.password", field);
    }

    fn new_password(&mut self, field: Option<Field>) {
        self.row.mailbox_password = self.secret("new_mailbox.password", field);
    }

    fn secret(&mut self, key: &str, field: Option<Field>) -> Option<(Secret, (usize, usize))> {
        let Field { text, at } = field?;
        if text.is_empty() {
            if key == "source.password" {
                self.told(key, at, "the password is empty", "write the password at the source");
            }
            return None;
        }
        if text.len() > LONGEST || text.chars().any(char::is_control) {
            let what = "the password is too long or holds a control character";
            self.told(key, at, what, "write it on one line");
            return None;
        }
        Some((Secret::new(text.as_bytes().to_vec()), at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(list: &str, format: Format, domain: Option<&str>) -> Vec<Row> {
        let (rows, mistakes) = read(list.as_bytes(), format, domain);
        assert_eq!(mistakes, []);
        rows
    }

    #[test]
    fn konsoleh() {
        let list = "\u{feff}server;user;password;mailbox;mailbox password\r\nmail.old.example;bob;\"a;b\"\"c\";bob@example.com;New-Password1\r\ngmail;eve;x;eve;\r\n";
        let rows = good(list, Format::Konsoleh, Some("example.com"));
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].value("source.server"), Some("mail.old.example"));
        assert_eq!(rows[0].password.as_ref().unwrap().0.expose(), b"a;b\"c");
        assert_eq!(rows[0].mailbox_password.as_ref().unwrap().0.expose(), b"New-Password1");
        assert_eq!(rows[1].value("member"), Some("eve@example.com"));
        assert_eq!(rows[1].mailbox_password, None);
        assert_eq!(rows[0].place("source.server.host"), (2, 1));
        assert_eq!(rows[0].place("source.password"), (2, 22));
    }

    #[test]
    fn yandex() {
        let list =
            "\"bob@old.example\",\"x,y\"\neve@old.example,pw,Eve,\"O, Neill\",eve.new,Long-Password1\n";
        let rows = good(list, Format::Yandex, Some("example.com"));
        assert_eq!(rows[0].value("member"), Some("bob@example.com"));
        assert_eq!(rows[0].value("source.username"), Some("bob@old.example"));
        assert_eq!(rows[1].value("member"), Some("eve.new@example.com"));
        assert_eq!(rows[1].value("new_mailbox.last_name"), Some("O, Neill"));
        let (_, mistakes) = read(list.as_bytes(), Format::Yandex, None);
        assert_eq!(mistakes[0].at, (2, 35), "a new login needs a domain");
    }

    #[test]
    fn own() {
        let list = "member,server,username,password,migrate.into\na@b.c,gmail,a,hunter2,Old\nd@e.f,gmail,d,hunter3,\n";
        let rows = good(list, Format::Mailhaul, None);
        assert_eq!(rows[0].value("migrate.into"), Some("Old"));
        assert_eq!(rows[1].value("migrate.into"), None);
        let keys = ["member", "server", "username", "password", "migrate.into"];
        assert_eq!(columns(list.as_bytes(), Format::Mailhaul), keys);
        let list = b"\n\"Member\"; \"password.file\" ;member;-\r\na@b.c;/etc/passwd;;\n";
        assert_eq!(columns(list, Format::Mailhaul), ["member", "password.file", "", ""]);
        assert_eq!(columns(list, Format::Konsoleh), [""; 0]);
    }

    #[test]
    fn tables_out_of_excel() {
        let list = "sep=;\r\nserver;user;password;mailbox;mailbox password;;\r\n;;;;;;\r\ngmail;eve;x;eve@a.b;;;\r\n;;;;;;\r\n";
        let rows = good(list, Format::Konsoleh, None);
        assert_eq!((rows.len(), rows[0].line), (1, 4));
        let list = "\u{feff}member;server;username;password;;;\r\na@b.c;gmail;a;hunter2;;;\r\n;;;;;;\r\n";
        let rows = good(list, Format::Mailhaul, None);
        assert_eq!((rows.len(), rows[0].value("member")), (1, Some("a@b.c")));
        assert_eq!(columns(list.as_bytes(), Format::Mailhaul), ["member", "server", "username", "password"]);
        assert_eq!(good("sep=,\na@b.c,secret,,,\n,,,,\n", Format::Yandex, None).len(), 1);
        assert_eq!(columns(b"sep=;\nmember;server\n", Format::Mailhaul), ["member", "server"]);
        // What is really wrong has its place.
        let list =
            "sep=;\nmember;server;username;password;;\n;;;;;\na@b.c;gmail;a;hunter2;;more\nd@e.f;gmail\n";
        let (_, mistakes) = read(list.as_bytes(), Format::Mailhaul, None);
        let told: Vec<_> = mistakes.iter().map(|mistake| mistake.at).collect();
        assert_eq!(told, [(4, 24), (5, 12)], "{mistakes:?}");
        let (rows, mistakes) = read(b"sep=;\n;;;;\n", Format::Konsoleh, None);
        assert!(rows.is_empty() && mistakes[0].what.contains("no row"));
    }

    #[test]
    fn every_mistake_has_its_place_and_no_password_in_it() {
        let list = "s;u;hunter2;a@b.c;\ns;u;hun;ter2;a@b.c;x\ns;;hunter2;nobody;\ns;u;;a@b.c\n\"s;u\n";
        let (rows, mistakes) = read(list.as_bytes(), Format::Konsoleh, None);
        let places: Vec<_> = mistakes.iter().map(|mistake| mistake.at).collect();
        assert_eq!(places, [(2, 20), (3, 3), (3, 12), (4, 5), (5, 1)]);
        let told: Vec<_> = rows.iter().map(|row| (row.line, row.told.clone())).collect();
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let expected =
            [(1, keys(&[])), (3, keys(&["source.username", "member"])), (4, keys(&["source.password"]))];
        assert_eq!(told, expected, "rows of the right shape are there for the rest of them");
        let words = format!("{mistakes:?}");
        assert!(!words.contains("hunter2") && !words.contains("ter2"), "{words}");
    }
}
