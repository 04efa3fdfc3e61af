//! Answers as servers give them, and what is made of them.

use super::*;

const FILE: &str = "model.safetensors";

/// A head from `name: value` lines.
fn head(status: u16, headers: &[&str]) -> Head {
    let mut head = Head {
        status,
        ..Head::default()
    };
    for line in headers {
        let (name, value) = line.split_once(": ").unwrap();
        let field = match name {
            "type" => &mut head.content_type,
            "length" => &mut head.content_length,
            "range" => &mut head.content_range,
            "encoding" => &mut head.content_encoding,
            "retry" => &mut head.retry_after,
            _ => panic!("{name}"),
        };
        *field = Some(value.to_owned());
    }
    head
}

fn passing(status: u16) -> bool {
    let refusal = judge_read(&head(status, &[]), FILE, &Ask::exactly(&(0..1)));
    matches!(refusal, Err(Refusal::Passing { .. }))
}

#[test]
fn sizes_by_head() {
    let bytes = |n| Some(Size::Bytes(n));
    for (status, headers, expected) in [
        (200, &["length: 10"][..], bytes(10)),
        (200, &["length: 10", "type: application/json"], bytes(10)),
        (200, &["length: 10", "encoding: identity"], bytes(10)),
        (206, &["length: 1", "range: bytes 0-0/10"], bytes(10)),
        (404, &[], Some(Size::Missing)),
        (410, &["length: 10"], Some(Size::Missing)),
        (
            200,
            &["length: 10", "type: text/html; charset=utf-8"],
            Some(Size::Missing),
        ),
        (
            200,
            &["length: 10", "type:  Text/HTML"],
            Some(Size::Missing),
        ),
        // Not clear enough: another request decides.
        (200, &["length: 0"], None),
        (200, &["length: 10", "encoding: gzip"], None),
        (200, &["length: -1"], None),
        (200, &[], None),
        (206, &["length: 1"], None),
        (206, &["range: bytes 0-0/*"], None),
        (206, &["range: bytes 0-10/10"], None),
        (403, &[], None),
        (405, &[], None),
        (500, &[], None),
    ] {
        assert_eq!(
            judge_head(&head(status, headers), FILE),
            expected,
            "{status} {headers:?}"
        );
    }
}

#[test]
fn sizes_by_first_byte() {
    for (status, headers, expected) in [
        (
            206,
            &["range: bytes 0-0/10", "length: 1"][..],
            Some(Some(Size::Bytes(10))),
        ),
        (200, &["length: 10"], Some(Some(Size::Bytes(10)))),
        (200, &["length: 0"], Some(Some(Size::Bytes(0)))),
        (416, &["range: bytes */0"], Some(Some(Size::Bytes(0)))),
        (200, &["length: 4", "encoding: br"], Some(None)),
        (200, &[], Some(None)),
        (206, &["length: 1"], None),
        (206, &["range: bytes 0-0/*"], None),
        (416, &[], None),
        (403, &["length: 10"], None),
    ] {
        let judged = judge_size(&head(status, headers), FILE).ok();
        assert_eq!(judged, expected, "{status} {headers:?}");
    }
    assert_eq!(judge_size(&head(404, &[]), FILE), Err(Refusal::Missing));
    assert_eq!(
        judge_size(&head(200, &["type: text/html"]), FILE),
        Err(Refusal::Missing)
    );
}

#[test]
fn pages_may_be_pages() {
    let page = head(200, &["type: text/html", "length: 3"]);
    assert_eq!(judge_head(&page, "licence.html"), Some(Size::Bytes(3)));
    assert_eq!(
        judge_read(&page, "licence.html", &Ask::exactly(&(0..3))),
        Ok(Plan::Whole)
    );
}

