//! A member's own rules for mail that is collected: conditions on headers, addresses and sizes, and what becomes of
//! a message for which they hold. It refuses to lose a message: the worst that a rule does is to file it into the
//! Trash.

use std::collections::BTreeSet;

use crate::message::Mark;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether every condition has to hold, or one.
    pub every: bool,
    /// The conditions; never empty.
    pub conditions: Vec<Condition>,
    /// What is done.
    pub actions: Actions,
    /// Whether later rules are left out once this one was applied.
    pub last: bool,
}

/// What has to be so, or with `not` must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Turns it round.
    pub not: bool,
    /// What is looked at.
    pub test: Test,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// The text of a header field, decoded (RFC 2047).
    Header(String, Pattern),
    /// The addresses in a header field, without names and comments (RFC 5322, 3.4).
    Address(String, Pattern),
    /// More octets than this, as they came over the wire.
    Over(u64),
    /// Fewer octets than this.
    Under(u64),
}

/// What a text has to be like; capital and small letters are the same. Every text is in small letters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The field is there.
    Exists,
    /// The whole text.
    Is(String),
    /// A part of it.
    Contains(String),
    /// The whole text, `*` standing for any characters and `?` for one.
    Matches(String),
    /// An address of that domain.
    Domain(String),
}

/// What becomes of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actions {
    /// The folder that it goes into, level by level.
    pub folder: Option<Vec<String>>,
    /// Flags that it gets.
    pub marks: BTreeSet<Mark>,
    /// Keywords that it gets.
    pub keywords: Vec<String>,
}

/// What rules look at.
pub trait Letter {
    /// The decoded texts of a header field, in its order.
    fn texts(&self, field: &str) -> Vec<String>;
    /// The addresses in a header field.
    fn addresses(&self, field: &str) -> Vec<String>;
    /// Octets on the wire.
    fn size(&self) -> u64;
}

/// What the rules make of a message: the first folder that is named counts, flags and keywords add up.
pub fn decide(rules: &[Rule], letter: &impl Letter) -> Actions {
    let mut decided = Actions::default();
    for rule in rules.iter().filter(|rule| rule.holds(letter)) {
        let Actions { folder, marks, keywords } = &rule.actions;
        decided.folder = decided.folder.or_else(|| folder.clone());
        decided.marks.extend(marks);
        for word in keywords {
            if !decided.keywords.contains(word) {
                decided.keywords.push(word.clone());
            }
        }
        if rule.last {
            break;
        }
    }
    decided
}

impl Rule {
    fn holds(&self, letter: &impl Letter) -> bool {
        let mut results = self.conditions.iter().map(|condition| condition.holds(letter));
        if self.every { results.all(|held| held) } else { results.any(|held| held) }
    }
}

impl Condition {
    fn holds(&self, letter: &impl Letter) -> bool {
        let found = match &self.test {
            Test::Header(field, pattern) => letter.texts(field).iter().any(|text| pattern.fits(text)),
            Test::Address(field, pattern) => letter.addresses(field).iter().any(|text| pattern.fits(text)),
            Test::Over(octets) => letter.size() > *octets,
            Test::Under(octets) => letter.size() < *octets,
        };
        found != self.not
    }
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        let text = text.trim().to_lowercase();
        match self {
            Pattern::Exists => true,
            Pattern::Is(whole) => text == *whole,
            Pattern::Contains(part) => text.contains(part.as_str()),
            Pattern::Matches(pattern) => matches(pattern, &text),
            Pattern::Domain(domain) => text.rsplit_once('@').is_some_and(|(_, own)| own == domain),
        }
    }
}

/// In time that grows with the product of both lengths at worst, whatever somebody writes into a subject.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star is, and how much of the text it stands for so far.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Paper(Vec<(&'static str, &'static str)>, u64);

    impl Letter for Paper {
        fn texts(&self, field: &str) -> Vec<String> {
            self.0.iter().filter(|(name, _)| *name == field).map(|(_, text)| (*text).to_owned()).collect()
        }
        fn addresses(&self, field: &str) -> Vec<String> {
            self.texts(field)
        }
        fn size(&self) -> u64 {
            self.1
        }
    }

    fn rule(test: Test, folder: &str, last: bool) -> Rule {
        let actions = Actions { folder: Some(vec![folder.to_owned()]), ..Actions::default() };
        Rule { every: true, conditions: vec![Condition { not: false, test }], actions, last }
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*b?d", "axxbcd", true),
            ("a*b?d", "abd", false),
            ("*a*a*a*b", &"a".repeat(3000), false),
            ("[rust] *", "[rust] news", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {}", text.len());
        }
        assert!(Pattern::Domain("example.com".to_owned()).fits("Alice@Example.COM"));
        assert!(!Pattern::Domain("example.com".to_owned()).fits("a@notexample.com"));
        assert!(Pattern::Is("größe".to_owned()).fits(" GRÖSSE ".replace("SS", "ß").as_str()));
    }

    #[test]
    fn the_first_or_all() {
        let paper = Paper(vec![("subject", "Invoice 7"), ("from", "shop@example.com")], 2000);
        let subject = || Test::Header("subject".to_owned(), Pattern::Contains("invoice".to_owned()));
        let first = [rule(subject(), "Bills", true), rule(Test::Over(1000), "Large", true)];
        assert_eq!(decide(&first, &paper).folder, Some(vec!["Bills".to_owned()]));
        let mut all = [rule(subject(), "Bills", false), rule(Test::Over(1000), "Large", true)];
        all[1].actions.marks.insert(Mark::Flagged);
        all[1].actions.keywords.push("large".to_owned());
        let decided = decide(&all, &paper);
        assert_eq!(decided.folder, Some(vec!["Bills".to_owned()]), "the first folder counts");
        assert!(decided.marks.contains(&Mark::Flagged) && decided.keywords == ["large"]);
        // Neither holds, or turned round both do.
        let absent = Test::Header("list-id".to_owned(), Pattern::Exists);
        let mut none = [rule(absent.clone(), "Lists", true)];
        assert_eq!(decide(&none, &paper), Actions::default());
        none[0].conditions[0].not = true;
        assert!(decide(&none, &paper).folder.is_some());
        none[0].conditions.push(Condition { not: false, test: absent });
        assert!(decide(&none, &paper).folder.is_none(), "every condition has to hold");
        none[0].every = false;
        assert!(decide(&none, &paper).folder.is_some(), "one is enough");
        assert!(decide(&[rule(Test::Under(2000), "Small", true)], &paper).folder.is_none());
    }
}
