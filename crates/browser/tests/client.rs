//! The page's half of the protocol, against workers that play a script.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used)] // A test fails by panicking.

use std::cell::RefCell;
use std::rc::Rc;

use gloo_timers::future::TimeoutFuture;
use js_sys::{Array, ArrayBuffer};
use paligemma_browser::client::Client;
use paligemma_browser::message::Files;
use paligemma_browser::protocol::{
    CachePrecision, Event, PROTOCOL_VERSION, Problem, ProblemKind, Tuned, Wanted,
};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::{Blob, BlobPropertyBag, BroadcastChannel, MessageEvent, Url};

wasm_bindgen_test_configure!(run_in_browser);

/// The address of a worker with this script.
fn worker(script: &str) -> String {
    let kind = BlobPropertyBag::new();
    kind.set_type("text/javascript");
    let parts = Array::of1(&JsValue::from_str(script));
    let blob = Blob::new_with_str_sequence_and_options(&parts, &kind).unwrap();
    Url::create_object_url_with_blob(&blob).unwrap()
}

/// A worker that says it has started, and then `reply` for each message `m`.
fn replying(reply: &str) -> String {
    worker(&format!(
        "onmessage = ({{data: m}}) => {{ {reply} }};
         postMessage({{type: 'started', protocol: {PROTOCOL_VERSION}}});"
    ))
}

/// What a callback has heard.
struct Heard<T>(Rc<RefCell<Vec<T>>>);

impl<T: Clone + 'static> Heard<T> {
    fn new() -> Self {
        Self(Rc::default())
    }

    fn listener(&self) -> impl FnMut(T) + use<T> {
        let heard = Rc::clone(&self.0);
        move |value| heard.borrow_mut().push(value)
    }

    fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// Waits until there are this many.
    async fn wait(&self, count: usize) -> Vec<T> {
        for _ in 0..2000 {
            if self.0.borrow().len() >= count {
                return self.all();
            }
            TimeoutFuture::new(5).await;
        }
        panic!("only {} of {count} were heard", self.0.borrow().len());
    }
}

/// Time for a message that should not come.
async fn quiet() {
    TimeoutFuture::new(150).await;
}

fn failed(event: &Event) -> Problem {
    match event {
        Event::Failed { problem, .. } => problem.clone(),
        other => panic!("{other:?}"),
    }
}

#[wasm_bindgen_test]
async fn each_request_hears_its_own_events_until_the_last() {
    let client = Client::start(&replying(
        "const {id, picture} = m;
         if (m.type === 'picture') postMessage({type: 'picture', id, width: 3, height: 2});
         if (m.type !== 'run') return;
         postMessage({type: 'encoding-image', id});
         postMessage({type: 'prefill', id, tokens: m.pictures.length});
         postMessage({type: 'failed', id, problem: {kind: 'prompt', message: m.prompt}});
         postMessage({type: 'prefill', id, tokens: 99});
         postMessage({type: 'prefill', id: 4711, tokens: 98});",
    ))
    .unwrap();
    let (shown, first, second) = (Heard::new(), Heard::new(), Heard::new());
    let picture = client.picture(ArrayBuffer::new(8), shown.listener());
    let a = client.run(&[&picture], "one", 5, first.listener());
    let b = client.run(&[&picture, &picture], "two", 5, second.listener());
    assert_ne!(a, b);
    second.wait(3).await;
    quiet().await;

    match shown.all().as_slice() {
        [
            Event::Picture {
                width: 3,
                height: 2,
                ..
            },
        ] => {}
        other => panic!("{other:?}"),
    }
    for (id, heard, tokens, prompt) in [(a, first, 1, "one"), (b, second, 2, "two")] {
        let heard = heard.all();
        assert_eq!(heard.len(), 3, "{heard:?}");
        assert!(
            heard.iter().all(|event| event.id() == Some(id)),
            "{heard:?}"
        );
        assert_eq!(heard[0], Event::EncodingImage { id });
        assert_eq!(heard[1], Event::Prefill { id, tokens });
        assert_eq!(failed(&heard[2]).message, prompt);
    }
}

#[wasm_bindgen_test]
async fn requests_wait_in_order_for_the_worker() {
    // Like a module that awaits its WebAssembly, this one misses what is sent too early.
    let client = Client::start(&worker(&format!(
        "await new Promise(done => setTimeout(done, 300));
         let order = '';
         onmessage = ({{data: m}}) => {{
           order += m.type + ' ';
           if (m.type !== 'run') return;
           postMessage({{type: 'failed', id: m.id, problem: {{kind: 'prompt', message: order}}}});
         }};
         postMessage({{type: 'started', protocol: {PROTOCOL_VERSION}}});"
    )))
    .unwrap();
    let heard = Heard::new();
    client.load(Wanted::folder("model"), &Files::new(), |_| ());
    let picture = client.picture(ArrayBuffer::new(1), |_| ());
    client.cancel(17);
    client.run(&[&picture], "now", 1, heard.listener());
    let heard = heard.wait(1).await;
    assert_eq!(failed(&heard[0]).message, "load picture cancel run ");
}

