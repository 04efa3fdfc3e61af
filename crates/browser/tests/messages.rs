//! Every message survives the way through JavaScript, and what is not a message is refused.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used)] // A test fails by panicking.

use js_sys::{ArrayBuffer, JSON};
use paligemma_browser::message;
use paligemma_browser::protocol::{
    AdapterInfo, Answer, AttentionMap, Bytes, CachePrecision, Detection, Event, Generation,
    LoadOptions, Look, Mask, Measured, MeasuredLine, ModelInfo, ModelSource, PictureHeat, Problem,
    ProblemKind, Request, Stopped, Timings, Tuned, Wanted,
};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

const KINDS: [ProblemKind; 11] = [
    ProblemKind::InsecureContext,
    ProblemKind::NoWebGpu,
    ProblemKind::NoAdapter,
    ProblemKind::LimitsTooSmall,
    ProblemKind::DeviceLost,
    ProblemKind::Picture,
    ProblemKind::Network,
    ProblemKind::Checkpoint,
    ProblemKind::Prompt,
    ProblemKind::Worker,
    ProblemKind::Internal,
];

fn parse(json: &str) -> JsValue {
    JSON::parse(json).unwrap()
}

/// What `postMessage` makes of a value.
fn clone(value: &JsValue) -> JsValue {
    let clone = js_sys::Function::new_with_args("value", "return structuredClone(value)");
    clone.call1(&JsValue::UNDEFINED, value).unwrap()
}

fn requests() -> Vec<Request> {
    vec![
        Request::Load {
            id: 1,
            wanted: Wanted::folder("https://a.b/ü/"),
            options: LoadOptions::default(),
        },
        Request::LoadKept {
            id: 10,
            key: "0a".to_owned(),
            options: LoadOptions {
                tuned: vec![tuned(), tuned()],
                cache: Some(CachePrecision::Int8),
            },
        },
        Request::Picture {
            id: u32::MAX,
            picture: 0,
        },
        Request::MaskDecoder {
            id: 9,
            name: "vae-oid.npz".to_owned(),
        },
        Request::DropPicture { picture: 7 },
        Request::Run {
            id: 2,
            pictures: vec![7, 8],
            prompt: "detect cat ; dog\n<image>".to_owned(),
            max_new_tokens: 256,
            generation: Generation {
                temperature: Some(0.5),
                top_k: Some(u32::MAX),
                top_p: Some(1.0),
                seed: Some(u64::MAX),
                repetition_penalty: Some(1.25),
                best_of: Some(1),
                num_beams: Some(u32::MAX),
                stop_ids: vec![0, 257_151],
                constrained: true,
                dedupe: Some(0.5),
            },
        },
        Request::Run {
            id: 3,
            pictures: vec![],
            prompt: String::new(),
            max_new_tokens: 0,
            generation: Generation::default(),
        },
        Request::Load {
            id: 4,
            wanted: Wanted {
                adapter: Some(ModelSource::Files),
                ..Wanted::folder("x")
            },
            options: LoadOptions {
                tuned: vec![tuned()],
                cache: Some(CachePrecision::F16),
            },
        },
        Request::Mask {
            id: 5,
            prompt: "<img> detect cat".to_owned(),
            suffix: "<loc0001>".to_owned(),
        },
        Request::Attention {
            id: 6,
            pictures: vec![1, 2],
            look: Look {
                prompt: "detect cat".to_owned(),
                token_ids: vec![7, 257_151],
                token: 1,
                layer: None,
                head: Some(3),
            },
        },
        Request::Bench {
            id: 7,
            name: "the demo".to_owned(),
            shape: None,
            cache: None,
        },
        Request::Bench {
            id: 8,
            name: String::new(),
            shape: Some("paligemma2-3b-224".to_owned()),
            cache: Some(CachePrecision::F32),
        },
        Request::Cancel { id: 2 },
    ]
}

fn tuned() -> Tuned {
    Tuned {
        adapter: "a GPU | ü".to_owned(),
        browser: "Mozilla/5.0".to_owned(),
        variants: "tiled lanes=32".to_owned(),
    }
}

