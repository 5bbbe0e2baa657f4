//! Names in archives of old, written in the code page of whoever made them and without a word of which. All names of one
//! archive are judged together, for one program wrote them. It refuses to lose a difference: two names that differ in
//! their bytes differ when they are read.

use encoding_rs::{EUC_KR, Encoding, SHIFT_JIS};

/// How the names of an archive are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodePage {
    Utf8,
    Cp437,
    Cp850,
    /// Korean (UHC).
    Cp949,
    ShiftJis,
}

/// Bytes of names that are judged.
const MOST: usize = 256 * 1024;

/// Characters from 128 on.
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
const CP850: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";

/// Gathers names until there are enough to judge.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Names that are not plain ASCII.
    names: Vec<Vec<u8>>,
    octets: usize,
}

impl Judge {
    /// One more name, as it is written.
    pub(super) fn add(&mut self, name: &[u8]) {
        if !name.is_ascii() && self.octets < MOST {
            self.octets += name.len();
            self.names.push(name.to_vec());
        }
    }

    /// What fits all of them.
    pub(super) fn decide(&self) -> CodePage {
        if self.names.iter().all(|name| std::str::from_utf8(name).is_ok()) {
            return CodePage::Utf8;
        }
        let korean = self.wide(EUC_KR, is_hangul) && self.is_common_korean();
        let japanese = self.wide(SHIFT_JIS, is_japanese);
        let alone = |encoding| self.names.iter().all(|name| stands_alone(name, encoding));
        if (korean && alone(EUC_KR))
            || (japanese && alone(SHIFT_JIS))
            || ((korean || japanese) && !self.is_latin())
        {
            return if korean { CodePage::Cp949 } else { CodePage::ShiftJis };
        }
        // Where both give letters they give the same ones; lines and Greek between letters are the wrong page.
        let letters = |page: &str| {
            self.high()
                .all(|octet| character(page, octet).is_alphabetic() && is_latin(character(page, octet)))
        };
        if !letters(CP437) && letters(CP850) { CodePage::Cp850 } else { CodePage::Cp437 }
    }

    fn high(&self) -> impl Iterator<Item = u8> {
        self.names.iter().flatten().copied().filter(|octet| !octet.is_ascii())
    }

    /// Whether every name reads well in an encoding of two bytes a character, and hardly anything in it is none of its
    /// own letters.
    fn wide(&self, encoding: &'static Encoding, own: impl Fn(char) -> bool) -> bool {
        let (mut letters, mut others) = (0, 0);
        for name in &self.names {
            let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(name) else {
                return false;
            };
            for c in text.chars().filter(|c| !c.is_ascii()) {
                if own(c) {
                    letters += 1;
                } else {
                    others += 1;
                }
            }
        }
        letters > 4 * others
    }

    /// Most syllables are those that are in use (KS X 1001), not the rare ones that any bytes may give.
    fn is_common_korean(&self) -> bool {
        let (mut common, mut rare) = (0, 0);
        for name in &self.names {
            let mut rest = name.as_slice();
            while let Some((first, tail)) = rest.split_first() {
                rest = tail;
                if !first.is_ascii() {
                    let trail = tail.first().copied().unwrap_or(0);
                    rest = tail.get(1..).unwrap_or_default();
                    if (0xb0..=0xc8).contains(first) && trail >= 0xa1 {
                        common += 1;
                    } else if !(0xa1..=0xaf).contains(first) {
                        rare += 1;
                    }
                }
            }
        }
        common > 2 * rare
    }

    /// Single accented letters among plain ones, as in most languages of Europe.
    fn is_latin(&self) -> bool {
        let (mut runs, mut long, mut neighbours) = (0u32, 0u32, 0u32);
        for name in &self.names {
            let mut rest = name.as_slice();
            let mut before = b' ';
            while let Some(first) = rest.first() {
                if first.is_ascii() {
                    before = *first;
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
                let length = rest.iter().take_while(|octet| !octet.is_ascii()).count();
                let run = rest.get(..length).unwrap_or_default();
                rest = rest.get(length..).unwrap_or_default();
                let after = rest.first().copied().unwrap_or(b' ');
                runs += 1;
                let letters = run
                    .iter()
                    .all(|octet| is_latin(character(CP850, *octet)) || is_latin(character(CP437, *octet)));
                // A small letter before a capital one is no word.
                let capital = run.first().is_some_and(|octet| character(CP850, *octet).is_uppercase());
                let broken = before.is_ascii_lowercase() && capital && after.is_ascii_lowercase();
                if length > 2 || !letters || broken {
                    long += 1;
                }
                if before.is_ascii_alphabetic() || after.is_ascii_alphabetic() {
                    neighbours += 1;
                }
            }
        }
        long == 0 && neighbours * 5 >= runs * 4
    }
}

/// No plain letter stands beside a wide one: where accented letters were taken for halves of wide ones, some do.
fn stands_alone(name: &[u8], encoding: &'static Encoding) -> bool {
    let text = encoding.decode_without_bom_handling(name).0;
    let mut before = ' ';
    text.chars().all(|c| {
        let mixed = (before.is_ascii_alphabetic() && !c.is_ascii())
            || (!before.is_ascii() && c.is_ascii_alphabetic());
        before = c;
        !mixed
    })
}

/// A name in Unicode, whole whatever its bytes are.
pub(super) fn read(name: &[u8], page: CodePage) -> String {
    let wide = |encoding: &'static Encoding| {
        encoding.decode_without_bom_handling_and_without_replacement(name).map(std::borrow::Cow::into_owned)
    };
    let text = match page {
        CodePage::Utf8 => std::str::from_utf8(name).ok().map(str::to_owned),
        CodePage::Cp949 => wide(EUC_KR),
        CodePage::ShiftJis => wide(SHIFT_JIS),
        CodePage::Cp850 => return narrow(name, CP850),
        CodePage::Cp437 => None,
    };
    text.unwrap_or_else(|| narrow(name, CP437))
}

