//! The tensor names of every layout.

use paligemma_checkpoint::canonical_name;

const VISION: &str = "vision_tower.vision_model.encoder.layers.3.mlp.fc1.weight";
const TEXT: &str = "language_model.model.layers.2.self_attn.q_proj.weight";
const HEAD: &str = "language_model.lm_head.weight";
const PROJECTOR: &str = "multi_modal_projector.linear.bias";

#[test]
fn every_layout_leads_to_the_same_name() {
    for (canonical, stored) in [
        (VISION, VISION),
        (VISION, "vision_tower.encoder.layers.3.mlp.fc1.weight"),
        (VISION, "model.vision_tower.encoder.layers.3.mlp.fc1.weight"),
        (
            VISION,
            "model.vision_tower.vision_model.encoder.layers.3.mlp.fc1.weight",
        ),
        (TEXT, TEXT),
        (
            TEXT,
            "model.language_model.layers.2.self_attn.q_proj.weight",
        ),
        (TEXT, "language_model.layers.2.self_attn.q_proj.weight"),
        (
            TEXT,
            "model.language_model.model.layers.2.self_attn.q_proj.weight",
        ),
        (HEAD, HEAD),
        (HEAD, "lm_head.weight"),
        (HEAD, "model.lm_head.weight"),
        (PROJECTOR, PROJECTOR),
        (PROJECTOR, "model.multi_modal_projector.linear.bias"),
    ] {
        assert_eq!(
            canonical_name(stored).as_deref(),
            Some(canonical),
            "{stored}"
        );
    }
}

#[test]
fn other_models_have_no_canonical_names() {
    for stored in [
        "",
        "model.",
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "language_model",
        "text_model.encoder.layers.0.mlp.fc1.weight",
        "xlm_head.weight",
    ] {
        assert_eq!(canonical_name(stored), None, "{stored}");
    }
}