#[wasm_bindgen_test]
async fn a_folder_is_relative_to_the_page() {
    let client = Client::start(&replying(
        "postMessage({type: 'failed', id: m.id, problem: {kind: 'network', message: m.wanted.source.url}});",
    ))
    .unwrap();
    let heard = Heard::new();
    client.load(
        Wanted::folder("demo/model/"),
        &Files::new(),
        heard.listener(),
    );
    client.load(
        Wanted::folder("https://models.example/a b"),
        &Files::new(),
        heard.listener(),
    );
    let folders: Vec<String> = heard
        .wait(2)
        .await
        .iter()
        .map(|e| failed(e).message)
        .collect();
    let page = web_sys::window().unwrap().location().origin().unwrap();
    assert_eq!(
        folders,
        [
            format!("{page}/demo/model/"),
            "https://models.example/a%20b".to_owned()
        ]
    );
}

#[wasm_bindgen_test]
async fn every_load_says_how() {
    let client = Client::start(&replying(
        "const message = JSON.stringify((m.type === 'bench' ? m.cache : m.options) ?? null);
         postMessage({type: 'failed', id: m.id, problem: {kind: 'network', message}});",
    ))
    .unwrap();
    let heard = Heard::new();
    client.load(Wanted::folder("a"), &Files::new(), heard.listener());
    client.bench("", None, heard.listener());
    client.know(vec![Tuned {
        adapter: "a".to_owned(),
        browser: "b".to_owned(),
        variants: "c".to_owned(),
    }]);
    client.keep_cache_as(Some(CachePrecision::Int8));
    client.load(Wanted::folder("a"), &Files::new(), heard.listener());
    client.load_kept("0a", heard.listener());
    client.bench("", None, heard.listener());
    let heard: Vec<String> = heard
        .wait(5)
        .await
        .iter()
        .map(|e| failed(e).message)
        .collect();
    let how = r#"{"tuned":[{"adapter":"a","browser":"b","variants":"c"}],"cache":"int8"}"#;
    assert_eq!(heard, [r#"{"tuned":[]}"#, "null", how, how, r#""int8""#]);
}

#[wasm_bindgen_test]
async fn a_pictures_bytes_are_handed_over_and_dropped_with_its_handle() {
    let client = Client::start(&replying(
        "if (m.type === 'picture') {
           postMessage({type: 'picture', id: m.id, width: m.bytes.byteLength, height: m.picture});
         }
         if (m.type === 'drop-picture') self.dropped = m.picture;
         if (m.type === 'load') {
           const message = String(self.dropped);
           postMessage({type: 'failed', id: m.id, problem: {kind: 'network', message}});
         }",
    ))
    .unwrap();
    let heard = Heard::new();
    let bytes = ArrayBuffer::new(1234);
    let picture = client.picture(bytes.clone(), heard.listener());
    let name = picture.name();
    match heard.wait(1).await.as_slice() {
        [
            Event::Picture {
                width: 1234,
                height,
                ..
            },
        ] => assert_eq!(*height, name),
        other => panic!("{other:?}"),
    }
    assert_eq!(bytes.byte_length(), 0, "it was transferred");

    let dropped = Heard::new();
    client.load(Wanted::folder("a"), &Files::new(), dropped.listener());
    drop(picture);
    client.load(Wanted::folder("b"), &Files::new(), dropped.listener());
    let dropped: Vec<String> = dropped
        .wait(2)
        .await
        .iter()
        .map(|e| failed(e).message)
        .collect();
    assert_eq!(dropped, ["undefined".to_owned(), name.to_string()]);
}

#[wasm_bindgen_test]
async fn bytes_that_cannot_be_handed_over_fail_their_request_only() {
    let client = Client::start(&replying(
        "if (m.type === 'picture') postMessage({type: 'picture', id: m.id, width: 1, height: 1});",
    ))
    .unwrap();
    let problems = Heard::new();
    client.on_worker_problem(problems.listener());
    // Once before the worker listens, once after; the second use of a buffer finds it gone.
    for _ in 0..2 {
        let heard = Heard::new();
        let bytes = ArrayBuffer::new(1);
        let _first = client.picture(bytes.clone(), heard.listener());
        let _second = client.picture(bytes, heard.listener());
        let heard = heard.wait(2).await;
        let kinds = heard.iter().filter_map(|event| match event {
            Event::Failed { problem, .. } => Some(problem.kind),
            _ => None,
        });
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            [ProblemKind::Internal],
            "{heard:?}"
        );
    }
    assert!(problems.all().is_empty());
}

