//! The worker's half of the protocol, with a real engine on the browser's WebGPU.

use std::cell::RefCell;
use std::rc::Rc;

use gloo_timers::future::TimeoutFuture;
use paligemma_browser::http::Patience;
use paligemma_browser::protocol::{
    Answer, AttentionMap, Event, Generation, LoadOptions, Look, ModelSource, Problem, ProblemKind,
    Request, Stopped, Wanted,
};
use paligemma_browser::worker::{Connect, Found, Host};
use paligemma_checkpoint::MemorySource;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::File;

use crate::demo;

/// A host whose events are kept. `demo` is the folder of the demo checkpoint, `empty` one without
/// files; others cannot be opened.
pub(crate) struct Desk {
    pub(crate) host: Host<Shelf>,
    events: Rc<RefCell<Vec<Event>>>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let events = Rc::new(RefCell::new(Vec::new()));
        let post = {
            let events = Rc::clone(&events);
            move |event| events.borrow_mut().push(event)
        };
        Self {
            host: Host::new(Shelf, post),
            events,
        }
    }

    pub(crate) async fn loaded() -> Self {
        let desk = Self::new();
        desk.load(1, "demo");
        let last = desk.end_of(1).await;
        assert!(matches!(last, Event::Ready { .. }), "{last:?}");
        desk
    }

    fn load(&self, id: u32, folder: &str) {
        self.load_with(id, folder, LoadOptions::default());
    }

    pub(crate) fn load_with(&self, id: u32, folder: &str, options: LoadOptions) {
        let request = Request::Load {
            id,
            wanted: Wanted::folder(folder),
            options,
        };
        self.host.receive(request, None, Vec::new());
    }

    pub(crate) fn picture(&self, id: u32, bytes: &[u8]) {
        self.host.receive(
            Request::Picture { id, picture: id },
            Some(bytes.to_vec()),
            Vec::new(),
        );
    }

    pub(crate) fn run(&self, id: u32, picture: u32, prompt: &str) {
        self.run_with(id, picture, prompt, Generation::default());
    }

    fn run_with(&self, id: u32, picture: u32, prompt: &str, generation: Generation) {
        let request = Request::Run {
            id,
            pictures: vec![picture],
            prompt: prompt.to_owned(),
            max_new_tokens: 128,
            generation,
        };
        self.host.receive(request, None, Vec::new());
    }

    pub(crate) fn of(&self, id: u32) -> Vec<Event> {
        let events = self.events.borrow();
        events
            .iter()
            .filter(|event| event.id() == Some(id))
            .cloned()
            .collect()
    }

    pub(crate) async fn until(&self, id: u32, done: impl Fn(&Event) -> bool) -> Event {
        loop {
            if let Some(event) = self.of(id).into_iter().find(&done) {
                return event;
            }
            TimeoutFuture::new(1).await;
        }
    }

    pub(crate) async fn end_of(&self, id: u32) -> Event {
        self.until(id, Event::is_terminal).await
    }

    pub(crate) async fn answer_of(&self, id: u32) -> Answer {
        match self.end_of(id).await {
            Event::Done { answer, .. } => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn problem_of(&self, id: u32) -> Problem {
        match self.end_of(id).await {
            Event::Failed { problem, .. } => problem,
            other => panic!("{other:?}"),
        }
    }

    async fn look(&self, id: u32, picture: u32, look: &Look) -> Result<AttentionMap, Problem> {
        let request = Request::Attention {
            id,
            pictures: vec![picture],
            look: look.clone(),
        };
        self.host.receive(request, None, Vec::new());
        match self.end_of(id).await {
            Event::Attention { map, .. } => Ok(map),
            Event::Failed { problem, .. } => Err(problem),
            other => panic!("{other:?}"),
        }
    }

    fn encodings(&self, id: u32) -> usize {
        self.of(id)
            .iter()
            .filter(|event| matches!(event, Event::EncodingImage { .. }))
            .count()
    }
}

pub(crate) struct Shelf;

impl Connect for Shelf {
    type Source = MemorySource;

    async fn connect(
        &self,
        wanted: &Wanted,
        _files: Vec<(String, File)>,
        _patience: Patience,
    ) -> Result<Found<MemorySource>, Problem> {
        let ModelSource::Url { url } = &wanted.source else {
            panic!("{wanted:?}");
        };
        match url.as_str() {
            "demo" => Ok(Found::anonymous(demo::model(), "demo")),
            "empty" => Ok(Found::anonymous(MemorySource::new(), "empty")),
            other => Err(Problem {
                kind: ProblemKind::Network,
                message: format!("{other} is not there"),
            }),
        }
    }

    fn received(_source: &MemorySource) -> u64 {
        0
    }
}

#[wasm_bindgen_test]
async fn loading_is_reported_to_its_end() {
    let desk = Desk::loaded().await;
    let events = desk.of(1);
    let (last, before) = events.split_last().unwrap();
    match last {
        Event::Ready {
            model,
            adapter,
            load_ms,
            ..
        } => {
            assert_eq!(model.family, "PaliGemma 2");
            assert_eq!(model.image_size, 112);
            assert_eq!(adapter.backend, "WebGPU");
            assert!(*load_ms > 0.0);
            // At most twenty a second, and one at either end.
            assert!(
                before.len() as f64 <= load_ms / 50.0 + 2.0,
                "{} {load_ms}",
                before.len()
            );
        }
        other => panic!("{other:?}"),
    }
    let mut so_far = 0;
    for event in before {
        let Event::Loading {
            loaded_bytes,
            total_bytes,
            ..
        } = event
        else {
            panic!("{event:?}")
        };
        assert!(so_far <= *loaded_bytes && loaded_bytes <= total_bytes);
        so_far = *loaded_bytes;
    }
    match before.last() {
        Some(Event::Loading {
            loaded_bytes,
            total_bytes,
            ..
        }) => {
            assert_eq!(loaded_bytes, total_bytes);
        }
        other => panic!("{other:?}"),
    }
}

#[wasm_bindgen_test]
async fn where_the_model_looked_is_told_by_layer_and_head() {
    let desk = Desk::loaded().await;
    let scene = demo::pigs();
    desk.picture(2, scene.png);
    desk.end_of(2).await;
    desk.run(3, 2, "detect pig");
    let answer = desk.answer_of(3).await;
    let mut look = Look {
        prompt: "detect pig".to_owned(),
        token_ids: answer.token_ids.clone(),
        token: 3,
        layer: None,
        head: None,
    };
    let mean = desk.look(4, 2, &look).await.unwrap();
    assert_eq!(mean.tokens.concat(), answer.text);
    assert_eq!((mean.side, mean.pictures.len()), (8, 1));
    let picture = &mean.pictures[0];
    assert_eq!(picture.heat.len(), 64);
    assert!(
        picture.share > 0.0 && picture.share <= 1.001,
        "{}",
        picture.share
    );
    let most = picture.heat.iter().copied().fold(0.0, f32::max);
    assert!((most - 1.0).abs() < 1e-6, "{most}");

    // The mean of all heads' shares is the mean's share.
    let mut sum = 0.0;
    for layer in 0..mean.layers {
        for head in 0..mean.heads {
            (look.layer, look.head) = (Some(layer), Some(head));
            let one = desk.look(5 + layer * mean.heads + head, 2, &look).await;
            sum += one.unwrap().pictures[0].share;
        }
    }
    let all = (mean.layers * mean.heads) as f32;
    assert!((sum / all - picture.share).abs() < 1e-5);

    look.layer = Some(mean.layers);
    let problem = desk.look(900, 2, &look).await.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Prompt);
    look.token = 9999;
    let problem = desk.look(901, 2, &look).await.unwrap_err();
    assert!(problem.message.contains("9999"), "{problem:?}");
    // The next run is as before.
    desk.run(902, 2, "detect pig");
    assert_eq!(desk.answer_of(902).await.token_ids, answer.token_ids);
}

