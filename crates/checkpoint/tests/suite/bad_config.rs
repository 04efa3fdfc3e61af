//! Configurations that cannot be used, and what a person is told.

use crate::support::{SINGLE, memory, refusal, says, with_config};
use paligemma_checkpoint::{CheckpointError, Config};
use serde_json::{Value, json};

fn refused(change: impl FnOnce(&mut Value)) -> String {
    refusal(with_config(memory(SINGLE), change))
}

#[test]
fn fields_without_a_default_are_asked_for() {
    for field in ["text_config", "vision_config"] {
        let message = refused(|config| {
            config.as_object_mut().unwrap().remove(field);
        });
        says(
            &message,
            &[
                "config.json",
                &format!("`{field}` is absent and has no default"),
                ": take config",
            ],
        );
    }
    let message = refused(|config| {
        config.as_object_mut().unwrap().remove("model_type");
    });
    says(
        &message,
        &[
            "`model_type` is absent and has no default",
            ": use a PaliGemma",
        ],
    );
}

#[test]
fn other_models_are_named() {
    let message = refused(|config| config["model_type"] = json!("llava"));
    says(
        &message,
        &[
            "config.json",
            "`model_type` is \"llava\"",
            "only paligemma",
            ": use a PaliGemma",
        ],
    );
    let message = refused(|config| config["text_config"]["model_type"] = json!("gemma3_text"));
    says(
        &message,
        &[
            "`text_config.model_type` is \"gemma3_text\"",
            "only gemma, gemma2",
        ],
    );
    let message = refused(|config| config["vision_config"]["model_type"] = json!("clip"));
    says(&message, &["`vision_config.model_type` is \"clip\""]);
}

#[test]
fn quantized_weights_are_refused() {
    let message = refused(|config| config["quantization_config"] = json!({"bits": 4}));
    says(
        &message,
        &[
            "`quantization_config`",
            "already quantized",
            ": use a PaliGemma",
        ],
    );
    let message =
        refused(|config| config["text_config"]["quantization_config"] = json!({"bits": 4}));
    says(&message, &["`text_config.quantization_config`"]);
}

#[test]
fn what_would_compute_something_else_is_refused() {
    let text = |field: &str, value: Value| {
        let message = refused(|config| {
            config["text_config"]["model_type"] = json!("gemma2");
            config["text_config"][field] = value;
        });
        says(&message, &["config.json", &format!("`text_config.{field}")]);
    };
    text("attention_bias", json!(true));
    text("hidden_activation", json!("silu"));
    text("hidden_activation", json!("gelu"));
    text(
        "rope_parameters",
        json!({"rope_type": "yarn", "rope_theta": 1e4}),
    );
    text("rope_parameters", json!({"partial_rotary_factor": 0.5}));
    text(
        "rope_parameters",
        json!({"full_attention": {"rope_theta": 1e4}}),
    );
    text("rope_scaling", json!({"type": "linear", "factor": 2.0}));
    text("layer_types", json!(["full_attention"]));
    text(
        "layer_types",
        json!(["full_attention", "full_attention", "chunked_attention"]),
    );
    text("layer_types", json!("full_attention"));
    for activation in ["gelu", "quick_gelu", "relu"] {
        let message = refused(|config| config["vision_config"]["hidden_act"] = json!(activation));
        says(&message, &["`vision_config.hidden_act`", activation]);
    }
    let message = refused(|config| config["text_config"]["hidden_act"] = json!("relu"));
    says(
        &message,
        &["`text_config.hidden_act` is \"relu\"", "not supported"],
    );
}

#[test]
fn impossible_sizes_are_refused() {
    let hostile = [
        json!(0),
        json!(-1),
        json!(2.5),
        json!(1e30),
        json!(u64::MAX),
        json!("64"),
        json!([64]),
        json!(true),
        json!({}),
    ];
    let text = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
    ];
    let vision = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "patch_size",
        "image_size",
        "num_channels",
    ];
    let fields = text.map(|field| ("text_config", field));
    for (section, field) in fields
        .into_iter()
        .chain(vision.map(|f| ("vision_config", f)))
    {
        for value in &hostile {
            let message = refused(|config| config[section][field] = value.clone());
            says(
                &message,
                &["config.json", &format!("`{section}.{field}` is")],
            );
        }
    }
}

