//! Configurations as they are published, and the defaults of absent fields.

use paligemma_checkpoint::{Config, Family, Published, expected_tensors};
use serde_json::{Value, json};

/// `config.json` of `paligemma-3b-pt-224`, which leaves out all defaults.
pub(crate) fn paligemma_3b(image_size: usize) -> Value {
    let mut config = json!({
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "hidden_size": 2048,
        "ignore_index": -100,
        "image_token_index": 257152,
        "model_type": "paligemma",
        "pad_token_id": 0,
        "projection_dim": 2048,
        "text_config": {
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "model_type": "gemma",
            "num_attention_heads": 8,
            "num_hidden_layers": 18,
            "num_image_tokens": 256,
            "num_key_value_heads": 1,
            "torch_dtype": "float32",
            "vocab_size": 257216
        },
        "torch_dtype": "float32",
        "transformers_version": "4.41.0.dev0",
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 16,
            "num_hidden_layers": 27,
            "num_image_tokens": 256,
            "patch_size": 14,
            "projection_dim": 2048,
            "projector_hidden_act": "gelu_fast",
            "vision_use_head": false
        },
        "vocab_size": 257216
    });
    if image_size != 224 {
        config["vision_config"]["image_size"] = json!(image_size);
    }
    config
}

/// `config.json` of PaliGemma 2 as its conversion script writes it: no hidden
/// size at the top, a wrong `num_positions`, text defaults left out.
fn paligemma2(text: Value, image_size: usize) -> Value {
    let mut config = paligemma_3b(image_size);
    let top = config.as_object_mut().unwrap();
    top.remove("hidden_size");
    top.insert(
        "num_hidden_layers".into(),
        text["num_hidden_layers"].clone(),
    );
    top.insert("projection_dim".into(), text["hidden_size"].clone());
    top.insert("text_config".into(), text);
    config["vision_config"]["num_positions"] = json!(256);
    config
}

pub(crate) fn paligemma2_3b(image_size: usize) -> Value {
    let text = json!({
        "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "num_image_tokens": 256, "vocab_size": 257216, "torch_dtype": "bfloat16"
    });
    paligemma2(text, image_size)
}

pub(crate) fn paligemma2_10b(image_size: usize) -> Value {
    let text = json!({
        "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336,
        "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
        "num_image_tokens": 256, "vocab_size": 257216, "torch_dtype": "bfloat16"
    });
    paligemma2(text, image_size)
}

pub(crate) fn paligemma2_28b(image_size: usize) -> Value {
    let text = json!({
        "model_type": "gemma2", "hidden_size": 4608, "intermediate_size": 36864,
        "num_hidden_layers": 46, "num_attention_heads": 32, "num_key_value_heads": 16,
        "head_dim": 128, "query_pre_attn_scalar": 144, "eos_token_id": [1, 107],
        "architectures": ["Gemma2ForCausalLM"], "_vocab_size": 256000,
        "num_image_tokens": 256, "vocab_size": 257216, "torch_dtype": "bfloat16"
    });
    paligemma2(text, image_size)
}

pub(crate) fn read(config: &Value) -> Config {
    Config::from_json(config.to_string().as_bytes(), None).unwrap()
}

#[test]
fn the_minimal_file_of_paligemma_3b_gets_its_defaults() {
    let config = read(&paligemma_3b(224));
    let text = &config.text;
    assert_eq!(text.family, Family::Gemma);
    assert_eq!((text.vocab_size, text.hidden_size), (257_216, 2048));
    assert_eq!(
        (text.intermediate_size, text.num_hidden_layers),
        (16_384, 18)
    );
    assert_eq!((text.num_attention_heads, text.num_key_value_heads), (8, 1));
    assert_eq!((text.head_dim, text.max_position_embeddings), (256, 8192));
    assert_eq!((text.rms_norm_eps, text.rope_theta), (1e-6, 10_000.0));
    assert_eq!(text.attention_scale(), 1.0 / 16.0);
    assert_eq!(text.sliding_window, None);
    assert_eq!(text.sliding_layers, [false; 18]);
    assert_eq!(text.attn_logit_softcapping, None);
    assert_eq!(text.final_logit_softcapping, None);
    assert!(text.tie_word_embeddings);

    let vision = &config.vision;
    assert_eq!((vision.hidden_size, vision.intermediate_size), (1152, 4304));
    assert_eq!(
        (vision.num_hidden_layers, vision.num_attention_heads),
        (27, 16)
    );
    assert_eq!((vision.image_size, vision.patch_size), (224, 14));
    assert_eq!((vision.num_patches(), vision.head_dim()), (256, 72));
    assert_eq!((vision.num_channels, vision.layer_norm_eps), (3, 1e-6));

    assert_eq!(config.image_token_id, 257_152);
    assert_eq!((config.bos_token_id, config.pad_token_id), (2, 0));
    assert_eq!(config.eos_token_ids, [1]);
}

