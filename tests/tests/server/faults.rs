//! What a bad server answers: each fault as it looks to a client.

use std::time::Duration;

use paligemma_tests::server::{Content, Fault, Server, Stated, What, When};

use crate::{Reply, ask, some_bytes};

const SIZE: usize = 200_000;

/// A server with one file that has this fault.
fn server(when: When, what: What) -> Server {
    let server = Server::start();
    server.put("/m/a.bin", some_bytes(SIZE));
    server.fault(Fault::new("a.bin", when, what));
    server
}

fn get(server: &Server, range: &str) -> Reply {
    ask(&server.url("/m/a.bin"), "GET", &[range])
}

const REST: &str = "Range: bytes=1000-";

#[test]
fn a_cut_comes_after_exactly_so_many_bytes() {
    for after in [0, 1, 70_000] {
        let server = server(When::Nth(0), What::Cut(after));
        let cut = get(&server, REST);
        assert_eq!((cut.status, cut.hung), (206, false));
        assert_eq!(cut.header("content-length"), "199000");
        let end = 1000 + after as usize;
        assert_eq!(cut.body, some_bytes(SIZE)[1000..end]);
        assert_eq!(server.sent("a.bin"), after);
        // Only once.
        assert_eq!(get(&server, REST).body.len(), SIZE - 1000);
        assert_eq!(server.idle_faults().len(), 0);
    }
}

#[test]
fn a_cut_may_be_at_a_byte_of_the_file() {
    let server = server(When::Byte(150_000), What::Cut(5));
    assert_eq!(get(&server, "Range: bytes=0-99999").body.len(), 100_000);
    assert_eq!(server.idle_faults().len(), 1);
    assert_eq!(get(&server, "Range: bytes=100000-").body.len(), 50_005);
    assert_eq!(get(&server, "Range: bytes=100000-").body.len(), 100_000);
    assert_eq!(server.idle_faults().len(), 0);
    let struck: Vec<bool> = server
        .requests()
        .iter()
        .map(|request| request.struck)
        .collect();
    assert_eq!(struck, [false, true, false]);
}

#[test]
fn a_stall_does_not_end() {
    let server = server(When::Nth(0), What::Stall(70_000));
    let stalled = get(&server, REST);
    assert!(stalled.hung);
    assert_eq!(stalled.body.len(), 70_000);
}

#[test]
fn no_answer_at_all() {
    let silent = server(When::Nth(0), What::Silence);
    let silence = get(&silent, REST);
    assert!(silence.hung && silence.head.is_empty());
    let closed = server(When::Nth(0), What::NoAnswer);
    let nothing = get(&closed, REST);
    assert!(!nothing.hung && nothing.head.is_empty());
    assert_eq!(closed.requests()[0].status, 0);
    assert_eq!(get(&closed, REST).status, 206);
}

#[test]
fn a_truncated_body_says_so_or_not() {
    let truth = server(When::Nth(0), What::Truncated(10, Stated::Truth));
    let short = get(&truth, REST);
    assert_eq!(short.header("content-length"), "10");
    assert_eq!(short.header("content-range"), "bytes 1000-199999/200000");
    assert_eq!(short.body.len(), 10);
    let nothing = server(When::Nth(0), What::Truncated(10, Stated::Nothing));
    let short = get(&nothing, REST);
    assert_eq!(short.header("transfer-encoding"), "chunked");
    // Ten bytes, then the chunk that ends the body properly.
    assert!(short.body.starts_with(b"A\r\n"));
    assert!(short.body.ends_with(b"\r\n0\r\n\r\n"));
}

#[test]
fn ranges_that_were_not_asked_for() {
    let all = get(&server(When::Nth(0), What::Whole), REST);
    assert_eq!((all.status, all.body.len()), (200, SIZE));
    assert_eq!(all.header("content-range"), "");
    let other = get(
        &server(When::Nth(0), What::OtherRange(-10)),
        "Range: bytes=1000-1009",
    );
    assert_eq!(other.status, 206);
    assert_eq!(other.header("content-range"), "bytes 990-999/200000");
    assert_eq!(other.body, some_bytes(SIZE)[990..1000]);
}

#[test]
fn one_wrong_byte() {
    let server = server(When::From(0), What::Corrupt(70_000));
    let mut expected = some_bytes(SIZE);
    assert_eq!(
        get(&server, "Range: bytes=0-69999").body,
        expected[..70_000]
    );
    expected[70_000] ^= 0xff;
    assert_eq!(get(&server, "Range: bytes=0-").body, expected);
}

#[test]
fn another_file_from_some_request_on() {
    let other = Content::from(vec![7; SIZE]);
    let server = server(When::From(1), What::Version(other));
    let first = get(&server, "Range: bytes=0-9");
    for _ in 0..2 {
        let second = get(&server, "Range: bytes=10-19");
        assert_eq!(second.body, [7; 10]);
        assert_ne!(first.header("etag"), second.header("etag"));
        assert_ne!(
            first.header("last-modified"),
            second.header("last-modified")
        );
    }
}

#[test]
fn statuses() {
    let server = Server::start();
    server.put("/a.bin", "one");
    let wait = vec![("retry-after", "1".to_owned())];
    server.fault(Fault::new("a.bin", When::Nth(0), What::Status(429, wait)));
    // The second fault counts the requests that the first has left to it.
    server.fault(Fault::status("a.bin", When::Nth(0), 500).and_head());
    let url = server.url("/a.bin");
    let busy = ask(&url, "GET", &[]);
    assert_eq!((busy.status, busy.header("retry-after")), (429, "1"));
    assert_eq!(ask(&url, "HEAD", &[]).status, 500);
    assert_eq!(ask(&url, "HEAD", &[]).status, 200);
    server.fault(Fault::status("a.bin", When::From(0), 403));
    server.reset();
    assert_eq!(ask(&url, "GET", &[]).status, 200);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn elsewhere() {
    let elsewhere = Server::start();
    let server = server(When::From(0), What::Redirect(elsewhere.url("")));
    let sent_on = get(&server, REST);
    assert_eq!(sent_on.status, 302);
    assert_eq!(sent_on.header("location"), elsewhere.url("/m/a.bin"));
}

#[test]
fn a_transfer_can_be_stopped_in_its_middle() {
    let mut server = Server::start();
    server.put("/m/a.bin", some_bytes(SIZE));
    // Four pieces of 64 KiB: the last is sent a second and a half after the first.
    server.set_pause(Duration::from_millis(400));
    let url = server.url("/m/a.bin");
    let asking = std::thread::spawn(move || ask(&url, "GET", &[]));
    while server.sent("a.bin") == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.stop();
    let stopped = asking.join().unwrap();
    assert_eq!((stopped.status, stopped.hung), (200, false));
    assert!(stopped.body.len() < SIZE, "{}", stopped.body.len());
}