#[test]
fn impossible_numbers_are_refused() {
    for field in [
        "rms_norm_eps",
        "rope_theta",
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
    ] {
        for value in [json!(0), json!(-1.0), json!("1"), json!([])] {
            let message = refused(|config| {
                config["text_config"]["model_type"] = json!("gemma2");
                config["text_config"][field] = value;
            });
            says(
                &message,
                &[&format!("`text_config.{field}` is"), "a number above zero"],
            );
        }
    }
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let message = refused(|config| config["text_config"]["num_key_value_heads"] = json!(2));
    says(
        &message,
        &[
            "`text_config.num_key_value_heads` is 2",
            "does not divide the 5",
        ],
    );
    let message = refused(|config| config["text_config"]["head_dim"] = json!(23));
    says(&message, &["`text_config.head_dim` is 23", "even"]);
    let message = refused(|config| config["vision_config"]["num_attention_heads"] = json!(5));
    says(
        &message,
        &[
            "`vision_config.num_attention_heads` is 5",
            "does not divide",
            "48",
        ],
    );
    let message = refused(|config| config["vision_config"]["image_size"] = json!(57));
    says(
        &message,
        &[
            "`vision_config.image_size` is 57",
            "not a multiple of the patch size 14",
        ],
    );
    let message = refused(|config| config["vision_config"]["image_size"] = json!([56, 70]));
    says(&message, &["`vision_config.image_size`", "not a square"]);
    let message = refused(|config| config["vision_config"]["num_channels"] = json!(1));
    says(&message, &["`vision_config.num_channels` is 1", "three"]);
}

#[test]
fn impossible_tokens_are_refused() {
    for field in [
        "eos_token_id",
        "bos_token_id",
        "pad_token_id",
        "image_token_index",
    ] {
        for value in [
            json!(-1),
            json!("</s>"),
            json!([]),
            json!([1, "x"]),
            json!(1u64 << 40),
        ] {
            let mut source = with_config(memory(SINGLE), |config| config[field] = value);
            source.remove("generation_config.json");
            says(
                &refusal(source),
                &["config.json", &format!("`{field}` is"), "a token id"],
            );
        }
    }
}

#[test]
fn broken_json_is_refused() {
    let deep = "[".repeat(100_000);
    for bytes in [
        "",
        "{",
        "[]",
        "null",
        "{\"a\": NaN}",
        "{\"a\": Infinity}",
        "\u{0}",
        &deep,
    ] {
        let error = Config::from_json(bytes.as_bytes(), None).unwrap_err();
        says(&error.to_string(), &["config.json", ": download it again"]);
        let config = memory(SINGLE).get("config.json").unwrap().to_vec();
        let error = Config::from_json(&config, Some(bytes.as_bytes())).unwrap_err();
        says(
            &error.to_string(),
            &["generation_config.json", ": download it again"],
        );
    }
    assert!(Config::from_json(&[0xff, 0xfe], None).is_err());
}

#[test]
fn a_folder_without_a_configuration_is_explained() {
    let mut source = memory(SINGLE);
    source.remove("config.json");
    says(
        &refusal(source),
        &["config.json is missing", ": choose the folder"],
    );
}

#[test]
fn a_huge_configuration_is_not_read() {
    let mut source = memory(SINGLE);
    source.insert("config.json", vec![b' '; 2 << 20]);
    says(
        &refusal(source),
        &["config.json has 2097152 bytes, above the limit", ": take"],
    );
}

#[test]
fn messages_stay_short_and_printable() {
    let hostile = "\u{1b}[31m\n".repeat(100_000);
    let message = refused(|config| config["model_type"] = json!(hostile));
    assert!(message.len() < 500, "{} bytes", message.len());
    assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
}

#[test]
fn the_kind_of_error_can_be_told() {
    let error = Config::from_json(b"{\"model_type\": \"llava\"}", None).unwrap_err();
    assert!(matches!(error, CheckpointError::Config { field, .. } if field == "model_type"));
}