/// Starts a worker, asks it something, and returns what its end is said to be.
async fn end_of(url: &str) -> Problem {
    let client = Client::start(url).unwrap();
    let (problems, first, second, late) = (Heard::new(), Heard::new(), Heard::new(), Heard::new());
    client.on_worker_problem(problems.listener());
    client.load(Wanted::folder("a"), &Files::new(), first.listener());
    client.load(Wanted::folder("b"), &Files::new(), second.listener());
    let problem = problems.wait(1).await[0].clone();
    assert_eq!(failed(&first.all()[0]), problem);
    assert_eq!(failed(&second.all()[0]), problem);

    // Whoever asks a dead worker hears the same, but not while asking.
    client.load(Wanted::folder("c"), &Files::new(), late.listener());
    assert!(late.all().is_empty());
    assert_eq!(failed(&late.wait(1).await[0]), problem);
    client.on_worker_problem(late_problem(&problem));
    assert_eq!(problems.all().len(), 1);
    problem
}

fn late_problem(expected: &Problem) -> impl FnMut(Problem) + use<> {
    let expected = expected.clone();
    move |problem| assert_eq!(problem, expected)
}

#[wasm_bindgen_test]
async fn a_worker_that_cannot_be_fetched_is_a_problem() {
    let problem = end_of("/there-is-no-such-worker.js").await;
    assert_eq!(problem.kind, ProblemKind::Worker);
    assert!(
        problem.message.contains("/there-is-no-such-worker.js"),
        "{}",
        problem.message
    );
}

#[wasm_bindgen_test]
async fn a_worker_that_fails_to_start_is_a_problem() {
    let problem = end_of(&worker("throw new Error('out of luck')")).await;
    assert_eq!(problem.kind, ProblemKind::Worker);
    assert!(
        problem.message.contains("out of luck"),
        "{}",
        problem.message
    );
}

/// As Trunk's loader does it, which awaits the start of the WebAssembly module.
#[wasm_bindgen_test]
async fn a_worker_that_fails_to_start_later_is_a_problem() {
    let problem = end_of(&worker(
        "await new Promise((_, no) => setTimeout(() => no(new Error('no module')), 50));",
    ))
    .await;
    assert_eq!(problem.kind, ProblemKind::Worker);
    assert!(problem.message.contains("no module"), "{}", problem.message);
}

#[wasm_bindgen_test]
async fn a_worker_that_dies_is_a_problem() {
    let problem = end_of(&replying(
        "queueMicrotask(() => { throw new Error('unreachable') })",
    ))
    .await;
    assert_eq!(problem.kind, ProblemKind::Worker);
    assert!(
        problem.message.contains("unreachable"),
        "{}",
        problem.message
    );
}

#[wasm_bindgen_test]
async fn a_worker_of_another_version_is_a_problem() {
    let problem = end_of(&worker("postMessage({type: 'started', protocol: 4711})")).await;
    assert_eq!(problem.kind, ProblemKind::Worker);
    assert!(problem.message.contains("4711"), "{}", problem.message);
}

#[wasm_bindgen_test]
async fn a_worker_that_speaks_otherwise_is_a_problem() {
    for message in [
        "'hello'",
        "{type: 'dance', id: 1}",
        "{type: 'prefill', id: 1}",
        "null",
    ] {
        let problem = end_of(&replying(&format!("postMessage({message})"))).await;
        assert_eq!(problem.kind, ProblemKind::Internal, "{message}");
    }
}

#[wasm_bindgen_test]
async fn a_callback_may_use_and_drop_the_client() {
    let url = replying(
        "postMessage({type: 'failed', id: m.id, problem: {kind: 'network', message: m.wanted.source.url}});",
    );
    let slot = Rc::new(RefCell::new(Some(Client::start(&url).unwrap())));
    let heard = Heard::new();
    let mut last = heard.listener();
    let again = {
        let slot = Rc::clone(&slot);
        move |event: Event| {
            let client = slot.borrow_mut().take().unwrap();
            client.load(
                Wanted::folder(&failed(&event).message),
                &Files::new(),
                |_| (),
            );
            last(event);
        }
    };
    let client = slot.borrow().clone().unwrap();
    client.load(Wanted::folder("a"), &Files::new(), again);
    drop(client);
    heard.wait(1).await;
    assert!(slot.borrow().is_none());
}

#[wasm_bindgen_test]
async fn the_worker_ends_with_the_last_clone() {
    let channel = BroadcastChannel::new("heartbeat").unwrap();
    let beats = Heard::new();
    let mut beat = beats.listener();
    let listener = Closure::<dyn FnMut(MessageEvent)>::new(move |_| beat(()));
    channel.set_onmessage(Some(listener.as_ref().unchecked_ref()));

    let client = Client::start(&worker(
        "const channel = new BroadcastChannel('heartbeat');
         setInterval(() => channel.postMessage(1), 10);",
    ))
    .unwrap();
    let clone = client.clone();
    beats.wait(3).await;
    drop(client);
    let alive = beats.all().len();
    beats.wait(alive + 5).await;
    drop(clone);
    quiet().await;
    let ended = beats.all().len();
    quiet().await;
    assert_eq!(beats.all().len(), ended);
}