#[test]
fn reads() {
    let ask = Ask::exactly(&(100..200));
    for (status, headers, expected) in [
        (
            206,
            &["range: bytes 100-199/1000"][..],
            Some(Plan::Part(Some(200))),
        ),
        (
            206,
            &["range: bytes 100-199/*"],
            Some(Plan::Part(Some(200))),
        ),
        (
            206,
            &["range: Bytes 100-199/200"],
            Some(Plan::Part(Some(200))),
        ),
        (206, &[], Some(Plan::Part(Some(200)))),
        (200, &["length: 1000"], Some(Plan::Whole)),
        (200, &["encoding: gzip"], Some(Plan::Whole)),
        (206, &["range: bytes 0-99/1000"], None),
        (206, &["range: bytes 100-198/1000"], None),
        (206, &["range: bytes 100-200/1000"], None),
        (206, &["range: bytes 100-199/150"], None),
        (206, &["range: bytes */1000"], None),
        (206, &["range: bytes 199-100/1000"], None),
        (206, &["range: bytes 100-99999999999999999999/*"], None),
        (206, &["range: bytes -18446744073709551615/*"], None),
        (206, &["range: items 100-199/1000"], None),
        (206, &["range: nonsense"], None),
        (206, &["range: bytes 100-199/1000", "encoding: gzip"], None),
        (206, &["type: multipart/byteranges; boundary=x"], None),
        (204, &[], None),
        (304, &[], None),
        (416, &["range: bytes */150"], None),
    ] {
        let judged = judge_read(&head(status, headers), FILE, &ask);
        match expected {
            Some(plan) => assert_eq!(judged, Ok(plan), "{status} {headers:?}"),
            None => {
                assert!(
                    matches!(judged, Err(Refusal::Final(_))),
                    "{status} {headers:?}"
                );
            }
        }
    }
    let page = head(200, &["type: text/html"]);
    assert_eq!(judge_read(&page, FILE, &ask), Err(Refusal::Missing));
    assert_eq!(
        judge_read(&head(404, &[]), FILE, &ask),
        Err(Refusal::Missing)
    );
}

#[test]
fn only_what_may_pass_is_tried_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        assert!(passing(status), "{status}");
    }
    for status in [
        200, 206, 301, 400, 401, 403, 404, 405, 410, 416, 451, 501, 505,
    ] {
        assert!(!passing(status), "{status}");
    }
}

#[test]
fn the_servers_own_pause_is_heeded() {
    let busy =
        |headers: &[&str]| match judge_read(&head(429, headers), FILE, &Ask::exactly(&(0..1))) {
            Err(Refusal::Passing { retry_after_ms, .. }) => retry_after_ms,
            other => panic!("{other:?}"),
        };
    assert_eq!(busy(&["retry: 2"]), Some(2000));
    assert_eq!(busy(&["retry: 4294967295"]), Some(u32::MAX));
    assert_eq!(busy(&["retry: Wed, 21 Oct 2015 07:28:00 GMT"]), None);
    assert_eq!(busy(&[]), None);
}

#[test]
fn a_stretch_may_end_early_but_not_begin_elsewhere() {
    let to = |end| Ask {
        start: 100,
        end,
        open: true,
    };
    for (range, end, expected) in [
        ("bytes 100-199/200", Some(200), Some(200)),
        ("bytes 100-149/200", Some(200), Some(150)),
        ("bytes 100-149/200", None, Some(150)),
        ("bytes 100-199/*", None, Some(200)),
        ("bytes 100-200/201", Some(200), None),
        ("bytes 99-199/200", Some(200), None),
        ("bytes 0-199/200", None, None),
    ] {
        let head = head(206, &[&format!("range: {range}")]);
        let judged = judge_read(&head, FILE, &to(end)).ok();
        let expected = expected.map(|end| Plan::Part(Some(end)));
        assert_eq!(judged, expected, "{range} {end:?}");
    }
    assert_eq!(to(None).header(), "bytes=100-");
    assert_eq!(to(Some(200)).header(), "bytes=100-199");
}

#[test]
fn who_is_denied_is_told_where_to_ask() {
    for status in [401, 403] {
        let denied = judge_read(&head(status, &[]), FILE, &Ask::exactly(&(0..1)));
        assert_eq!(denied, Err(Refusal::Denied(status)));
        let page = "https://hub.example/a/b";
        for token in [false, true] {
            let (reason, remedy) = explain_denied(status, Some(page), token);
            assert!(reason.contains(&status.to_string()), "{reason}");
            for word in ["gated", "licence", page, "signed in", "paste", "permission"] {
                let without = token && ["signed in", "paste"].contains(&word);
                assert_eq!(remedy.contains(word), !without, "{word}: {remedy}");
            }
        }
        let (_, remedy) = explain_denied(status, None, false);
        assert!(!remedy.contains("token"), "{remedy}");
    }
}

#[test]
fn a_long_pause_is_told_with_its_end() {
    let at = |hours: u32, minutes: u32| hours * 60 + minutes;
    for (now, pause_ms, expected) in [
        (at(9, 5), 600_000, "09:15, in 10 minutes"),
        (at(23, 59), 3_600_000, "00:59, in 60 minutes"),
        (at(0, 0), 360_001, "00:07, in 7 minutes"),
        (at(12, 0), 8 * 3_600_000, "20:00, in 8 hours"),
        (at(12, 0), u32::MAX, "in 1194 hours"),
    ] {
        let remedy = explain_pause(now, pause_ms);
        assert!(remedy.contains(expected), "{remedy}");
        assert!(remedy.contains("stays"), "{remedy}");
    }
}