#[wasm_bindgen_test]
async fn prompts_are_answered_and_a_picture_is_encoded_once() {
    let desk = Desk::loaded().await;
    let scene = demo::pigs();
    desk.picture(2, scene.png);
    assert_eq!(
        desk.end_of(2).await,
        Event::Picture {
            id: 2,
            width: 448,
            height: 448
        }
    );

    let sample = scene.sample("detect pig");
    desk.run(3, 2, &sample.prompt);
    let answer = desk.answer_of(3).await;
    assert_eq!(answer.token_ids, sample.output_ids);
    assert_eq!(answer.text, sample.text);
    assert_eq!(answer.stopped, Stopped::Eos);
    assert_eq!(answer.detections.len(), 3);
    assert!(
        answer
            .detections
            .iter()
            .all(|detection| detection.label == "pig")
    );
    assert!(answer.timings.vision_ms > 0.0 && answer.timings.prefill_ms > 0.0);

    let events = desk.of(3);
    assert_eq!(events.first(), Some(&Event::EncodingImage { id: 3 }));
    let tokens = sample.prompt_ids.len();
    assert_eq!(events.get(1), Some(&Event::Prefill { id: 3, tokens }));
    let counts: Vec<usize> = events
        .iter()
        .filter_map(|event| match event {
            Event::Token { count, .. } => Some(*count),
            _ => None,
        })
        .collect();
    assert_eq!(counts, (1..=sample.output_ids.len()).collect::<Vec<_>>());
    // A box is there with its fourth coordinate, before its label.
    let boxed = events.iter().find_map(|event| match event {
        Event::Token {
            count, detections, ..
        } if !detections.is_empty() => Some(*count),
        _ => None,
    });
    assert_eq!(boxed, Some(4));

    let sample = scene.sample("caption en");
    desk.run(4, 2, &sample.prompt);
    assert_eq!(desk.answer_of(4).await.token_ids, sample.output_ids);
    assert_eq!((desk.encodings(3), desk.encodings(4)), (1, 0));
}