fn detections() -> Vec<Detection> {
    vec![
        Detection {
            label: "cat".to_owned(),
            bbox: [0.0, 1.5, 100.25, 3e7],
            score: Some(0.25),
        },
        Detection {
            label: String::new(),
            bbox: [1.0, 2.0, 3.0, 4.0],
            score: None,
        },
    ]
}

fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Started { protocol: 1 },
        Event::Loading {
            id: 1,
            loaded_bytes: 0,
            total_bytes: 6_000_000_000,
        },
        Event::Ready {
            id: 1,
            model: ModelInfo {
                family: "PaliGemma 2".to_owned(),
                parameters: 3_032_242_416,
                bytes: 6_064_484_832,
                image_size: 224,
                gives_masks: true,
            },
            adapter: AdapterInfo {
                name: "a GPU".to_owned(),
                backend: "WebGPU".to_owned(),
                is_software: true,
                kernels: "tiled lanes=32 (measured)".to_owned(),
            },
            load_ms: 1234.5,
            tuned: Some(tuned()),
        },
        Event::Picture {
            id: 2,
            width: 640,
            height: 480,
        },
        Event::MaskDecoder { id: 9 },
        Event::Masks {
            id: 3,
            masks: vec![Mask {
                index: 1,
                area: [0, 7, 640, 65_535],
                png: Bytes((0..=255).collect()),
            }],
        },
        Event::Measuring {
            id: 7,
            stage: "tokens after 300".to_owned(),
            part: [2, 5],
            answering: true,
        },
        Event::Measured {
            id: 7,
            measured: Measured {
                facts: vec![["date".to_owned(), "today".to_owned()]],
                warning: None,
                lines: vec![MeasuredLine {
                    name: "decode at 300".to_owned(),
                    median: "5.0 tok/s".to_owned(),
                    least: String::new(),
                    most: String::new(),
                    note: "µs".to_owned(),
                }],
                kernels: "c\nd".to_owned(),
                text: "a\nb".to_owned(),
                json: "{}".to_owned(),
            },
            tuned: None,
        },
        Event::EncodingImage { id: 3 },
        Event::Prefill { id: 3, tokens: 260 },
        Event::Token {
            id: 3,
            text: "<loc0001> 猫".to_owned(),
            detections: detections(),
            count: 5,
        },
    ];
    for stopped in [Stopped::Eos, Stopped::Length, Stopped::Cancelled] {
        events.push(Event::Done {
            id: 3,
            answer: Answer {
                text: "a cat".to_owned(),
                token_ids: vec![0, 1, 257_151],
                logprobs: vec![-0.25, -0.5, -3.0, -0.125],
                stopped,
                detections: detections(),
                timings: Timings {
                    vision_ms: 0.0,
                    prefill_ms: 12.0,
                    decode_ms: 0.25,
                    tokens_per_second: f64::INFINITY,
                },
            },
        });
    }
    events.push(Event::Attention {
        id: 5,
        map: AttentionMap {
            tokens: vec!["<loc0001>".to_owned(), " 猫".to_owned()],
            layers: 26,
            heads: 8,
            side: 2,
            pictures: vec![PictureHeat {
                share: 0.25,
                heat: vec![0.0, 1.0, 0.5, 0.125],
            }],
        },
    });
    for kind in KINDS {
        let problem = Problem {
            kind,
            message: "It failed: try again.".to_owned(),
        };
        events.push(Event::Failed { id: 4, problem });
    }
    events
}

#[wasm_bindgen_test]
fn requests_survive() {
    for request in requests() {
        let value = clone(&message::to_js(&request).unwrap());
        assert_eq!(
            message::id(&value).filter(|_| request.id().is_some()),
            request.id()
        );
        assert_eq!(message::from_js::<Request>(value).unwrap(), request);
    }
}

#[wasm_bindgen_test]
fn a_load_that_does_not_say_how_is_as_usual() {
    let usual = Request::LoadKept {
        id: 1,
        key: "0a".to_owned(),
        options: LoadOptions::default(),
    };
    for json in [
        r#"{"type":"load-kept","id":1,"key":"0a"}"#,
        r#"{"type":"load-kept","id":1,"key":"0a","options":{}}"#,
        r#"{"type":"load-kept","id":1,"key":"0a","tuned":null}"#,
        r#"{"type":"load-kept","id":1,"key":"0a","tuned":{"adapter":"a","browser":"b","variants":"c"}}"#,
    ] {
        let request = message::from_js::<Request>(parse(json)).unwrap();
        assert_eq!(request, usual, "{json}");
    }
}

