//! A server that comes back, or wants to be left alone: who is patient waits for it, and somebody
//! hears of that.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::future::{self, Either};
use gloo_timers::future::TimeoutFuture;
use paligemma_browser::http::{HttpFolder, Patience, Vigil};
use paligemma_browser::protocol::Waiting;
use paligemma_checkpoint::{Source, SourceError};
use wasm_bindgen_futures::spawn_local;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::server::{Server, file, folder, haste, hasty};

type Told = Rc<RefCell<Vec<Option<Waiting>>>>;

/// A folder that is waited for, after hasty attempts, and what is told of it.
fn waited_for() -> (HttpFolder, Rc<Vigil>, Told) {
    let told = Told::default();
    let vigil = Rc::new(Vigil::new({
        let told = Rc::clone(&told);
        move |waiting| told.borrow_mut().push(waiting)
    }));
    let patience = Patience {
        vigil: Some(Rc::clone(&vigil)),
        ..haste()
    };
    (folder().with_patience(patience), vigil, told)
}

/// Hurries as soon as something is waited for, so that no test takes minutes.
fn hurry_soon(vigil: &Rc<Vigil>, told: &Told) {
    let (vigil, told) = (Rc::clone(vigil), Rc::clone(told));
    spawn_local(async move {
        while Rc::strong_count(&vigil) > 1 {
            let pauses = matches!(told.borrow().last(), Some(Some(it)) if it.until_ms.is_some());
            if pauses {
                vigil.hurry();
            }
            TimeoutFuture::new(1).await;
        }
    });
}

#[wasm_bindgen_test]
async fn a_server_that_comes_back_is_read_on_from() {
    // A break after 300 bytes, and then nothing for twelve attempts.
    let server = Server::new(
        "if (gets > 1 && gets < 14) throw new TypeError('Failed to fetch'); \
         return streamed(206, contentRange, {from: a, to: b, cut: gets === 1 ? 300 : undefined});",
    );
    let (folder, vigil, told) = waited_for();
    hurry_soon(&vigil, &told);
    assert_eq!(folder.read("file", 0..1000).await, Ok(file(0..1000)));
    assert_eq!(server.matching("GET").last().unwrap(), "GET 300..1000");
    assert_eq!(folder.received(), 1000, "nothing comes twice");
    drop((folder, vigil));

    let told = told.borrow();
    assert_eq!(told.last(), Some(&None), "the end is told: {told:?}");
    let waits: Vec<&Waiting> = told.iter().flatten().collect();
    // Three hasty attempts after each pause: twelve are three pauses.
    let pauses = waits.iter().filter(|it| it.until_ms.is_some()).count();
    assert_eq!(pauses, 3, "{told:?}");
    for wait in waits {
        assert!(wait.reason.contains("Failed to fetch"), "{wait:?}");
        assert!(!wait.asked);
    }
}

#[wasm_bindgen_test]
async fn a_pause_that_a_server_asks_for_is_not_cut_short() {
    let server =
        Server::new("return new Response(null, {status: 429, headers: {'Retry-After': '60'}});");
    let (folder, vigil, told) = waited_for();
    let before = js_sys::Date::now();
    let read = Box::pin(folder.read("file", 0..9));
    let hurrying = Box::pin(async {
        while told.borrow().is_empty() {
            TimeoutFuture::new(1).await;
        }
        vigil.hurry();
        TimeoutFuture::new(100).await;
    });
    let Either::Right((_, read)) = future::select(read, hurrying).await else {
        panic!("it has not waited");
    };
    assert_eq!(server.count("GET"), 1);
    let wait = told.borrow()[0].clone().unwrap();
    assert!(wait.asked && wait.reason.contains("429"), "{wait:?}");
    let pause = wait.until_ms.unwrap() - before;
    assert!((60_000.0..70_000.0).contains(&pause), "{pause}");
    // Who has had enough drops it, and that is told.
    drop(read);
    assert_eq!(told.borrow().last(), Some(&None));
}

#[wasm_bindgen_test]
async fn nobody_waits_for_hours_nor_for_what_will_not_pass() {
    let later = |header: &str| {
        format!("return new Response(null, {{status: 503, headers: {{'Retry-After': {header}}}}});")
    };
    let in_two_hours = "new Date(Date.now() + 7200e3).toUTCString()";
    for header in ["'7200'", in_two_hours] {
        for patient in [true, false] {
            let server = Server::new(&later(header));
            let (waits, _vigil, told) = waited_for();
            let folder = if patient { waits } else { hasty() };
            match folder.read("file", 0..9).await {
                Err(error @ SourceError::Blocked { .. }) => {
                    let message = error.to_string();
                    for words in ["503", "pause of 7", "try again after", "in 2 hours"] {
                        assert!(message.contains(words), "{words}: {message}");
                    }
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(server.count("GET"), 1);
            assert!(told.borrow().is_empty());
        }
    }
    for status in [401, 403, 404, 416, 501] {
        let server = Server::new(&format!("return new Response(null, {{status: {status}}});"));
        let (folder, _vigil, told) = waited_for();
        assert!(folder.read("file", 0..9).await.is_err(), "{status}");
        assert_eq!(server.count("GET"), 1, "{status}");
        assert!(told.borrow().is_empty(), "{status}");
    }
}
