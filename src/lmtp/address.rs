//! A member's address as an envelope has it (RFC 5321, 4.1.2; RFC 6531, 3.3): quoted where it needs that. It
//! refuses what no envelope can carry.

use crate::account::Member;
use crate::failure::{Failure, Kind};

/// The address between angle brackets.
///
/// # Errors
/// [`Kind::Recipient`]: it holds a space in its domain, or the like.
pub fn recipient(member: &Member) -> Result<String, Failure> {
    let good = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-.:[]_".contains(c);
    if !member.domain.chars().all(good) || member.local.chars().any(char::is_control) {
        let words = format!("mail cannot be addressed to {member}");
        return Err(Failure::new(Kind::Recipient, words, "mend the member's address in the definition"));
    }
    Ok(format!("{}@{}", local_part(&member.local), member.domain))
}

fn local_part(local: &str) -> String {
    let atom = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let is_dotted = local.split('.').all(|word| !word.is_empty() && word.chars().all(atom));
    let inner = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if is_dotted || inner.is_some_and(is_quoted) {
        return local.to_owned();
    }
    let mut quoted = "\"".to_owned();
    for c in local.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Whether this may stand between quotation marks as it is.
fn is_quoted(inner: &str) -> bool {
    let mut escaped = false;
    for c in inner.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, '"') => return false,
            _ => escaped = false,
        }
    }
    !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_an_envelope_has_it() {
        let address = |local: &str, domain: &str| {
            recipient(&Member { local: local.to_owned(), domain: domain.to_owned() })
        };
        for (local, written) in [
            ("alice", "alice@b.example"),
            ("a.b+c", "a.b+c@b.example"),
            ("지원", "지원@b.example"),
            ("a b", "\"a b\"@b.example"),
            ("a..b", "\"a..b\"@b.example"),
            ("a>b", "\"a>b\"@b.example"),
            ("a\"b", "\"a\\\"b\"@b.example"),
            ("\"a b\"", "\"a b\"@b.example"),
            ("\"a\\\"", "\"\\\"a\\\\\\\"\"@b.example"),
            ("\"", "\"\\\"\"@b.example"),
        ] {
            assert_eq!(address(local, "b.example").unwrap(), written);
        }
        assert!(address("a", "[127.0.0.1]").is_ok());
        for domain in ["b> RCPT", "b c", "b>"] {
            assert_eq!(address("a", domain).unwrap_err().kind, Kind::Recipient);
        }
    }
}