#[test]
fn paligemma_2_gets_its_defaults() {
    let config = read(&paligemma2_3b(448));
    let text = &config.text;
    assert_eq!(text.family, Family::Gemma2);
    assert_eq!((text.hidden_size, text.head_dim), (2304, 256));
    assert_eq!(text.attention_scale(), 1.0 / 16.0);
    assert_eq!(text.sliding_window, Some(4096));
    let even: Vec<bool> = (0..26).map(|i| i % 2 == 0).collect();
    assert_eq!(text.sliding_layers, even);
    assert_eq!(text.attn_logit_softcapping, Some(50.0));
    assert_eq!(text.final_logit_softcapping, Some(30.0));
    // From the image's size, not from the file's wrong `num_positions`.
    assert_eq!(config.vision.num_patches(), 1024);
}

#[test]
fn the_28b_model_scales_scores_by_its_own_constant() {
    let config = read(&paligemma2_28b(896));
    assert_eq!(config.text.head_dim, 128);
    assert!((config.text.attention_scale() - 1.0 / 12.0).abs() < 1e-15);
    assert_eq!(config.vision.num_patches(), 4096);
    // The top level's end token goes before the language model's.
    assert_eq!(config.eos_token_ids, [1]);
}

#[test]
fn absent_sizes_are_those_of_the_classes() {
    let sizes = |text: Value| {
        let config = json!({"model_type": "paligemma", "text_config": text, "vision_config": {}});
        let text = read(&config).text;
        [
            text.vocab_size,
            text.hidden_size,
            text.intermediate_size,
            text.num_hidden_layers,
            text.num_attention_heads,
            text.num_key_value_heads,
            text.head_dim,
        ]
    };
    let gemma = [256_000, 3072, 24_576, 28, 16, 16, 256];
    assert_eq!(sizes(json!({})), gemma);
    assert_eq!(sizes(json!({"model_type": "gemma"})), gemma);
    let gemma2 = [256_000, 2304, 9216, 26, 8, 4, 256];
    assert_eq!(sizes(json!({"model_type": "gemma2"})), gemma2);

    let config = read(&json!({"model_type": "paligemma", "text_config": {}, "vision_config": {}}));
    assert_eq!(config.image_token_id, 256_000);
    assert_eq!((config.bos_token_id, config.pad_token_id), (2, 0));
    assert_eq!(config.eos_token_ids, [1]);
    let vision = config.vision;
    assert_eq!((vision.hidden_size, vision.intermediate_size), (768, 3072));
    assert_eq!(
        (vision.num_hidden_layers, vision.num_attention_heads),
        (12, 12)
    );
    assert_eq!((vision.patch_size, vision.image_size), (16, 224));
}

#[test]
fn parameters_are_as_many_as_published() {
    // Counted by keras-hub for 257,152 rows of vocabulary, here with the 64
    // more that the files have.
    type Model = fn(usize) -> Value;
    let published: [(Model, [u64; 3]); 4] = [
        (paligemma_3b, [2_923_466_480, 2_924_351_216, 2_927_890_160]),
        (paligemma2_3b, [3_032_242_416, 3_033_127_152, 3_036_666_096]),
        (
            paligemma2_10b,
            [9_662_638_832, 9_663_523_568, 9_667_062_512],
        ),
        (
            paligemma2_28b,
            [27_650_487_024, 27_651_371_760, 27_654_910_704],
        ),
    ];
    for (model, counts) in published {
        for (image_size, count) in [224, 448, 896].into_iter().zip(counts) {
            let tensors = expected_tensors(&read(&model(image_size)));
            let parameters: u64 = tensors
                .iter()
                .map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>())
                .sum();
            assert_eq!(parameters, count, "at {image_size} pixels");
        }
    }
}

#[test]
fn published_shapes_are_what_the_files_say() {
    let mut names = Vec::new();
    let files = [paligemma_3b, paligemma2_3b, paligemma2_10b, paligemma2_28b];
    let files = files.iter().flat_map(|file| [224, 448, 896].map(file));
    for (shape, file) in Published::all().zip(files) {
        assert_eq!(shape.config(None).unwrap(), read(&file), "{shape:?}");
        let named = Published::named(&shape.name()).unwrap();
        assert_eq!(named.name(), shape.name());
        let few = shape.config(Some(2)).unwrap();
        assert_eq!(few.text.num_hidden_layers, 2);
        assert_eq!(few.vision.num_hidden_layers, 2);
        assert_eq!(few.text.hidden_size, read(&file).text.hidden_size);
        assert!(shape.config(Some(0)).is_err());
        names.push(shape.name());
    }
    assert_eq!(names.len(), 12);
    assert_eq!(names[0], "paligemma-3b-224");
    assert_eq!(names[11], "paligemma2-28b-896");
    assert!(Published::named("paligemma2-3b").is_none());
}

