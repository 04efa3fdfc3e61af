//! Measuring in the worker.

use paligemma_browser::protocol::{CachePrecision, Event, LoadOptions, ProblemKind, Request};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::demo;
use crate::host::Desk;

impl Desk {
    fn bench(&self, id: u32, shape: Option<&str>) {
        let request = Request::Bench {
            id,
            name: "the demo".to_owned(),
            shape: shape.map(str::to_owned),
            cache: None,
        };
        self.host.receive(request, None, Vec::new());
    }
}

#[wasm_bindgen_test]
async fn a_model_is_measured_and_stays() {
    let desk = Desk::loaded().await;
    desk.bench(2, None);
    // Behind it, and stopped before its turn.
    desk.bench(3, None);
    desk.host
        .receive(Request::Cancel { id: 3 }, None, Vec::new());
    let Event::Measured { measured, .. } = desk.end_of(2).await else {
        panic!("{:?}", desk.of(2));
    };
    let stages = desk.of(2);
    let stages: Vec<([u32; 2], bool)> = stages
        .iter()
        .filter_map(|event| match event {
            Event::Measuring {
                part, answering, ..
            } => Some((*part, *answering)),
            _ => None,
        })
        .collect();
    // What suits the adapter comes first, and answers that nobody times come last.
    let expected: Vec<([u32; 2], bool)> = (0..10).map(|done| ([done, 10], done == 9)).collect();
    assert_eq!(stages, expected);
    for part in ["vision: ", "prefill: ", "decode at 300: ", "matvec"] {
        assert!(
            measured.kernels.contains(part),
            "{part} in {}",
            measured.kernels
        );
    }
    assert!(measured.text.contains(&measured.kernels));
    assert!(measured.text.contains("the demo") && measured.warning.is_none());
    assert!(
        measured
            .facts
            .iter()
            .any(|[name, value]| name == "browser" && value.contains('/'))
    );
    assert!(
        measured
            .lines
            .iter()
            .any(|line| line.name == "decode at 300")
    );
    let json: serde_json::Value = serde_json::from_str(&measured.json).unwrap();
    assert_eq!(json["model"]["name"], "the demo");
    assert_eq!(json["model"]["cache"], "f32");
    assert_eq!(desk.problem_of(3).await.kind, ProblemKind::Cancelled);

    // It can be measured again, so it is still there.
    desk.bench(4, None);
    desk.until(4, |event| matches!(event, Event::Measuring { .. }))
        .await;
    desk.host
        .receive(Request::Cancel { id: 4 }, None, Vec::new());
    assert_eq!(desk.problem_of(4).await.kind, ProblemKind::Cancelled);
}

#[wasm_bindgen_test]
async fn keys_and_values_are_kept_as_the_load_says() {
    let desk = Desk::new();
    let options = LoadOptions {
        cache: Some(CachePrecision::Int8),
        ..LoadOptions::default()
    };
    desk.load_with(1, "demo", options);
    let last = desk.end_of(1).await;
    assert!(matches!(last, Event::Ready { .. }), "{last:?}");
    let scene = demo::pigs();
    desk.picture(2, scene.png);
    let sample = scene.sample("answer en how many pigs are there?");
    desk.run(3, 2, &sample.prompt);
    assert_eq!(desk.answer_of(3).await.token_ids, sample.output_ids);
    desk.run(4, 2, "detect pig");
    let found = desk.answer_of(4).await.detections;
    assert_eq!(found.len(), 3, "{found:?}");
    desk.bench(5, None);
    let Event::Measured { measured, .. } = desk.end_of(5).await else {
        panic!("{:?}", desk.of(5));
    };
    let json: serde_json::Value = serde_json::from_str(&measured.json).unwrap();
    assert_eq!(json["model"]["cache"], "int8");
}

#[wasm_bindgen_test]
async fn what_is_not_there_is_not_measured() {
    let desk = Desk::new();
    desk.bench(1, None);
    assert_eq!(desk.problem_of(1).await.kind, ProblemKind::Checkpoint);
    desk.bench(2, Some("paligemma2-5b-224"));
    let problem = desk.problem_of(2).await;
    assert_eq!(problem.kind, ProblemKind::Checkpoint);
    assert!(problem.message.contains("paligemma2-5b-224"));
}