fn narrow(name: &[u8], page: &str) -> String {
    name.iter()
        .map(|octet| if octet.is_ascii() { char::from(*octet) } else { character(page, *octet) })
        .collect()
}

fn character(page: &str, octet: u8) -> char {
    page.chars().nth(usize::from(octet & 0x7f)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Letters of the languages of Europe's west, with the marks that stand at numbers.
fn is_latin(c: char) -> bool {
    c.is_alphabetic() && (c < '\u{250}')
}

fn is_hangul(c: char) -> bool {
    ('\u{ac00}'..='\u{d7a3}').contains(&c)
}

fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '々' | '〆' | '＆' | '０'..='９' | 'Ａ'..='ｚ' | '（' | '）' | '【' | '】')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a text in one of the two narrow pages.
    fn written(text: &str, page: &str) -> Option<Vec<u8>> {
        text.chars()
            .map(|c| match c.is_ascii() {
                true => u8::try_from(c).ok(),
                false => page.chars().position(|own| own == c).and_then(|at| u8::try_from(at + 128).ok()),
            })
            .collect()
    }

    fn judged(names: &[Vec<u8>]) -> CodePage {
        let mut judge = Judge::default();
        names.iter().for_each(|name| judge.add(name));
        judge.decide()
    }

    #[test]
    fn names_of_folders_in_many_languages() {
        for (text, page) in [
            ("Entw\u{fc}rfe", CodePage::Cp437),
            ("Gel\u{f6}schte Elemente/Gesch\u{e4}ft", CodePage::Cp437),
            ("\u{c9}t\u{e9}/Bo\u{ee}te de r\u{e9}ception", CodePage::Cp437),
            ("Envoy\u{e9}s", CodePage::Cp437),
            ("Elementos borrados/A\u{f1}o", CodePage::Cp437),
            ("Gr\u{fc}\u{df}e", CodePage::Cp437),
            ("S\u{f8}ppelpost", CodePage::Cp850),
            ("N\u{e3}o lidos", CodePage::Cp850),
            ("\u{c0} faire", CodePage::Cp850),
            ("\u{d3}rg\u{e3}os", CodePage::Cp850),
        ] {
            let table = if page == CodePage::Cp437 { CP437 } else { CP850 };
            let name = written(text, table).unwrap();
            let found = judged(std::slice::from_ref(&name));
            assert_eq!(read(&name, found), text, "{found:?}");
        }
        for (text, encoding) in [
            ("받은편지함", EUC_KR),
            ("보낸편지함/2014", EUC_KR),
            ("업무 자료", EUC_KR),
            ("送信済み", SHIFT_JIS),
            ("受信トレイ/メール", SHIFT_JIS),
            ("ゴミ箱", SHIFT_JIS),
            ("下書き", SHIFT_JIS),
            ("仕事", SHIFT_JIS),
        ] {
            let name = encoding.encode(text).0.into_owned();
            let name = [&b"mail/"[..], &name, b"/1.eml"].concat();
            let found = judged(std::slice::from_ref(&name));
            assert_eq!(read(&name, found), format!("mail/{text}/1.eml"), "{found:?}");
        }
        assert_eq!(judged(&["Entwürfe".as_bytes().to_vec()]), CodePage::Utf8);
    }

    #[test]
    fn two_names_stay_two() {
        for page in [CodePage::Utf8, CodePage::Cp437, CodePage::Cp850, CodePage::Cp949, CodePage::ShiftJis] {
            let mut seen = std::collections::BTreeSet::new();
            for octet in 128..=255u8 {
                assert!(seen.insert(read(&[b'a', octet], page)), "{page:?} {octet}");
            }
        }
    }
}