#[wasm_bindgen_test]
async fn options_and_scores_travel() {
    let desk = Desk::loaded().await;
    let scene = demo::pigs();
    desk.picture(2, scene.png);
    let drawn = |temperature| Generation {
        temperature: Some(temperature),
        seed: Some(7),
        ..Generation::default()
    };
    desk.run_with(3, 2, "detect pig", drawn(3.0));
    desk.run_with(4, 2, "detect pig", drawn(3.0));
    let answers = [desk.answer_of(3).await, desk.answer_of(4).await];
    assert_eq!(answers[0].token_ids, answers[1].token_ids);
    desk.run(5, 2, "detect pig");
    let greedy = desk.answer_of(5).await;
    assert_ne!(answers[0].token_ids, greedy.token_ids);
    assert_eq!(greedy.detections.len(), 3);
    for detection in &greedy.detections {
        assert!(
            detection
                .score
                .is_some_and(|score| (0.3..=1.0).contains(&score))
        );
    }
    desk.run_with(6, 2, "detect pig", drawn(0.0));
    let problem = desk.problem_of(6).await;
    assert_eq!(problem.kind, ProblemKind::Prompt);
    assert!(
        problem.message.starts_with("temperature is 0"),
        "{}",
        problem.message
    );
    let constrained = Generation {
        constrained: true,
        ..Generation::default()
    };
    desk.run_with(7, 2, "detect pig", constrained.clone());
    assert_eq!(desk.answer_of(7).await.token_ids, greedy.token_ids);
    // The engine says what does not go together.
    let apart = Generation {
        num_beams: Some(2),
        ..constrained
    };
    desk.run_with(8, 2, "detect pig", apart);
    let problem = desk.problem_of(8).await;
    assert_eq!(problem.kind, ProblemKind::Prompt);
    assert!(
        problem.message.starts_with("num_beams does not go"),
        "{}",
        problem.message
    );
}

