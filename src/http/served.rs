//! One request, served: what a browser brings back to this machine.

use std::convert::Infallible;
use std::future::ready;

use hyper::header::{CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::Body;

/// Bytes of a request's head.
const LONGEST: usize = 16 << 10;

/// Reads one request and answers it with what `answer` says of its target: whether that is one that is waited for,
/// and a line of text. Whatever is no GET is none. What `answer` hands out is for the caller to keep.
pub async fn serve_one<S>(stream: S, answer: impl Fn(Option<&str>) -> (bool, &'static str))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let target = request.uri().path_and_query().map(|target| target.as_str());
        let (known, words) = answer(target.filter(|_| request.method() == Method::GET));
        let mut response = Response::new(Body::whole(Zeroizing::new(words.as_bytes().to_vec())));
        *response.status_mut() = if known { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        ready(Ok::<_, Infallible>(response))
    });
    let mut builder = Builder::new();
    builder.keep_alive(false).max_buf_size(LONGEST).title_case_headers(true);
    // A browser that has gone before the answer has brought all the same.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
