//! Suffixes, padded batches, losses, and steps of the processor: against
//! `expected/passes.safetensors`, `suffix` and `batch2`.

use paligemma_engine::{
    BatchRequest, ForwardRequest, Generation, IGNORED, Images, LogitsToKeep, Outputs, Padding,
    PixelSteps, PreparedImages, Sampling,
};
use pollster::block_on;

use crate::expected::{Expected, MODELS, engine};
use crate::passes::{PASSES, close, logits, picture};
use crate::stages::LOGITS;

/// A cross-entropy moves by at most twice what logits move by.
const LOSS: f32 = 2.0 * LOGITS;

/// Labels as the processor makes them, the loss, and what the tokens contribute to it.
#[test]
fn the_loss_of_a_suffix_is_that_of_transformers() {
    for model in MODELS {
        let mut engine = engine(model);
        let expected = Expected::read(model, "suffix");
        let request = BatchRequest {
            texts: Some(&["caption en"]),
            suffixes: Some(&["A cow is standing on the beach"]),
            ..BatchRequest::default()
        };
        let pictures = [picture(model, "image_b.png")];
        let inputs = engine
            .prepare(&request, PreparedImages::Flat(&pictures))
            .unwrap();
        assert_eq!(inputs.text.input_ids[0], expected.ids("input_ids"));
        assert_eq!(
            inputs.text.token_type_ids[0],
            expected.ids("token_type_ids")
        );
        assert_eq!(inputs.text.labels[0], expected.integers("labels"));

        let positions = expected.ids("suffix_positions");
        let before = positions.iter().map(|&at| at as usize - 1).collect();
        let outputs = Outputs {
            logits_to_keep: LogitsToKeep::Positions(before),
            ..Outputs::default()
        };
        let output = block_on(engine.forward_batch(&inputs, &outputs)).unwrap();
        let row = &output.rows[0];
        let (_, wanted) = expected.floats("suffix_logits");
        close(&format!("{model} suffix"), logits(row), &wanted, LOGITS);
        let loss = row.loss.as_ref().unwrap();
        let places: Vec<u32> = loss.targets.iter().map(|(at, _)| *at as u32).collect();
        assert_eq!(places, positions, "{model}");
        let nats: Vec<f32> = loss.targets.iter().map(|(_, nats)| *nats).collect();
        let (_, wanted) = expected.floats("suffix_nll");
        close(&format!("{model} nll"), &nats, &wanted, LOSS);
        let (_, wanted) = expected.floats("loss");
        close(
            &format!("{model} loss"),
            &[loss.mean.unwrap()],
            &wanted,
            LOSS,
        );
        assert_eq!(output.loss, loss.mean);
    }
}

