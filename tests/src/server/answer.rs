//! From a request to its answer, good or bad.

use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Response, header};
use hyper::body::Incoming;
use tower_http::services::ServeDir;

use super::fault::{Stated, Strike, What};
use super::hub::Wanted;
use super::sending::{Ending, Sending};
use super::state::{Asked, Cors, File, Request, State, parse_range};

/// What pages of other origins may read of a hub's answers.
const EXPOSED: &str = "Accept-Ranges, Content-Range, ETag, X-Repo-Commit, X-Linked-Size";

type Incomplete = axum::http::response::Builder;

/// Answers, or fails, which closes the connection.
pub(super) async fn answer(
    state: Arc<State>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let (method, asked, seen) = record(&state, &request);
    let answer = if method == Method::OPTIONS {
        Ok(bare(204))
    } else {
        respond(&state, request, &method, &seen, &asked).await
    };
    answer.map(|mut answer| {
        allow(&mut answer, state.cors(), &method);
        if state.is_isolated() {
            let headers = answer.headers_mut();
            let same = axum::http::HeaderValue::from_static("same-origin");
            headers.insert("cross-origin-opener-policy", same);
            let required = axum::http::HeaderValue::from_static("require-corp");
            headers.insert("cross-origin-embedder-policy", required);
        }
        asked.answered(answer.status().as_u16());
        answer
    })
}

fn record(state: &State, request: &hyper::Request<Incoming>) -> (Method, Arc<Asked>, Request) {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let seen = Request {
        method: request.method().to_string(),
        path: percent_encoding::percent_decode_str(request.uri().path())
            .decode_utf8_lossy()
            .into_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        status: 0,
        sent: 0,
        struck: false,
    };
    let asked = state.record(seen.clone());
    (request.method().clone(), asked, seen)
}

/// A file, found.
struct Found {
    file: File,
    commit: Option<String>,
}

async fn respond(
    state: &State,
    request: hyper::Request<Incoming>,
    method: &Method,
    seen: &Request,
    asked: &Asked,
) -> Result<Response<Body>, Error> {
    if method != Method::GET && method != Method::HEAD {
        return Ok(bare(405));
    }
    let head = method == Method::HEAD;
    let path = seen.path.as_str();
    let range = seen.range();
    let covers = |byte| {
        range.is_none_or(|(first, last)| first <= byte && last.is_none_or(|last| byte <= last))
    };
    let strike = state.strike(path, head, covers);
    if strike.is_some() {
        asked.struck();
    }
    match strike.as_ref().map(|strike| &strike.what) {
        Some(What::NoAnswer) => return Err(Error::from(ErrorKind::ConnectionAborted)),
        Some(What::Silence) => std::future::pending().await,
        Some(What::Status(status, headers)) => {
            let mut answer = Response::builder().status(*status);
            for (name, value) in headers {
                answer = answer.header(*name, value);
            }
            return Ok(answer.body(Body::empty()).unwrap());
        }
        Some(What::Redirect(base)) => return Ok(redirection(base, &request)),
        _ => {}
    }
    let mut commit = None;
    let mut file = state.file(path);
    for repository in state.repositories() {
        match repository.wants(path) {
            Some(Wanted::List) => {
                let list = repository.list(seen.query.contains("blobs=true"));
                let answer = Response::builder().header(header::CONTENT_TYPE, "application/json");
                return Ok(answer.body(Body::from(list.to_string())).unwrap());
            }
            Some(Wanted::File(name)) => {
                let given = seen.headers.get("authorization");
                let wanted = repository.token().map(|token| format!("Bearer {token}"));
                if wanted.is_some() && given != wanted.as_ref() {
                    // A token that is known but not let in would be 403; this hub knows one token.
                    return Ok(bare(401));
                }
                if let Some(base) = repository.elsewhere(name) {
                    return Ok(redirection(base, &request));
                }
                commit = Some(repository.commit().to_owned());
                let content = repository.content(name);
                file = content.map(|content| File {
                    content: content.clone(),
                    version: 0,
                });
            }
            None => {}
        }
    }
    match file {
        Some(file) => Ok(serve(
            state,
            Found { file, commit },
            head,
            seen,
            asked,
            strike,
        )),
        None => Ok(page(state, request).await),
    }
}