#[test]
fn tensors_are_as_many_as_in_the_released_files() {
    assert_eq!(expected_tensors(&read(&paligemma_3b(224))).len(), 603);
    assert_eq!(expected_tensors(&read(&paligemma2_3b(448))).len(), 727);
}

#[test]
fn the_rotary_base_is_read_where_each_version_writes_it() {
    for (fields, theta) in [
        (json!({}), 10_000.0),
        (json!({"rope_theta": 500}), 500.0),
        (
            json!({"rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"}}),
            1000.0,
        ),
        (
            json!({"rope_parameters": {"rope_theta": 7.0}, "rope_theta": 8.0}),
            7.0,
        ),
        (
            json!({"rope_parameters": {"rope_type": "default"}, "rope_theta": 8.0}),
            8.0,
        ),
        (json!({"rope_scaling": null, "rope_theta": 9.0}), 9.0),
        (json!({"rope_parameters": null}), 10_000.0),
    ] {
        let mut config = paligemma2_3b(224);
        config["text_config"]
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        assert_eq!(read(&config).text.rope_theta, theta, "{fields}");
    }
}

#[test]
fn none_is_a_choice_for_caps_and_window() {
    let mut config = paligemma2_3b(224);
    for field in [
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "sliding_window",
    ] {
        config["text_config"][field] = Value::Null;
    }
    let text = read(&config).text;
    assert_eq!(text.attn_logit_softcapping, None);
    assert_eq!(text.final_logit_softcapping, None);
    assert_eq!(text.sliding_window, None);
    assert_eq!(text.sliding_layers, [false; 26]);
}

#[test]
fn null_is_absent_for_everything_else() {
    let mut config = paligemma2_3b(224);
    config["text_config"]["head_dim"] = Value::Null;
    config["quantization_config"] = Value::Null;
    config["eos_token_id"] = Value::Null;
    config["text_config"]["eos_token_id"] = json!([7, 8]);
    let config = read(&config);
    assert_eq!(config.text.head_dim, 256);
    assert_eq!(config.eos_token_ids, [7, 8]);
}

#[test]
fn layer_types_are_followed() {
    let mut config = paligemma2_3b(224);
    config["text_config"]["num_hidden_layers"] = json!(3);
    config["text_config"]["layer_types"] =
        json!(["full_attention", "sliding_attention", "sliding_attention"]);
    assert_eq!(read(&config).text.sliding_layers, [false, true, true]);
}

#[test]
fn the_generation_settings_go_before_the_configuration() {
    let config = paligemma2_28b(224).to_string();
    let with = |generation: &str| {
        Config::from_json(config.as_bytes(), Some(generation.as_bytes())).unwrap()
    };
    let both = with(r#"{"eos_token_id": [1, 107], "bos_token_id": 5, "pad_token_id": 6}"#);
    assert_eq!(both.eos_token_ids, [1, 107]);
    assert_eq!((both.bos_token_id, both.pad_token_id), (5, 6));
    assert_eq!(with("{}").eos_token_ids, [1]);
}

#[test]
fn the_image_token_has_two_names() {
    let mut config = paligemma_3b(224);
    config.as_object_mut().unwrap().remove("image_token_index");
    config["image_token_id"] = json!(257_152);
    assert_eq!(read(&config).image_token_id, 257_152);
}

#[test]
fn gelu_in_gemma_1_means_its_tanh_form() {
    let mut config = paligemma_3b(224);
    config["text_config"]["hidden_act"] = json!("gelu");
    read(&config);
    config["vision_config"]["hidden_act"] = json!("gelu_fast");
    read(&config);
}

#[test]
fn the_head_is_tied_unless_the_file_says_otherwise() {
    let tied = |top: Value, text: Value| {
        let mut config = paligemma_3b(224);
        config["tie_word_embeddings"] = top;
        config["text_config"]["tie_word_embeddings"] = text;
        let config = read(&config);
        let head = "language_model.lm_head.weight";
        let expected = expected_tensors(&config)
            .iter()
            .any(|(name, _)| name == head);
        assert_eq!(expected, !config.text.tie_word_embeddings);
        config.text.tie_word_embeddings
    };
    assert!(tied(Value::Null, Value::Null));
    assert!(tied(json!(true), json!(false)));
    assert!(!tied(json!(false), json!(true)));
    assert!(!tied(Value::Null, json!(false)));
}

#[test]
fn sides_may_be_pairs() {
    let mut config = paligemma_3b(224);
    config["vision_config"]["image_size"] = json!([448, 448]);
    assert_eq!(read(&config).vision.image_size, 448);
}