#[wasm_bindgen_test]
fn events_survive() {
    for event in events() {
        let value = clone(&message::to_js(&event).unwrap());
        assert_eq!(message::id(&value), event.id());
        assert_eq!(message::from_js::<Event>(value).unwrap(), event);
    }
}

#[wasm_bindgen_test]
fn messages_are_plain_objects() {
    let event = Event::Failed {
        id: 4,
        problem: Problem {
            kind: ProblemKind::NoWebGpu,
            message: "No.".to_owned(),
        },
    };
    let json = JSON::stringify(&message::to_js(&event).unwrap()).unwrap();
    assert_eq!(
        String::from(json),
        r#"{"type":"failed","id":4,"problem":{"kind":"no-web-gpu","message":"No."}}"#
    );
}

#[wasm_bindgen_test]
fn bytes_travel_beside_a_request() {
    let request = Request::Picture { id: 1, picture: 2 };
    let value = message::to_js(&request).unwrap();
    assert!(message::detach_bytes(&value).is_none());
    message::attach_bytes(&value, &ArrayBuffer::new(5)).unwrap();
    let value = clone(&value);
    assert_eq!(message::detach_bytes(&value).unwrap().byte_length(), 5);
    assert!(message::detach_bytes(&value).is_none());
    assert_eq!(message::from_js::<Request>(value).unwrap(), request);
}

#[wasm_bindgen_test]
fn what_is_not_a_message_is_a_problem() {
    for json in [
        "null",
        "1",
        r#""cancel""#,
        "[]",
        "{}",
        r#"{"type":"dance","id":1}"#,
        r#"{"type":"cancel"}"#,
        r#"{"type":"cancel","id":-1}"#,
        r#"{"type":"cancel","id":1.5}"#,
        r#"{"type":"cancel","id":4294967296}"#,
        r#"{"type":"cancel","id":"1"}"#,
        r#"{"type":"load","id":1}"#,
        r#"{"type":"load","id":1,"folder":["a"]}"#,
        r#"{"type":"load-kept","id":1,"key":"0a","options":{"cache":"int4"}}"#,
        r#"{"type":"load-kept","id":1,"key":"0a","options":{"tuned":[7]}}"#,
        r#"{"type":"run","id":1,"pictures":[{}],"prompt":"a","max_new_tokens":1}"#,
        r#"{"type":"run","id":1,"pictures":[],"prompt":"a","max_new_tokens":1,"generation":{"seed":-1}}"#,
        r#"{"type":"run","id":1,"pictures":[],"prompt":"a","max_new_tokens":1,"generation":{"seed":"-1"}}"#,
        r#"{"type":"run","id":1,"pictures":[],"prompt":"a","max_new_tokens":1,"generation":{"stop_ids":[-1]}}"#,
    ] {
        let problem = message::from_js::<Request>(parse(json)).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Internal, "{json}");
        assert!(
            problem.message.contains("reload the page"),
            "{}",
            problem.message
        );
    }
    for json in [
        "null",
        r#"{"type":"picture","id":1,"width":10}"#,
        r#"{"type":"failed","id":1,"problem":{"kind":"odd","message":"m"}}"#,
        r#"{"type":"token","id":1,"text":"t","detections":[{"label":"a","box":[1,2,3]}],"count":1}"#,
    ] {
        let problem = message::from_js::<Event>(parse(json)).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Internal, "{json}");
    }
    assert!(message::from_js::<Event>(JsValue::UNDEFINED).is_err());
}

#[wasm_bindgen_test]
fn an_id_is_found_where_there_is_one() {
    assert_eq!(message::id(&parse(r#"{"id":7,"type":"dance"}"#)), Some(7));
    for json in [
        "null",
        "{}",
        r#"{"id":"7"}"#,
        r#"{"id":-7}"#,
        r#"{"id":0.5}"#,
        r#"{"id":1e20}"#,
    ] {
        assert_eq!(message::id(&parse(json)), None, "{json}");
    }
}
