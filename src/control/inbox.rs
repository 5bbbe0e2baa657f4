//! What a caller sent and the service has not had yet: one call at a time goes on. It refuses calls of methods
//! that do not exist, with parameters that do not fit, or without `more` where the answer is a stream: the
//! wire's crate would close the line without a word, where Varlink has an error for each of them.

use std::os::fd::OwnedFd;

use serde_json::{Map, Value, json};
use zlink::idl::{Interface, Type};
use zlink::varlink_service::DESCRIPTION;

use super::service::interface;

/// Methods that answer more than once; a test holds this list to `api`.
const STREAMS: [&str; 11] =
    ["Authorize", "Backup", "Check", "Find", "Finish", "Plan", "Poll", "Start", "Upload", "Verify", "Watch"];

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing: no call is complete.
    Nothing,
    /// So many octets of a call, with the descriptors that came along.
    Octets(usize, Vec<OwnedFd>),
    /// A call that is refused, and the answer; it is empty if the caller wants none.
    Refused(Vec<u8>),
}

/// The octets of calls, from the first that was not handed over.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    octets: Vec<u8>,
    files: Vec<OwnedFd>,
    /// The call that is being handed over, and how much of it went.
    going: Option<(Vec<u8>, usize)>,
}

impl Inbox {
    /// Takes what came.
    pub(super) fn take(&mut self, octets: &[u8], files: Vec<OwnedFd>) {
        self.octets.extend_from_slice(octets);
        self.files.extend(files);
    }

    /// Hands over as much of the next call as there is room for, never a piece of two.
    pub(super) fn next(&mut self, room: &mut [u8]) -> Next {
        if self.going.is_none() {
            let Some(end) = memchr::memchr(0, &self.octets) else { return Next::Nothing };
            let rest = self.octets.split_off(end + 1);
            let call = std::mem::replace(&mut self.octets, rest);
            if let Some(answer) = refusal(call.get(..end).unwrap_or_default()) {
                self.files.clear();
                return Next::Refused(answer);
            }
            self.going = Some((call, 0));
        }
        let Some((call, gone)) = &mut self.going else { return Next::Nothing };
        let rest = call.get(*gone..).unwrap_or_default();
        let count = rest.len().min(room.len());
        for (to, from) in room.iter_mut().zip(rest) {
            *to = *from;
        }
        *gone += count;
        if *gone == call.len() {
            self.going = None;
        }
        Next::Octets(count, std::mem::take(&mut self.files))
    }
}

/// What is answered to a call that does not go on; `None`: it goes on, also if it is no call at all.
fn refusal(call: &[u8]) -> Option<Vec<u8>> {
    let call: Map<String, Value> = serde_json::from_slice(call).ok()?;
    let (error, parameters) = objection(call.get("method")?.as_str()?, &call)?;
    if call.get("oneway") == Some(&Value::Bool(true)) {
        return Some(Vec::new());
    }
    let error = format!("org.varlink.service.{error}");
    let mut answer = json!({ "error": error, "parameters": parameters }).to_string().into_bytes();
    answer.push(0);
    Some(answer)
}

/// The error of `org.varlink.service` that a call deserves, and its parameters.
fn objection(method: &str, call: &Map<String, Value>) -> Option<(&'static str, Value)> {
    let unknown = || ("MethodNotFound", json!({ "method": method }));
    let Some((of, name)) = method.rsplit_once('.') else { return Some(unknown()) };
    let known: [&Interface<'_>; 2] = [interface(), DESCRIPTION];
    let Some(interface) = known.into_iter().find(|known| known.name().as_str() == of) else {
        return Some(("InterfaceNotFound", json!({ "interface": of })));
    };
    let Some(found) = interface.methods().find(|method| method.name().as_str() == name) else {
        return Some(unknown());
    };
    let none = Map::new();
    let invalid = |parameter: &str| Some(("InvalidParameter", json!({ "parameter": parameter })));
    let given = match call.get("parameters") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(given)) => given,
        Some(_) => return invalid("parameters"),
    };
    let misfit = found.inputs().find(|input| !fits(input.ty(), given.get(input.name().as_str())));
    if let Some(misfit) = misfit {
        return invalid(misfit.name().as_str());
    }
    let expected = of == super::api::INTERFACE && STREAMS.contains(&name);
    (expected && call.get("more") != Some(&Value::Bool(true))).then(|| ("ExpectedMore", json!({})))
}

/// Whether a value is of a type; no method has parameters of another one than these.
fn fits(kind: &Type<'_>, value: Option<&Value>) -> bool {
    match (kind, value) {
        (Type::Optional(_), None | Some(Value::Null)) => true,
        (Type::Optional(inner), value) => fits(inner.inner(), value),
        (Type::Array(inner), Some(Value::Array(all))) => {
            all.iter().all(|value| fits(inner.inner(), Some(value)))
        }
        (Type::Bool, Some(Value::Bool(_))) | (Type::String, Some(Value::String(_))) => true,
        (Type::Int, Some(Value::Number(number))) => number.is_i64(),
        (Type::Array(_) | Type::Bool | Type::String | Type::Int, _) => false,
        (_, value) => value.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_at_a_time() {
        let (mut inbox, mut room) = (Inbox::default(), [0; 64]);
        inbox.take(b"{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":{}}", Vec::new());
        assert!(matches!(inbox.next(&mut room), Next::Nothing));
        inbox.take(b"\0{\"method\":\"a.b.C\"}\0nonsense\0{\"met", Vec::new());
        assert!(matches!(inbox.next(&mut room), Next::Octets(57, _)));
        let Next::Refused(answer) = inbox.next(&mut room) else { panic!("it was not refused") };
        let expected =
            b"{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":\"a.b\"}}\0";
        assert_eq!(answer, expected);
        assert!(matches!(inbox.next(&mut room[..5]), Next::Octets(5, _)));
        assert!(
            matches!(inbox.next(&mut room), Next::Octets(4, _)),
            "what is no call is for the wire's crate"
        );
        assert!(matches!(inbox.next(&mut room), Next::Nothing));
    }

    #[test]
    fn every_stream_is_a_stream_of_the_interface() {
        let api = include_str!("api.rs");
        let after = api.split("\n    #[zlink(more)]\n").skip(1);
        let mut names: Vec<String> = after
            .map(|text| {
                let name = text.split_once("async fn ").unwrap().1.split('(').next().unwrap();
                let first = name[..1].to_uppercase();
                format!("{first}{}", &name[1..])
            })
            .collect();
        names.sort();
        assert_eq!(names, STREAMS);
        let methods: Vec<&str> = interface().methods().map(|method| method.name().as_str()).collect();
        assert!(STREAMS.iter().all(|name| methods.contains(name)), "{methods:?}");
    }
}
