//! Long lists on their way out. zlink makes an answer again from its beginning for every 256 octets that its
//! buffer is short of: a list of ten thousand accounts would take minutes, and every other caller would wait.
//! So a long list is written here once; what goes through zlink is a mark in its place, and the line puts
//! the list in where the mark stands. It refuses marks that it did not give: no server can guess one.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A list with fewer elements takes the ordinary way.
const LONG: usize = 32;
/// Digits of a mark's number.
const DIGITS: usize = 20;

thread_local! {
    static LISTS: RefCell<Option<Lists>> = const { RefCell::new(None) };
}

/// The lists of the thread that serves the socket.
#[derive(Debug)]
struct Lists {
    /// What marks begin with.
    mark: String,
    next: u64,
    /// By their numbers: the list's address, which an answer that is made again has again, and its text.
    texts: BTreeMap<u64, (usize, String)>,
}

/// From now on this thread's long lists take this way.
pub(super) fn begin() {
    LISTS.with_borrow_mut(|lists| {
        lists.get_or_insert_with(|| Lists {
            mark: format!("mailhaul-list-{:032x}-", rand::random::<u128>()),
            next: 0,
            texts: BTreeMap::new(),
        });
    });
}

/// For `#[serde(serialize_with)]`: the list, or its mark.
pub(super) fn list<T: Serialize, S: Serializer>(list: &Vec<T>, serializer: S) -> Result<S::Ok, S::Error> {
    let mark = if list.len() < LONG { None } else { put(list) };
    match mark {
        Some(mark) => serializer.serialize_str(&mark),
        None => list.serialize(serializer),
    }
}

fn put<T: Serialize>(list: &Vec<T>) -> Option<String> {
    // Before the borrow: an element may hold a list of its own.
    let text = LISTS.with_borrow(Option::is_some).then(|| serde_json::to_string(list).ok())??;
    LISTS.with_borrow_mut(|lists| {
        let lists = lists.as_mut()?;
        let address = std::ptr::from_ref(list).addr();
        lists.texts.retain(|_, (other, _)| *other != address);
        lists.next += 1;
        lists.texts.insert(lists.next, (address, text));
        Some(format!("{}{:0DIGITS$}", lists.mark, lists.next))
    })
}

/// The octets of answers with the lists where their marks stand; `None`: there is no mark in them.
pub(super) fn whole(octets: &[u8]) -> Option<Vec<u8>> {
    LISTS.with_borrow_mut(|lists| {
        let lists = lists.as_mut().filter(|lists| !lists.texts.is_empty())?;
        let quoted = format!("\"{}", lists.mark);
        let mut out = Vec::new();
        let mut rest = octets;
        while let Some(at) = memchr::memmem::find(rest, quoted.as_bytes()) {
            let (before, mark) = rest.split_at(at);
            let end = quoted.len() + DIGITS;
            let number =
                mark.get(quoted.len()..end).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())?;
            out.extend_from_slice(before);
            out.extend_from_slice(lists.texts.remove(&number)?.1.as_bytes());
            rest = mark.get(end + 1..)?;
        }
        if out.is_empty() {
            return None;
        }
        out.extend_from_slice(rest);
        Some(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Serialize)]
    struct Answer {
        #[serde(serialize_with = "list")]
        names: Vec<String>,
        more: u8,
    }

    #[test]
    fn a_long_list_comes_out_as_it_went_in() {
        let names = |count: usize| (0..count).map(|n| format!("\"{n}\\ mailhaul-list-")).collect();
        let (short, long) = (Answer { names: names(3), more: 1 }, Answer { names: names(5000), more: 2 });
        let plain = [serde_json::to_string(&short).unwrap(), serde_json::to_string(&long).unwrap()];
        assert_eq!(whole(plain[1].as_bytes()), None, "this thread serves nothing yet");
        begin();
        let made = serde_json::to_string(&long).unwrap();
        assert!(made.len() < 200, "{made}");
        // Made again, as zlink does.
        let again = serde_json::to_string(&long).unwrap();
        let other = long.clone();
        let both = format!(
            "{}\0{again}\0{}\0",
            serde_json::to_string(&short).unwrap(),
            serde_json::to_string(&other).unwrap()
        );
        let expected = format!("{}\0{}\0{}\0", plain[0], plain[1], plain[1]);
        assert_eq!(String::from_utf8(whole(both.as_bytes()).unwrap()).unwrap(), expected);
        LISTS.with_borrow(|lists| assert!(lists.as_ref().unwrap().texts.is_empty(), "nothing is kept"));
        assert_eq!(whole(again.as_bytes()), None, "a mark counts once");
    }
}
