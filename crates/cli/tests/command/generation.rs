//! Options of `run` that pick tokens, and what `--json` says of probabilities.

use serde_json::Value;

use crate::{paligemma, path, root};

fn run(scene: &str, prompt: &str, more: &[&str]) -> std::process::Output {
    let (model, image) = (root("web/demo/model"), root("web/demo/samples").join(scene));
    let files = ["run", "--model", path(&model), "--image", path(&image)];
    paligemma(&[&files[..], &["--prompt", prompt], more].concat())
}

fn json(scene: &str, prompt: &str, more: &[&str]) -> Value {
    let output = run(scene, prompt, &[&["--json"], more].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn golden() -> Vec<Value> {
    let file = root("tests/fixtures/generation/demo.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn boxes_have_scores_and_tokens_log_probabilities() {
    let answer = json("scene10.png", "detect pig", &["--logprobs"]);
    let wanted = &golden()[0];
    assert_eq!(
        (&wanted["text"], &wanted["scene"]),
        (&"detect pig".into(), &"scene10".into())
    );
    let wanted = &wanted["greedy"];
    // The golden ids end with the end token; its probability is among the others.
    let ids = answer["token_ids"].as_array().unwrap();
    let (end, rest) = wanted["ids"].as_array().unwrap().split_last().unwrap();
    assert_eq!((end, &ids[..]), (&Value::from(1), rest));
    let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    let (got, wanted) = (numbers(&answer["logprobs"]), numbers(&wanted["log_probs"]));
    assert_eq!(got.len(), ids.len() + 1);
    for (got, wanted) in got.iter().zip(&wanted) {
        // As in the tests against transformers.
        assert!((got - wanted).abs() < 2e-4, "{got}, not {wanted}");
    }
    let detections = answer["detections"].as_array().unwrap();
    let each: Vec<f64> = detections
        .iter()
        .map(|found| found["score"].as_f64().unwrap())
        .collect();
    assert_eq!(each, numbers(&answer["scores"]));
    assert_eq!(each.len(), 3);
    assert!(
        each.iter().all(|score| (0.3..=1.0).contains(score)),
        "{each:?}"
    );

    // Only where they are asked for; and only in JSON.
    let plain = json("scene10.png", "detect pig", &[]);
    assert!(plain.get("logprobs").is_none() && plain["scores"] == answer["scores"]);
    let refused = run("scene10.png", "detect pig", &["--logprobs"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn drawn_and_searched_answers_are_those_of_the_fixtures() {
    for request in golden() {
        let scene = format!("{}.png", request["scene"].as_str().unwrap());
        let prompt = request["text"].as_str().unwrap();
        for kind in ["sampled", "beams"] {
            for entry in request[kind].as_array().unwrap() {
                let mut more = Vec::new();
                for option in ["temperature", "top_k", "top_p", "seed", "num_beams"] {
                    if let Some(value) = entry.get(option) {
                        more.extend([format!("--{}", option.replace('_', "-")), value.to_string()]);
                    }
                }
                more.extend(["--max-new-tokens".to_owned(), "64".to_owned()]);
                let more: Vec<&str> = more.iter().map(String::as_str).collect();
                let answer = json(&scene, prompt, &more);
                let mut wanted = entry["ids"].as_array().unwrap().clone();
                wanted.retain(|id| *id != 1);
                assert_eq!(
                    answer["token_ids"],
                    Value::from(wanted),
                    "{prompt} {more:?}"
                );
            }
        }
    }
}

#[test]
fn options_out_of_range_or_at_odds_are_named() {
    for (more, part) in [
        (&["--temperature", "-1"][..], "temperature is -1"),
        (&["--temperature", "1e-40"], "at least 1e-15"),
        (&["--repetition-penalty", "1e-40"], "from 1e-6 to 1e6"),
        (&["--top-k", "0"], "top_k is 0"),
        (&["--top-p", "1.5"], "top_p is 1.5"),
        (&["--repetition-penalty", "0"], "repetition_penalty is 0"),
        (&["--best-of", "3"], "best_of does not go without sampling"),
        (
            &["--num-beams", "3", "--seed", "1"],
            "num_beams does not go",
        ),
        (&["--num-beams", "99"], "num_beams is 99"),
        (&["--stop-id", "999999"], "stop id 999999"),
        (&["--dedupe", "2"], "dedupe is 2"),
        (&["--constrained"], "`caption en` has no grammar"),
    ] {
        let output = run("scene03.png", "caption en", more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

/// The least temperature and the extremes of the penalty leave logits numbers.
#[test]
fn the_ends_of_the_ranges_work() {
    let greedy = json("scene10.png", "detect pig", &[]);
    let cold = json(
        "scene10.png",
        "detect pig",
        &["--temperature", "1e-15", "--seed", "1"],
    );
    assert_eq!(cold["token_ids"], greedy["token_ids"]);
    for penalty in ["1e-6", "1e6"] {
        let options = ["--temperature", "1e-15", "--repetition-penalty", penalty];
        let more = [&options[..], &["--max-new-tokens", "4"]].concat();
        json("scene10.png", "detect pig", &more);
    }
}

/// Chat messages put the picture's place before their text, and so may anybody.
#[test]
fn a_prompt_that_places_its_picture_has_the_same_grammar_and_labels() {
    let plain = run("scene01.png", "detect boat", &["--constrained"]);
    assert!(plain.status.success());
    let placed = run("scene01.png", "<image>detect boat", &["--constrained"]);
    let said = String::from_utf8_lossy(&placed.stderr);
    assert!(placed.status.success(), "{said}");
    assert_eq!(placed.stdout, plain.stdout);
}