#[wasm_bindgen_test]
async fn a_run_is_cancelled_between_tokens() {
    let desk = Desk::loaded().await;
    let scene = demo::pigs();
    desk.picture(2, scene.png);
    let long = scene.sample("segment pig");
    desk.run(3, 2, &long.prompt);
    // The second waits for the first and is cancelled before its turn; the third is not.
    desk.run(4, 2, &long.prompt);
    let short = scene.sample("answer en how many pigs are there?");
    desk.run(5, 2, &short.prompt);

    desk.until(3, |event| matches!(event, Event::Token { count: 3.., .. }))
        .await;
    desk.host
        .receive(Request::Cancel { id: 4 }, None, Vec::new());
    desk.host
        .receive(Request::Cancel { id: 3 }, None, Vec::new());

    let answer = desk.answer_of(3).await;
    assert_eq!(answer.stopped, Stopped::Cancelled);
    assert!(answer.token_ids.len() < long.output_ids.len());
    assert!(long.output_ids.starts_with(&answer.token_ids));

    let answer = desk.answer_of(4).await;
    assert_eq!(
        (answer.stopped, answer.token_ids.len()),
        (Stopped::Cancelled, 0)
    );
    assert_eq!(desk.of(4).len(), 1, "a cancelled run does nothing");

    let answer = desk.answer_of(5).await;
    assert_eq!(
        (answer.stopped, answer.token_ids),
        (Stopped::Eos, short.output_ids)
    );

    // Of a run that has ended, and of one that never was.
    desk.host
        .receive(Request::Cancel { id: 3 }, None, Vec::new());
    desk.host
        .receive(Request::Cancel { id: 99 }, None, Vec::new());
    desk.run(6, 2, &long.prompt);
    assert_eq!(desk.answer_of(6).await.token_ids, long.output_ids);
}

#[wasm_bindgen_test]
async fn pictures_are_kept_until_dropped() {
    let desk = Desk::loaded().await;
    let scene = demo::pigs();
    desk.picture(2, scene.png);
    let sample = scene.sample("caption en");
    // The run has the picture, though its name is gone by the time it starts.
    desk.run(3, 2, &sample.prompt);
    desk.host
        .receive(Request::DropPicture { picture: 2 }, None, Vec::new());
    desk.run(4, 2, &sample.prompt);
    assert_eq!(desk.problem_of(4).await.kind, ProblemKind::Picture);
    assert_eq!(desk.answer_of(3).await.token_ids, sample.output_ids);

    desk.picture(5, b"not a picture");
    assert_eq!(desk.problem_of(5).await.kind, ProblemKind::Picture);
    desk.picture(6, &[]);
    assert_eq!(desk.problem_of(6).await.kind, ProblemKind::Picture);
    desk.host
        .receive(Request::Picture { id: 7, picture: 7 }, None, Vec::new());
    assert_eq!(desk.problem_of(7).await.kind, ProblemKind::Internal);
}

#[wasm_bindgen_test]
async fn without_a_model_nothing_is_answered() {
    let desk = Desk::new();
    let scene = demo::pigs();
    let sample = scene.sample("answer en is there a pig?");
    desk.picture(1, scene.png);
    desk.run(2, 1, &sample.prompt);
    let problem = desk.problem_of(2).await;
    assert_eq!(problem.kind, ProblemKind::Checkpoint);
    assert!(
        problem.message.contains("load a model first"),
        "{}",
        problem.message
    );

    desk.load(3, "elsewhere");
    let problem = desk.problem_of(3).await;
    assert_eq!(problem.kind, ProblemKind::Network);
    assert!(problem.message.contains("elsewhere"), "{}", problem.message);

    desk.load(4, "empty");
    let problem = desk.problem_of(4).await;
    assert!(
        problem.message.contains("config.json"),
        "{}",
        problem.message
    );

    // The next load and a run behind it are none the worse.
    desk.load(5, "demo");
    desk.run(6, 1, &sample.prompt);
    assert_eq!(desk.answer_of(6).await.token_ids, sample.output_ids);

    // A prompt that fails leaves the model where it is.
    desk.run(7, 1, &"pig ".repeat(5000));
    assert_eq!(desk.problem_of(7).await.kind, ProblemKind::Prompt);
    desk.run(8, 1, &sample.prompt);
    assert_eq!(desk.answer_of(8).await.token_ids, sample.output_ids);

    // A load that fails leaves none: the old one was given up for it.
    desk.load(9, "empty");
    desk.run(10, 1, &sample.prompt);
    assert_eq!(desk.problem_of(10).await.kind, ProblemKind::Checkpoint);
}
