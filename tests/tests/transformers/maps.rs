//! Attention maps and pipelines, on the demo model and on the fixtures.

use paligemma_engine::{
    AttentionRequest, CancelToken, Content, EngineError, Focus, ForwardError, ImageTextToText,
    Message, Part, Picture, PipelineInput, Prompt, RunRequest,
};
use pollster::block_on;

use crate::expected::{Expected, MODELS, engine, fixture};
use crate::passes::WEIGHT;
use crate::samples;
use crate::stages::difference;

fn picture(path: std::path::PathBuf) -> Picture {
    Picture::decode(&std::fs::read(path).unwrap()).unwrap()
}

/// The first token of an answer is chosen by the last row of the prompt, whose weights transformers
/// gives with the rest of `single`.
#[test]
fn a_map_is_a_row_of_attentions() {
    for model in MODELS {
        let mut engine = engine(model);
        let expected = Expected::read(model, "single");
        let ids = expected.ids("input_ids");
        let pictures = [picture(fixture(model).join("images/image_a.png"))];
        let answer = expected.ids("generated_ids");
        let request = AttentionRequest {
            pictures: &pictures,
            prompt: Prompt::Ids(&ids),
            answer: &answer,
            token: 0,
        };
        let maps = block_on(engine.attention(&request)).unwrap();
        let text = &engine.config().text;
        assert_eq!(maps.layers(), text.num_hidden_layers);
        assert_eq!(maps.heads(), text.num_attention_heads);
        let n = ids.len();
        for layer in 0..maps.layers() {
            let (_, all) = expected.floats(&format!("text.attentions.{layer}"));
            for head in 0..maps.heads() {
                let wanted = &all[(head * n + n - 1) * n..][..n];
                let focus = Focus {
                    layer: Some(layer),
                    head: Some(head),
                };
                let got = maps.weights(focus).unwrap();
                assert!(
                    difference(&got, wanted).0 <= WEIGHT,
                    "{model} {layer} {head}"
                );
                // Image tokens come first.
                let heat = maps.heat(focus, 0).unwrap();
                assert_eq!(heat.values, got[..heat.side * heat.side]);
            }
        }
        assert!(matches!(
            maps.heat(Focus::default(), 1),
            Err(ForwardError::Picture {
                picture: 1,
                pictures: 1
            })
        ));
        let beyond = AttentionRequest {
            token: answer.len(),
            ..request
        };
        let error = block_on(engine.attention(&beyond));
        assert!(matches!(
            error,
            Err(EngineError::Forward(ForwardError::Token { .. }))
        ));
    }
}

/// A later token's row, read anew in one pass, is what `forward` has on a cache.
#[test]
fn a_map_of_a_later_token_sees_the_answer_so_far() {
    let mut engine = engine("pg2_odd");
    let expected = Expected::read("pg2_odd", "passes");
    let (ids, given) = (expected.ids("input_ids"), expected.ids("continued.ids"));
    let pictures = [picture(fixture("pg2_odd").join("images/image_a.png"))];
    let request = AttentionRequest {
        pictures: &pictures,
        prompt: Prompt::Ids(&ids),
        answer: &given,
        token: 3,
    };
    let maps = block_on(engine.attention(&request)).unwrap();
    let keys = ids.len() + 3;
    for layer in 0..maps.layers() {
        let (shape, all) = expected.floats(&format!("continued.first.attentions.{layer}"));
        assert_eq!(shape[2..], [3, keys]);
        for head in 0..maps.heads() {
            let wanted = &all[(head * 3 + 2) * keys..][..keys];
            let focus = Focus {
                layer: Some(layer),
                head: Some(head),
            };
            let got = maps.weights(focus).unwrap();
            assert!(difference(&got, wanted).0 <= WEIGHT, "{layer} {head}");
        }
    }
}

/// When the demo model writes the second corner of a box, some head looks at the box.
#[test]
fn some_head_of_the_demo_model_looks_at_what_it_boxes() {
    let mut engine = samples::engine();
    let pictures = [picture(samples::demo("samples/scene01.png"))];
    let prompt = Prompt::Text("detect boat");
    let request = RunRequest {
        pictures: &pictures,
        prompt: prompt.clone(),
        max_new_tokens: 64,
    };
    let answer = block_on(engine.run(&request, &CancelToken::default(), &mut |_| ())).unwrap();
    let [x0, y0, x1, y1] = answer.detections[0]
        .bbox
        .map(|v| v / pictures[0].width() as f32);
    let request = AttentionRequest {
        pictures: &pictures,
        prompt,
        answer: &answer.token_ids,
        token: 3,
    };
    let maps = block_on(engine.attention(&request)).unwrap();
    let mut best = 0.0f32;
    for layer in 0..maps.layers() {
        for head in 0..maps.heads() {
            let focus = Focus {
                layer: Some(layer),
                head: Some(head),
            };
            let heat = maps.heat(focus, 0).unwrap();
            assert!(heat.share() <= 1.001);
            let side = heat.side as f32;
            let inside = heat.values.iter().enumerate().filter(|(at, _)| {
                let (x, y) = ((at % heat.side) as f32 + 0.5, (at / heat.side) as f32 + 0.5);
                (x0..x1).contains(&(x / side)) && (y0..y1).contains(&(y / side))
            });
            let inside: f32 = inside.map(|(_, weight)| weight).sum();
            best = best.max(inside / heat.share().max(1e-6));
        }
    }
    let area = (x1 - x0) * (y1 - y0);
    // Three times what a head has that looks everywhere alike.
    assert!(best > 3.0 * area, "{best} on {area} of the picture");

    // The run that follows is not disturbed by what was read in between.
    let again = RunRequest {
        pictures: &pictures,
        prompt: Prompt::Text("detect boat"),
        max_new_tokens: 64,
    };
    let again = block_on(engine.run(&again, &CancelToken::default(), &mut |_| ())).unwrap();
    assert_eq!(again.token_ids, answer.token_ids);
    let texts = engine.token_texts(&answer.token_ids).unwrap();
    assert_eq!(texts.concat(), answer.text);
    assert_eq!(texts[0], "<loc0218>");
}

#[test]
fn a_pipeline_takes_prompts_and_messages() {
    let mut pipeline = ImageTextToText::new(engine("pg2_odd"));
    let cases = std::fs::read(fixture("pg2_odd").join("cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
    let single = &cases["cases"]["single"];
    let multi = &cases["cases"]["multi"];
    let image = |file: &str| picture(fixture("pg2_odd").join("images").join(file));
    let part = |file: &str| Part::Image { image: image(file) };
    let question = multi["text"].as_str().unwrap().replace("<image>", "");
    let message = Message {
        role: "user".to_owned(),
        content: Content::Parts(vec![
            part("image_a.png"),
            part("image_c.png"),
            Part::Text {
                text: question.clone(),
            },
        ]),
    };
    let answers = block_on(pipeline.call(
        &[
            PipelineInput::new(&[image("image_a.png")], single["text"].as_str().unwrap()),
            PipelineInput::Messages(vec![message]),
        ],
        40,
    ))
    .unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].generated_text, single["generated_text"]);
    assert_eq!(answers[1].generated_text, multi["generated_text"]);
    assert_eq!(answers[1].input_text, question);
    assert!(answers[1].full_text().starts_with(&format!("{question}\n")));
    let refused = block_on(pipeline.call(&[PipelineInput::Messages(Vec::new())], 1));
    assert!(matches!(refused, Err(EngineError::Message(_))));
}
