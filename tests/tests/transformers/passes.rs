//! `forward` beyond a plain prompt: against `expected/passes.safetensors` and `single`.

use paligemma_engine::{
    ForwardOutput, ForwardRequest, Images, Layers, LogitsToKeep, Outputs, PastKeyValues, Picture,
    VisionOutputs,
};
use pollster::block_on;

use crate::expected::{Expected, MODELS, engine, fixture};
use crate::stages::{LOGITS, STAGE, difference};

/// The fixtures that have `passes.safetensors`: one of each family.
pub(crate) const PASSES: [&str; 2] = ["pg1_mqa", "pg2_odd"];

/// Weights after a softmax: p moves by at most p (1 - p), a quarter, times what its score moves
/// by. A score is a product of a query and a key, each within STAGE of its largest, so it is within
/// 2 · STAGE of the largest score, which is below 25 here: 25 · 2 · 2e-5 / 4 = 2.5e-4. A mask that
/// is off by one moves whole weights, of 1e-2 and more.
pub(crate) const WEIGHT: f32 = 2.5e-4;

pub(crate) fn picture(model: &str, file: &str) -> Picture {
    let path = fixture(model).join("images").join(file);
    Picture::decode(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
pub(crate) fn close(what: &str, got: &[f32], wanted: &[f32], allowed: f32) {
    let (worst, scale) = difference(got, wanted);
    println!("{what:45} worst {worst:.2e} of {scale:.2e}, allowed {allowed:.2e}");
    assert!(worst <= allowed, "{what}: {worst:e} > {allowed:e}");
}

#[track_caller]
pub(crate) fn close_stage(what: &str, got: &[f32], wanted: &[f32]) {
    let (_, scale) = difference(got, wanted);
    close(what, got, wanted, STAGE * scale);
}

pub(crate) fn logits(output: &ForwardOutput) -> &[f32] {
    &output.logits.as_ref().unwrap().values
}

/// Everything at once, then each thing alone: hidden states by transformers' numbers, attentions
/// of both towers, features, and nothing that was not asked for.
#[test]
fn every_output_is_that_of_transformers() {
    for model in MODELS {
        let mut engine = engine(model);
        let expected = Expected::read(model, "single");
        let (ids, pixels) = (expected.ids("input_ids"), expected.pixels());
        let request = |outputs| ForwardRequest {
            input_ids: Some(&ids),
            images: Images::Pixels(&pixels),
            outputs,
            ..ForwardRequest::default()
        };
        let all = Outputs {
            logits_to_keep: LogitsToKeep::All,
            last_hidden_state: true,
            hidden_states: true,
            attentions: Layers::All,
            image_hidden_states: true,
            vision: VisionOutputs {
                hidden_states: true,
                attentions: Layers::All,
            },
        };
        let output = block_on(engine.forward(request(all))).unwrap();
        close(model, logits(&output), &expected.floats("logits").1, LOGITS);
        let layers = engine.config().text.num_hidden_layers;
        let states = output.hidden_states.as_ref().unwrap();
        assert_eq!(states.len(), layers + 1);
        for (i, state) in states.iter().enumerate() {
            let name = match i {
                0 => "text.inputs_embeds".to_owned(),
                i if i == layers => "text.final_norm".to_owned(),
                i => format!("text.layer_out.{}", i - 1),
            };
            let (shape, wanted) = expected.floats(&name);
            assert_eq!(state.shape, shape[1..], "{model} {name}");
            close_stage(&format!("{model} {name}"), &state.values, &wanted);
        }
        assert_eq!(output.last_hidden_state.as_ref(), states.last());
        assert_eq!(output.attentions.len(), layers);
        for attention in &output.attentions {
            let name = format!("text.attentions.{}", attention.layer);
            let (shape, wanted) = expected.floats(&name);
            assert_eq!(attention.weights.shape, shape[1..], "{model} {name}");
            let what = format!("{model} {name}");
            close(&what, &attention.weights.values, &wanted, WEIGHT);
        }
        let (shape, features) = expected.floats("image_features");
        let seen = output.image_hidden_states.as_ref().unwrap();
        assert_eq!(seen.shape, shape);
        close_stage(&format!("{model} features"), &seen.values, &features);

        let vision = output.vision.as_ref().unwrap();
        let layers = engine.config().vision.num_hidden_layers;
        let states = vision.hidden_states.as_ref().unwrap();
        assert_eq!(states.len(), layers + 1);
        let (shape, wanted) = expected.floats("vision.embeddings");
        assert_eq!(states[0].shape, shape);
        close_stage(&format!("{model} embeddings"), &states[0].values, &wanted);
        let (_, wanted) = expected.floats(&format!("vision.layer_out.{}", layers - 1));
        close_stage(&format!("{model} vision"), &states[layers].values, &wanted);
        assert_eq!(vision.attentions.len(), layers);
        for attention in &vision.attentions {
            let name = format!("vision.attentions.{}", attention.layer);
            let (shape, wanted) = expected.floats(&name);
            assert_eq!(attention.weights.shape, shape, "{model} {name}");
            let what = format!("{model} {name}");
            close(&what, &attention.weights.values, &wanted, WEIGHT);
        }

        // Only the last layer, and nothing else.
        let last = engine.config().text.num_hidden_layers - 1;
        let few = Outputs {
            logits_to_keep: LogitsToKeep::None,
            attentions: Layers::These(vec![last]),
            ..Outputs::default()
        };
        let few = block_on(engine.forward(request(few))).unwrap();
        assert_eq!(few.attentions, output.attentions[last..]);
        assert!(few.logits.is_none() && few.loss.is_none() && few.hidden_states.is_none());
        assert!(few.vision.is_none() && few.image_hidden_states.is_none());

        let nothing = VisionOutputs::default();
        let seen = block_on(engine.get_image_features(Images::Pixels(&pixels), &nothing)).unwrap();
        close_stage(
            &format!("{model} pooled"),
            &seen.pooler_output.values,
            &features,
        );
        let (shape, wanted) = expected.floats("vision.last_hidden_state");
        assert_eq!(seen.last_hidden_state.shape, shape);
        let last = &seen.last_hidden_state.values;
        close_stage(&format!("{model} vision last"), last, &wanted);
        // Features in place of pictures come to the same.
        let patches = engine.config().vision.num_patches() * engine.config().text.hidden_size;
        let features: Vec<Vec<f32>> = seen
            .pooler_output
            .values
            .chunks(patches)
            .map(<[f32]>::to_vec)
            .collect();
        let again = ForwardRequest {
            images: Images::Features(&features),
            ..request(Outputs::default())
        };
        let again = block_on(engine.forward(again)).unwrap();
        let vocabulary = engine.config().text.vocab_size;
        let whole = logits(&output);
        // Of one row a product sums in another order.
        let last = &whole[whole.len() - vocabulary..];
        close_stage(&format!("{model} again"), logits(&again), last);
    }
}

#[test]
fn embeddings_in_place_of_ids_and_chosen_logits() {
    for model in PASSES {
        let mut engine = engine(model);
        let expected = Expected::read(model, "passes");
        let ids = expected.ids("input_ids");
        let pictures = [picture(model, "image_a.png")];
        let images = Images::Pictures(&pictures);
        let (_, vectors) = expected.floats("embeds.inputs_embeds");
        let request = ForwardRequest {
            inputs_embeds: Some(&vectors),
            images,
            ..ForwardRequest::default()
        };
        let output = block_on(engine.forward(request)).unwrap();
        let (_, wanted) = expected.floats("embeds.logits");
        close(
            &format!("{model} embeddings"),
            logits(&output),
            &wanted,
            LOGITS,
        );

        // The ids' own embeddings come to the same as the ids.
        let text: Vec<u32> = ids[ids.len() - 3..].to_vec();
        let own = block_on(engine.embed(&text)).unwrap();
        let hidden = engine.config().text.hidden_size;
        let (_, at_first) = Expected::read(model, "single").floats("text.inputs_embeds");
        assert_eq!(own, at_first[at_first.len() - 3 * hidden..], "{model}");

        let positions = expected.ids("kept.positions");
        let positions = positions.iter().map(|&at| at as usize).collect();
        let request = ForwardRequest {
            input_ids: Some(&ids),
            images,
            outputs: Outputs {
                logits_to_keep: LogitsToKeep::Positions(positions),
                ..Outputs::default()
            },
            ..ForwardRequest::default()
        };
        let output = block_on(engine.forward(request)).unwrap();
        let (shape, wanted) = expected.floats("kept.logits");
        assert_eq!(output.logits.as_ref().unwrap().shape, shape[1..]);
        close(
            &format!("{model} positions"),
            logits(&output),
            &wanted,
            LOGITS,
        );
    }
}

/// A prompt, three tokens, two tokens: on a cache that grows, and on one that was taken out and
/// put back in between. Rows past the prompt see it and what is before them, and in the window's
/// layers the latest nine.
#[test]
fn tokens_follow_a_cache() {
    for model in PASSES {
        let mut engine = engine(model);
        let expected = Expected::read(model, "passes");
        let ids = expected.ids("input_ids");
        let given = expected.ids("continued.ids");
        let pictures = [picture(model, "image_a.png")];
        let mut cache = PastKeyValues::default();
        let prompt = ForwardRequest {
            input_ids: Some(&ids),
            images: Images::Pictures(&pictures),
            past_key_values: Some(&mut cache),
            ..ForwardRequest::default()
        };
        block_on(engine.forward(prompt)).unwrap();
        assert_eq!(cache.seq_length(), ids.len());
        let taken = block_on(engine.export_cache(&cache)).unwrap();
        assert_eq!((taken.positions, taken.prefix), (ids.len(), ids.len()));
        let (_, keys) = Expected::read(model, "single").floats("cache.k.0");
        close_stage(&format!("{model} keys"), &taken.layers[0][0], &keys);
        let mut copy = engine.import_cache(&taken).unwrap();

        for cache in [&mut cache, &mut copy] {
            for (name, part) in [("first", &given[..3]), ("second", &given[3..])] {
                let request = ForwardRequest {
                    input_ids: Some(part),
                    past_key_values: Some(&mut *cache),
                    outputs: Outputs {
                        logits_to_keep: LogitsToKeep::All,
                        attentions: Layers::All,
                        ..Outputs::default()
                    },
                    ..ForwardRequest::default()
                };
                let output = block_on(engine.forward(request)).unwrap();
                let (_, wanted) = expected.floats(&format!("continued.{name}.logits"));
                close(&format!("{model} {name}"), logits(&output), &wanted, LOGITS);
                for attention in &output.attentions {
                    let name = format!("continued.{name}.attentions.{}", attention.layer);
                    let (shape, wanted) = expected.floats(&name);
                    assert_eq!(attention.weights.shape, shape[1..], "{model} {name}");
                    close(&name, &attention.weights.values, &wanted, WEIGHT);
                }
            }
            assert_eq!(cache.seq_length(), ids.len() + 5);
        }

        // Beyond the first step of the cache's room: all at once is what one by one is.
        let long: Vec<u32> = (0..300).map(|i| 300 + i % 400).collect();
        block_on(engine.forward(follow(&long[..290], &mut cache))).unwrap();
        let split = block_on(engine.forward(follow(&long[290..], &mut cache))).unwrap();
        let whole = block_on(engine.forward(follow(&long, &mut copy))).unwrap();
        close(
            &format!("{model} grown"),
            logits(&split),
            logits(&whole),
            LOGITS,
        );
    }
}

fn follow<'a>(part: &'a [u32], cache: &'a mut PastKeyValues) -> ForwardRequest<'a> {
    ForwardRequest {
        input_ids: Some(part),
        past_key_values: Some(cache),
        ..ForwardRequest::default()
    }
}