/// Two examples of unequal length, padded on the left: one loss over all their targets.
#[test]
fn a_padded_batch_is_that_of_transformers() {
    for model in PASSES {
        let mut engine = engine(model);
        let expected = Expected::read(model, "passes");
        let request = BatchRequest {
            texts: Some(&[
                "caption en",
                "answer en where is the cow standing next to the river?",
            ]),
            suffixes: Some(&["A cow is standing on the beach", "beach"]),
            padding: Padding::Longest,
            max_length: None,
        };
        let pictures = ["image_a.png", "image_b.png"].map(|file| picture(model, file));
        let inputs = engine
            .prepare(&request, PreparedImages::Flat(&pictures))
            .unwrap();
        assert_eq!(
            inputs.text.input_ids.concat(),
            expected.ids("batch.input_ids")
        );
        let mask = expected.ids("batch.attention_mask");
        assert_eq!(inputs.text.attention_mask.concat(), mask);
        let types = expected.ids("batch.token_type_ids");
        assert_eq!(inputs.text.token_type_ids.concat(), types);
        assert_eq!(
            inputs.text.labels.concat(),
            expected.integers("batch.labels")
        );
        let outputs = Outputs::default();
        let output = block_on(engine.forward_batch(&inputs, &outputs)).unwrap();
        let (_, wanted) = expected.floats("batch.loss");
        close(
            &format!("{model} batch"),
            &[output.loss.unwrap()],
            &wanted,
            LOSS,
        );

        // Without suffixes: logits and answers of `batch2`.
        let expected = Expected::read(model, "batch2");
        let request = BatchRequest {
            suffixes: None,
            ..request
        };
        let inputs = engine
            .prepare(&request, PreparedImages::Flat(&pictures))
            .unwrap();
        assert_eq!(inputs.text.input_ids.concat(), expected.ids("input_ids"));
        assert!(
            inputs
                .text
                .labels
                .iter()
                .flatten()
                .all(|&label| label == IGNORED)
        );
        let output = block_on(engine.forward_batch(&inputs, &outputs)).unwrap();
        let (_, wanted) = expected.floats("logits_last");
        let vocabulary = engine.config().text.vocab_size;
        for (row, wanted) in output.rows.iter().zip(wanted.chunks(vocabulary)) {
            close(&format!("{model} row"), logits(row), wanted, LOGITS);
            assert!(row.loss.is_none());
        }
        let paddings = output.rows.iter().map(|row| row.padding);
        assert!(paddings.clone().any(|padding| padding > 0) && paddings.clone().any(|p| p == 0));
        assert_eq!(output.loss, None);
        let wanted = expected.ids("generated_ids");
        let greedy = Generation::default();
        let answers = block_on(engine.generate_batch(&inputs, 40, &greedy)).unwrap();
        for (answer, wanted) in answers.iter().zip(wanted.chunks(40)) {
            assert_eq!(answer.token_ids, wanted, "{model}");
        }

        // Drawn, a row is what it is alone, whatever its padding.
        let drawn = Generation {
            sampling: Some(Sampling::default()),
            ..Generation::default()
        };
        let together = block_on(engine.generate_batch(&inputs, 8, &drawn)).unwrap();
        for (row, (text, picture)) in request.texts.unwrap().iter().zip(&pictures).enumerate() {
            let alone = BatchRequest {
                texts: Some(&[*text]),
                ..BatchRequest::default()
            };
            let pictures = std::slice::from_ref(picture);
            let alone = engine.prepare(&alone, PreparedImages::Flat(pictures));
            let alone = block_on(engine.generate_batch(&alone.unwrap(), 8, &drawn)).unwrap();
            assert_eq!(together[row].token_ids, alone[0].token_ids, "{model}");
        }
    }
}

/// transformers has NaN here.
#[test]
fn nothing_to_learn_has_no_mean() {
    let mut engine = engine("pg1_mqa");
    let expected = Expected::read("pg1_mqa", "single");
    let (ids, pixels) = (expected.ids("input_ids"), expected.pixels());
    let labels = vec![IGNORED; ids.len()];
    let request = ForwardRequest {
        input_ids: Some(&ids),
        images: Images::Pixels(&pixels),
        labels: Some(&labels),
        ..ForwardRequest::default()
    };
    let loss = block_on(engine.forward(request)).unwrap().loss.unwrap();
    assert_eq!((loss.mean, loss.targets.len()), (None, 0));
}

#[test]
fn steps_between_levels_and_pixel_values_can_be_left_out() {
    for model in PASSES {
        let engine = engine(model);
        let expected = Expected::read(model, "passes");
        let picture = picture(model, "image_a.png");
        for (name, do_rescale, do_normalize) in [
            ("do_rescale", false, true),
            ("do_normalize", true, false),
            ("neither", false, false),
        ] {
            let steps = PixelSteps {
                do_rescale,
                do_normalize,
            };
            let pixels = engine.pixel_values(&picture, Some(steps));
            let (shape, wanted) = expected.floats(&format!("pixels.without_{name}"));
            // The first row of each channel.
            let (channels, width) = (shape[1], shape[2]);
            let rows: Vec<f32> = pixels
                .chunks(pixels.len() / channels)
                .flat_map(|channel| &channel[..width])
                .copied()
                .collect();
            assert_eq!(rows, wanted, "{model} {name}");
        }
    }
}
