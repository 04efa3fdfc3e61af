//! Answers by other means than the plainest: `tests/fixtures/generation`, whose probabilities and
//! processors are transformers'.

use paligemma_engine::{
    Answer, BatchRequest, CancelToken, Content, Engine, Generation, GenerationError,
    ImageTextToText, Message, Part, Picture, PipelineInput, PreparedImages, Prompt, RunRequest,
    Sampling, Stopped, random_number,
};
use serde_json::Value;

use crate::expected::{engine, fixture};
use crate::samples;

/// transformers' own f32 differs from f64 by up to 5e-5 in a logit, and ours from its by as much
/// again; a log-probability is a logit less a mean of others.
const LOG_PROB: f64 = 2e-4;

fn golden(name: &str) -> Value {
    let file = fixture(&format!("generation/{name}.json"));
    let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_slice(&bytes).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The options that an entry has.
fn options(entry: &Value) -> Generation {
    let float = |name: &str| entry[name].as_f64().map(|value| value as f32);
    Generation {
        sampling: entry["seed"].as_u64().map(|seed| Sampling {
            temperature: float("temperature").unwrap_or(1.0),
            top_k: entry["top_k"].as_u64().map(|count| count as usize),
            top_p: float("top_p").unwrap_or(1.0),
            seed,
        }),
        repetition_penalty: float("repetition_penalty").unwrap_or(1.0),
        num_beams: entry["num_beams"].as_u64().unwrap_or(1) as usize,
        stop_ids: entry["stop_id"]
            .as_u64()
            .map(|id| id as u32)
            .into_iter()
            .collect(),
        ..Generation::default()
    }
}

fn ask(
    engine: &mut Engine,
    picture: &Picture,
    prompt: &str,
    generation: &Generation,
    limit: usize,
) -> Answer {
    let request = RunRequest {
        pictures: std::slice::from_ref(picture),
        prompt: Prompt::Text(prompt),
        max_new_tokens: limit,
    };
    let never = CancelToken::default();
    let mut unheard = |_| ();
    let answer = engine.generate(&request, generation, &never, &mut unheard);
    pollster::block_on(answer).unwrap()
}

/// The answer's ids, an end that came among them only where the model's own end is known.
fn same(what: &str, answer: &Answer, entry: &Value, ends: &[u32]) {
    let mut wanted = ids(&entry["ids"]);
    if wanted.last().is_some_and(|last| ends.contains(last)) {
        wanted.pop();
        assert_eq!(answer.stopped, Stopped::Eos, "{what}");
        assert_eq!(answer.logprobs.len(), answer.token_ids.len() + 1, "{what}");
    }
    assert_eq!(answer.token_ids, wanted, "{what}");
    let Some(log_probs) = entry["log_probs"].as_array() else {
        return;
    };
    assert_eq!(answer.logprobs.len(), log_probs.len(), "{what}");
    for (got, wanted) in answer.logprobs.iter().zip(log_probs) {
        let wanted = wanted.as_f64().unwrap();
        let distance = (f64::from(*got) - wanted).abs();
        assert!(distance < LOG_PROB, "{what}: {got}, not {wanted}");
    }
}

#[test]
fn every_way_of_picking_gives_the_ids_and_log_probabilities_of_transformers() {
    for model in ["pg1_gqa_bf16", "pg2_gqa"] {
        let mut engine = engine(model);
        let golden = golden(model);
        let file = fixture(model)
            .join("images")
            .join(golden["image"].as_str().unwrap());
        let picture = Picture::decode(&std::fs::read(file).unwrap()).unwrap();
        let prompt = golden["text"].as_str().unwrap();
        let mut entries = vec![golden["greedy"].clone()];
        for kind in ["penalised", "sampled", "beams"] {
            entries.extend(golden[kind].as_array().unwrap().iter().cloned());
        }
        // Greedy, two penalties, five ways of drawing, and beams of one width at least.
        assert!(entries.len() > 8, "{model}: {} entries", entries.len());
        for entry in entries {
            let options = options(&entry);
            let limit = match options.num_beams {
                1 => ids(&entry["ids"]).len(),
                _ => 16,
            };
            let answer = ask(&mut engine, &picture, prompt, &options, limit);
            let ends = [vec![1], options.stop_ids.clone()].concat();
            same(&format!("{model} {options:?}"), &answer, &entry, &ends);
            if let Some(score) = entry["score"].as_f64() {
                let sum: f64 = answer.logprobs.iter().map(|p| f64::from(*p)).sum();
                let error = LOG_PROB * answer.logprobs.len() as f64;
                assert!((sum - score).abs() < error, "{sum}, not {score}");
            }
        }
    }
}

#[test]
fn the_demo_model_draws_and_searches_as_with_transformers_probabilities() {
    let mut engine = samples::engine();
    let requests = golden("demo");
    let mut others = 0;
    for request in requests.as_array().unwrap() {
        let picture = samples::picture(request["scene"].as_str().unwrap());
        let prompt = request["text"].as_str().unwrap();
        let mut entries = vec![request["greedy"].clone()];
        for kind in ["sampled", "beams"] {
            entries.extend(request[kind].as_array().unwrap().iter().cloned());
        }
        for entry in entries {
            let options = options(&entry);
            let answer = ask(&mut engine, &picture, prompt, &options, 64);
            same(&format!("{prompt} {options:?}"), &answer, &entry, &[1]);
            let longer = options.num_beams > 1 && answer.token_ids.len() > 3;
            others += usize::from(longer && entry["ids"] != request["greedy"]["ids"]);
        }
    }
    assert!(others > 0, "some beams find what greedy does not");
}

#[test]
fn random_numbers_are_those_of_the_reference() {
    let numbers = golden("numbers");
    let numbers = numbers.as_array().unwrap();
    assert_eq!(numbers.len(), 20);
    for entry in numbers {
        let small = |name: &str| entry[name].as_u64().unwrap() as u32;
        let seed = entry["seed"].as_str().unwrap().parse().unwrap();
        let number = random_number(seed, small("attempt"), small("step"));
        // A JSON parser may miss the last bit of an f64; these are f32.
        assert_eq!(number, entry["number"].as_f64().unwrap() as f32);
    }
}

/// The best of several is one of them, and none of the others is more probable.
#[test]
fn the_best_of_several_answers_is_the_most_probable() {
    let mut engine = samples::engine();
    let picture = samples::picture("scene03");
    let sampling = Sampling {
        temperature: 4.0,
        seed: 3,
        ..Sampling::default()
    };
    let drawn = |best_of| Generation {
        sampling: Some(sampling),
        best_of,
        ..Generation::default()
    };
    let sum = |answer: &Answer| -> f64 { answer.logprobs.iter().map(|p| f64::from(*p)).sum() };
    let mut most = f64::NEG_INFINITY;
    let mut changed = 0;
    for best_of in 1..=4 {
        let answer = ask(&mut engine, &picture, "caption en", &drawn(best_of), 32);
        let sum = sum(&answer);
        assert!(sum >= most, "{sum} of {best_of}, {most} of one less");
        changed += usize::from(sum > most);
        most = sum;
    }
    assert!(changed > 1, "a hotter draw would differ more often");
}

#[test]
fn constrained_answers_are_well_formed_and_plain_ones_stay() {
    let mut engine = samples::engine();
    let picture = samples::picture("scene03");
    let constrained = Generation {
        constrained: true,
        ..Generation::default()
    };
    for prompt in ["detect banana ; cat ; flower", "detect dog", "segment cat"] {
        let plain = ask(&mut engine, &picture, prompt, &Generation::default(), 128);
        let held = ask(&mut engine, &picture, prompt, &constrained, 128);
        assert_eq!(held.token_ids, plain.token_ids, "{prompt}");
    }
    // Hot enough to write nonsense.
    for seed in 0..3 {
        let hot = Generation {
            sampling: Some(Sampling {
                temperature: 30.0,
                seed,
                ..Sampling::default()
            }),
            ..Generation::default()
        };
        let prompt = "detect cat ; dog";
        let free = ask(&mut engine, &picture, prompt, &hot, 40);
        let held = Generation {
            constrained: true,
            ..hot
        };
        let held = ask(&mut engine, &picture, prompt, &held, 40);
        let is_label = |label: &str| ["cat", "dog"].contains(&label);
        let well_formed = |answer: &Answer| {
            let found = &answer.detections;
            let whole = found.len() - usize::from(answer.stopped != Stopped::Eos);
            !found.is_empty() && found[..whole].iter().all(|it| is_label(&it.label))
        };
        assert!(well_formed(&held), "{}", held.text);
        assert!(!well_formed(&free), "{}", free.text);
    }
    let request = RunRequest {
        pictures: std::slice::from_ref(&picture),
        prompt: Prompt::Text("caption en"),
        max_new_tokens: 8,
    };
    let never = CancelToken::default();
    let mut unheard = |_| ();
    let refused = engine.generate(&request, &constrained, &never, &mut unheard);
    let refused = pollster::block_on(refused).unwrap_err();
    assert!(matches!(
        refused,
        paligemma_engine::EngineError::Generation(GenerationError::NoGrammar { .. })
    ));
}

/// Scores are there with the boxes, high where the model is right, and doubles can be dropped.
#[test]
fn every_box_has_a_score() {
    let mut engine = samples::engine();
    let picture = samples::picture("scene03");
    let prompt = "detect banana ; cat ; flower";
    let answer = ask(&mut engine, &picture, prompt, &Generation::default(), 64);
    assert_eq!(answer.detections.len(), 4);
    assert_eq!(answer.scores.len(), 4);
    assert!(answer.evidence.iter().all(Option::is_some));
    for score in &answer.scores {
        assert!((0.3..=1.0).contains(score), "{:?}", answer.scores);
    }
    // Two cats overlap a little: by less than half, and by more than nothing.
    for (overlap, left) in [(0.5, 4), (0.0, 3)] {
        let apart = Generation {
            dedupe: Some(overlap),
            ..Generation::default()
        };
        let distinct = ask(&mut engine, &picture, prompt, &apart, 64);
        assert_eq!(distinct.detections.len(), left, "{overlap}");
        let kept = |found| distinct.detections.contains(found);
        let mut cats = answer.detections.iter().zip(&answer.scores);
        let best = cats.clone().filter(|(found, _)| found.label == "cat");
        let best = best.max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        assert!(kept(best.0), "{overlap}");
        assert!(cats.all(|(found, _)| found.label == "cat" || kept(found)));
    }
}

/// A prompt may place its picture itself, as messages and batches make it do.
#[test]
fn every_way_in_is_held_to_the_grammar() {
    let picture = samples::picture("scene01");
    let constrained = Generation {
        constrained: true,
        ..Generation::default()
    };
    let mut engine = samples::engine();
    let plain = ask(&mut engine, &picture, "detect boat", &constrained, 64);
    assert_eq!(plain.detections.len(), 2);
    let placed = ask(
        &mut engine,
        &picture,
        "<image>detect boat",
        &constrained,
        64,
    );
    assert_eq!(placed.token_ids, plain.token_ids);

    let prompt = engine.processor().prompt("<image>detect boat", 1).unwrap();
    let request = RunRequest {
        pictures: std::slice::from_ref(&picture),
        prompt: Prompt::Ids(&prompt.input_ids),
        max_new_tokens: 64,
    };
    let never = CancelToken::default();
    let mut unheard = |_| ();
    let ids = engine.generate(&request, &constrained, &never, &mut unheard);
    let ids = pollster::block_on(ids).unwrap();
    assert_eq!(ids.token_ids, plain.token_ids);

    let batch = BatchRequest {
        texts: Some(&["<image>detect boat", "<image>detect boat"]),
        ..BatchRequest::default()
    };
    let pictures = [picture.clone(), picture.clone()];
    let inputs = engine
        .prepare(&batch, PreparedImages::Flat(&pictures))
        .unwrap();
    let answers = engine.generate_batch(&inputs, 64, &constrained);
    for answer in pollster::block_on(answers).unwrap() {
        assert_eq!(answer.token_ids, plain.token_ids);
    }

    let message = Message {
        role: "user".to_owned(),
        content: Content::Parts(vec![
            Part::Image { image: picture },
            Part::Text {
                text: "detect boat".to_owned(),
            },
        ]),
    };
    let input = [PipelineInput::Messages(vec![message])];
    let mut pipeline = ImageTextToText::new(engine);
    let answers = pollster::block_on(pipeline.call_with(&input, 64, &constrained)).unwrap();
    assert_eq!(answers[0].answer.token_ids, plain.token_ids);
}
