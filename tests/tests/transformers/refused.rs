//! Requests to `forward` that cannot be.

use paligemma_engine::{
    EngineError, ErrorKind, ForwardError, ForwardRequest, Images, Layers, LogitsToKeep, Outputs,
    PastKeyValues,
};
use pollster::block_on;

use crate::expected::{Expected, engine};

/// Requests that contradict themselves are refused by name, and leave a cache as it was.
#[test]
fn requests_that_cannot_be() {
    let mut engine = engine("pg2_odd");
    let expected = Expected::read("pg2_odd", "single");
    let (ids, pixels) = (expected.ids("input_ids"), expected.pixels());
    let hidden = engine.config().text.hidden_size;
    let vectors = vec![0.5; 3 * hidden];
    let n = ids.len();
    let plain = || ForwardRequest {
        input_ids: Some(&ids),
        images: Images::Pixels(&pixels),
        ..ForwardRequest::default()
    };
    let (half, ones) = (vec![1; n - 1], vec![1; n]);
    let mut holes = ones.clone();
    holes[n - 1] = 0;
    let mut mixed = vec![0; n];
    mixed[3] = 1;
    let (zeros, labels) = (vec![0; n], vec![99_999; n]);
    let keep = |at| Outputs {
        logits_to_keep: LogitsToKeep::Positions(vec![at]),
        ..Outputs::default()
    };
    let layers = |layers| Outputs {
        attentions: Layers::These(vec![layers]),
        ..Outputs::default()
    };
    let requests = [
        ForwardRequest {
            inputs_embeds: Some(&vectors),
            ..plain()
        },
        ForwardRequest {
            input_ids: None,
            ..plain()
        },
        ForwardRequest {
            input_ids: None,
            inputs_embeds: Some(&vectors[1..]),
            ..plain()
        },
        ForwardRequest {
            attention_mask: Some(&half),
            ..plain()
        },
        ForwardRequest {
            attention_mask: Some(&holes),
            ..plain()
        },
        ForwardRequest {
            attention_mask: Some(&zeros),
            ..plain()
        },
        ForwardRequest {
            token_type_ids: Some(&mixed),
            ..plain()
        },
        ForwardRequest {
            labels: Some(&labels),
            ..plain()
        },
        ForwardRequest {
            outputs: keep(n),
            ..plain()
        },
        ForwardRequest {
            outputs: layers(99),
            ..plain()
        },
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let error = block_on(engine.forward(request)).unwrap_err();
        assert!(matches!(error, EngineError::Forward(_)), "{index}: {error}");
        assert_eq!(error.kind(), ErrorKind::Prompt);
    }
    // Embeddings without a place for the picture; ids without a picture.
    let request = ForwardRequest {
        input_ids: None,
        inputs_embeds: Some(&vectors),
        ..plain()
    };
    let error = block_on(engine.forward(request)).unwrap_err();
    assert!(error.to_string().contains("<image>"), "{error}");
    let request = ForwardRequest {
        images: Images::None,
        ..plain()
    };
    assert!(block_on(engine.forward(request)).is_err());

    // Images and padding after a cache, ids that there are not; the cache stays.
    let mut cache = PastKeyValues::default();
    let request = ForwardRequest {
        past_key_values: Some(&mut cache),
        ..plain()
    };
    block_on(engine.forward(request)).unwrap();
    for request in [
        ForwardRequest {
            past_key_values: Some(&mut cache),
            ..plain()
        },
        ForwardRequest {
            input_ids: Some(&[7, u32::MAX]),
            past_key_values: Some(&mut PastKeyValues::default()),
            ..ForwardRequest::default()
        },
    ] {
        assert!(block_on(engine.forward(request)).is_err());
    }
    let padded = ForwardRequest {
        input_ids: Some(&[0, 7]),
        attention_mask: Some(&[0, 1]),
        past_key_values: Some(&mut cache),
        ..ForwardRequest::default()
    };
    let error = block_on(engine.forward(padded)).unwrap_err();
    let refused = EngineError::Forward(ForwardError::PaddingInside);
    assert_eq!(error.to_string(), refused.to_string());
    assert_eq!(cache.seq_length(), n);

    // A cache belongs to the engine that filled it; its values do not.
    let mut other = crate::expected::engine("pg2_odd");
    let follow = ForwardRequest {
        input_ids: Some(&[7]),
        past_key_values: Some(&mut cache),
        ..ForwardRequest::default()
    };
    let error = block_on(other.forward(follow)).unwrap_err();
    assert!(error.to_string().contains("another engine"), "{error}");
    let mut taken = block_on(engine.export_cache(&cache)).unwrap();
    assert_eq!(other.import_cache(&taken).unwrap().seq_length(), n);
    taken.positions += 1;
    assert!(other.import_cache(&taken).is_err());
}
