//! The walk through a parsed file: each step knows its key and its place, and complains instead of
//! stopping, so that one pass finds everything. It refuses to know what any key means.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::complaint::{Complaint, nearest, one_of};
use super::text::Text;
use super::units;

/// Where values come from and complaints go to.
#[derive(Clone, Copy)]
pub(super) struct Sheet<'a> {
    pub(super) text: &'a Text,
    /// Where the parsed part starts in the text.
    pub(super) shift: usize,
    pub(super) complaints: &'a RefCell<Vec<Complaint>>,
}

impl<'a> Sheet<'a> {
    /// Complains about what stands at `at` in the parsed part.
    pub(super) fn complain(&self, at: usize, key: &str, what: impl Into<String>, mend: impl Into<String>) {
        let (line, column) = self.text.place(self.shift + at);
        self.complaints.borrow_mut().push(Complaint {
            file: self.text.file.clone(),
            line,
            column,
            key: key.to_owned(),
            what: what.into(),
            mend: mend.into(),
        });
    }

    /// The whole parsed part as a table.
    pub(super) fn root(self, map: &'a DeTable<'a>) -> Table<'a> {
        Table { sheet: self, key: String::new(), at: 0, map }
    }
}

/// A table and where it stands.
#[derive(Clone)]
pub(super) struct Table<'a> {
    pub(super) sheet: Sheet<'a>,
    pub(super) key: String,
    pub(super) at: usize,
    map: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Complains about every key that is not in `known`.
    pub(super) fn only(&self, known: &[&str]) {
        for name in self.map.keys() {
            let written: &str = name.get_ref();
            if known.contains(&written) {
                continue;
            }
            let mend = match nearest(written, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.sheet.complain(name.span().start, &self.dotted(written), "unknown key", mend);
        }
    }

    /// The value of `name`, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let (key, value) = self.map.get_key_value(name)?;
        Some(self.value(name, key.span().start, value))
    }

    /// The value of `name`; complains if it is missing.
    pub(super) fn require(&self, name: &str, mend: &str) -> Option<Value<'a>> {
        let found = self.get(name);
        if found.is_none() {
            self.sheet.complain(self.at, &self.dotted(name), "is missing", mend);
        }
        found
    }

    /// Every name with its value, in the order of names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.map.iter().map(|(key, value)| {
            let name: &'a str = key.get_ref();
            (name, self.value(name, key.span().start, value))
        })
    }

    /// Complains about the table itself.
    pub(super) fn complain(&self, what: impl Into<String>, mend: impl Into<String>) {
        self.sheet.complain(self.at, &self.key, what, mend);
    }

    fn value(&self, name: &str, key_at: usize, value: &'a toml::Spanned<DeValue<'a>>) -> Value<'a> {
        Value {
            sheet: self.sheet,
            key: self.dotted(name),
            key_at,
            at: value.span().start,
            value: value.get_ref(),
        }
    }

    fn dotted(&self, name: &str) -> String {
        let bare =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let name = if bare { name.to_owned() } else { format!("{name:?}") };
        if self.key.is_empty() { name } else { format!("{}.{name}", self.key) }
    }
}

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Value<'a> {
    sheet: Sheet<'a>,
    pub(super) key: String,
    key_at: usize,
    at: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// Complains about the value.
    pub(super) fn complain(&self, what: impl Into<String>, mend: impl Into<String>) {
        self.sheet.complain(self.at, &self.key, what, mend);
    }

    /// Line and column of the value.
    pub(super) fn place(&self) -> (usize, usize) {
        self.sheet.text.place(self.sheet.shift + self.at)
    }

    /// The same value with another place for its complaints.
    pub(super) fn complaining_to<'b>(self, complaints: &'b RefCell<Vec<Complaint>>) -> Value<'b>
    where
        'a: 'b,
    {
        let sheet = Sheet { text: self.sheet.text, shift: self.sheet.shift, complaints };
        Value { sheet, key: self.key, key_at: self.key_at, at: self.at, value: self.value }
    }

    fn wrong_type(&self, wanted: &str, mend: &str) {
        let found = match self.value.type_str() {
            "integer" => "a number",
            "float" => "a number with a fraction",
            "boolean" => "true or false",
            "datetime" => "a date",
            "array" => "a list",
            "table" => "a table",
            _ => "text",
        };
        self.complain(format!("is {found}, not {wanted}"), mend);
    }

    /// Text.
    pub(super) fn string(&self) -> Option<&'a str> {
        let found = self.value.as_str();
        if found.is_none() {
            self.wrong_type("text", "write text in quotes");
        }
        found
    }

    /// Text, if it is that; no complaint otherwise.
    pub(super) fn if_string(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// One of a few words.
    pub(super) fn choice(&self, words: &[&'static str]) -> Option<&'static str> {
        let written = self.string()?;
        let found = words.iter().copied().find(|word| *word == written);
        if found.is_none() {
            self.complain(format!("{written:?} is not possible"), format!("write {}", one_of(words)));
        }
        found
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        let found = self.value.as_bool();
        if found.is_none() {
            self.wrong_type("true or false", "write true or false, without quotes");
        }
        found
    }

    /// A whole number from `least` to `most`.
    pub(super) fn integer(&self, least: u64, most: u64) -> Option<u64> {
        let mend = format!("write a whole number from {least} to {most}");
        let Some(written) = self.value.as_integer() else {
            self.wrong_type("a whole number", &mend);
            return None;
        };
        let found = u64::from_str_radix(written.as_str(), written.radix())
            .ok()
            .filter(|n| (least..=most).contains(n));
        if found.is_none() {
            self.complain(format!("{written} is not possible"), mend);
        }
        found
    }

    /// A whole number as a count.
    pub(super) fn count(&self, least: u64, most: u64) -> Option<usize> {
        self.integer(least, most).and_then(|number| usize::try_from(number).ok())
    }

    /// A duration.
    pub(super) fn duration(&self) -> Option<Duration> {
        let Some(written) = self.value.as_str() else {
            self.wrong_type("a duration in quotes", units::DURATION);
            return None;
        };
        let found = units::duration(written);
        if found.is_none() {
            self.complain(
                format!("{written:?} is not a duration of one second to ten years"),
                units::DURATION,
            );
        }
        found
    }

    /// A size; the inner `None` is `"none"`.
    pub(super) fn size(&self) -> Option<Option<u64>> {
        let Some(written) = self.value.as_str() else {
            self.wrong_type("a size in quotes", units::SIZE);
            return None;
        };
        let found = units::size(written);
        if found.is_none() {
            self.complain(format!("{written:?} is not a size"), units::SIZE);
        }
        found
    }

    /// A path, made absolute from the file's directory.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let written = self.string()?;
        if written.is_empty() || written.contains('\0') {
            self.complain("is not a path", "write the path of a file or directory");
            return None;
        }
        Some(self.sheet.text.directory.join(written))
    }

    /// A table.
    pub(super) fn table(&self) -> Option<Table<'a>> {
        let found = self.if_table();
        if found.is_none() {
            self.wrong_type("a table", &format!("write [{}] or {{ ... }}", self.key));
        }
        found
    }

    /// A table, if it is that; no complaint otherwise.
    pub(super) fn if_table(&self) -> Option<Table<'a>> {
        let map = self.value.as_table()?;
        Some(Table { sheet: self.sheet, key: self.key.clone(), at: self.at, map })
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Option<Vec<Value<'a>>> {
        let Some(items) = self.value.as_array() else {
            self.wrong_type("a list", "write [\"...\", \"...\"]");
            return None;
        };
        let item = |item: &'a toml::Spanned<DeValue<'a>>| Value {
            sheet: self.sheet,
            key: self.key.clone(),
            key_at: self.key_at,
            at: item.span().start,
            value: item.get_ref(),
        };
        Some(items.iter().map(item).collect())
    }

    /// A list of texts; items of another type are complained about and left out.
    pub(super) fn strings(&self) -> Option<Vec<(&'a str, Value<'a>)>> {
        let items = self.list()?;
        Some(items.into_iter().filter_map(|item| Some((item.string()?, item))).collect())
    }
}
