//! HTTP/1.1 (RFC 9112) as far as the house needs it: a request over a connection that exists, and one request
//! served. hyper reads and writes. It refuses redirects, which it does not follow, and what is above a limit.

mod body;
mod line;
mod served;
mod wire;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Uri};
use zeroize::Zeroizing;

pub use body::{Body, Piece};
pub use line::{Line, exchange};
pub use served::serve_one;

/// A status and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body: it may hold a secret.
    pub body: Zeroizing<Vec<u8>>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

/// What is asked.
#[derive(Debug)]
pub struct Request(hyper::Request<Body>);

impl Request {
    /// A GET of `target`, a path with its query. `None`: `host` or `target` cannot stand in a request.
    pub fn get(host: &str, target: &str) -> Option<Request> {
        Request::new(Method::GET, host, target, Body::none())
    }

    /// A POST of `body` to `target`, otherwise as [`Request::get`].
    pub fn post(host: &str, target: &str, body: Body) -> Option<Request> {
        Request::new(Method::POST, host, target, body)
    }

    fn new(method: Method, host: &str, target: &str, body: Body) -> Option<Request> {
        let mut request = hyper::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target.parse::<Uri>().ok().filter(|_| target.starts_with('/'))?;
        let agent = concat!("mailhaul/", env!("CARGO_PKG_VERSION"));
        Request(request).with("host", host.as_bytes())?.with("user-agent", agent.as_bytes())
    }

    /// One more header field. It is never shown. `None`: `value` holds a control character.
    pub fn with(mut self, name: &'static str, value: &[u8]) -> Option<Request> {
        let mut value = HeaderValue::from_bytes(value).ok()?;
        value.set_sensitive(true);
        self.0.headers_mut().insert(HeaderName::from_static(name), value);
        Some(self)
    }
}

#[cfg(test)]
mod tests;