fn serve(
    state: &State,
    mut found: Found,
    head: bool,
    seen: &Request,
    asked: &Asked,
    strike: Option<Strike>,
) -> Response<Body> {
    let (what, from) = match strike {
        Some(strike) => (Some(strike.what), strike.from),
        None => (None, None),
    };
    if let Some(What::Version(content)) = &what {
        found.file = File {
            content: content.clone(),
            version: found.file.version + 1,
        };
    }
    let total = found.file.content.len();
    let asked_for = seen
        .headers
        .get("range")
        .and_then(|value| parse_range(value));
    let part = match (asked_for, &what) {
        (None, _) | (_, Some(What::Whole)) => None,
        (Some((first, _)), _) if first >= total => {
            let range = format!("bytes */{total}");
            let answer = Response::builder().status(416);
            let answer = answer.header(header::CONTENT_RANGE, range);
            return answer.body(Body::empty()).unwrap();
        }
        (Some((first, last)), _) => Some(first..last.map_or(total, |last| (last + 1).min(total))),
    };
    let part = match &what {
        Some(What::OtherRange(shift)) => part.map(|part| shifted(&part, *shift, total)),
        _ => part,
    };
    let (status, mut range) = match &part {
        Some(part) => (206, part.clone()),
        None => (200, 0..total),
    };
    let promised = range.end - range.start;
    // Where a place in the body counts from a byte of the file.
    let ahead = from.map_or(0, |byte| byte.saturating_sub(range.start));
    let mut length = Some(promised);
    let mut ending = Ending::Neat;
    match what {
        Some(What::Cut(after)) => {
            range.end = range.end.min(range.start + ahead + after);
            ending = Ending::Cut;
        }
        Some(What::Stall(after)) => {
            range.end = range.end.min(range.start + ahead + after);
            ending = Ending::Stall;
        }
        Some(What::Truncated(after, stated)) => {
            range.end = range.end.min(range.start + ahead + after);
            length = (stated == Stated::Truth).then_some(range.end - range.start);
        }
        _ => {}
    }
    let mut answer = described(Response::builder().status(status), &found, &seen.path);
    if let Some(part) = part {
        let given = format!("bytes {}-{}/{total}", part.start, part.end - 1);
        answer = answer.header(header::CONTENT_RANGE, given);
    }
    if let Some(length) = length {
        answer = answer.header(header::CONTENT_LENGTH, length);
    }
    if head {
        return answer.body(Body::empty()).unwrap();
    }
    let sending = Sending {
        content: found.file.content,
        range,
        corrupt: match what {
            Some(What::Corrupt(at)) => Some(at),
            _ => None,
        },
        ending,
        pause: state.pause(),
        sent: Arc::clone(&asked.sent),
    };
    answer.body(sending.into_body()).unwrap()
}

/// As long as before, elsewhere in the file.
fn shifted(part: &Range<u64>, shift: i64, total: u64) -> Range<u64> {
    let start = part.start.saturating_add_signed(shift).min(total - 1);
    start..(start + (part.end - part.start)).min(total)
}

fn described(answer: Incomplete, found: &Found, path: &str) -> Incomplete {
    let File { content, version } = &found.file;
    let kind = match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        _ => "application/octet-stream",
    };
    let answer = answer
        .header(header::CONTENT_TYPE, kind)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, format!("\"{version}-{:x}\"", content.len()))
        // The first of 2026 was a Thursday.
        .header(
            header::LAST_MODIFIED,
            format!("Thu, 01 Jan 2026 00:00:{:02} GMT", version % 60),
        );
    match &found.commit {
        Some(commit) => answer.header("X-Repo-Commit", commit),
        None => answer,
    }
}

fn redirection(base: &str, request: &hyper::Request<Incoming>) -> Response<Body> {
    let target = request.uri().path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let answer = Response::builder().status(302);
    answer
        .header(header::LOCATION, format!("{base}{target}"))
        .body(Body::empty())
        .unwrap()
}

/// A file of the built page.
async fn page(state: &State, request: hyper::Request<Incoming>) -> Response<Body> {
    let Some(folder) = state.pages() else {
        return bare(404);
    };
    match ServeDir::new(folder).try_call(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => bare(500),
    }
}

fn bare(status: u16) -> Response<Body> {
    let answer = Response::builder().status(status);
    answer.body(Body::empty()).unwrap()
}

fn allow(answer: &mut Response<Body>, cors: Cors, method: &Method) {
    if cors == Cors::Nothing {
        return;
    }
    let mut insert = |name: &'static str, value: &'static str| {
        let value = axum::http::HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    };
    insert("access-control-allow-origin", "*");
    if cors == Cors::Open {
        insert("access-control-expose-headers", EXPOSED);
    }
    if method == Method::OPTIONS {
        insert("access-control-allow-methods", "GET, HEAD");
        insert("access-control-allow-headers", "authorization, range");
        insert("access-control-max-age", "600");
    }
}
