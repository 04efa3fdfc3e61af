//! The names of an adapter's tensors.

use crate::names::canonical_name;

/// What stands before every module's path in a file that PEFT wrote.
const PREFIX: &str = "base_model.model.";

/// Which of the two matrices of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// A `[rank, in]`.
    A,
    /// B `[out, rank]`.
    B,
}

/// A tensor of an adapter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    /// The module's path in the model that was trained, whatever version of transformers it was.
    pub(crate) module: String,
    /// The canonical name of the weight that it changes.
    pub(crate) weight: String,
    pub(crate) side: Side,
}

impl Name {
    /// Reads `base_model.model.<module>.lora_A.weight`, with or without the name of the adapter
    /// before `weight`.
    ///
    /// # Errors
    /// What the tensor is instead.
    pub(crate) fn parse(stored: &str) -> Result<Self, &'static str> {
        let path = stored.strip_prefix(PREFIX).unwrap_or(stored);
        let split = |mark, side| {
            path.rsplit_once(mark)
                .map(|(module, end)| (module, end, side))
        };
        let parts = split(".lora_A.", Side::A).or_else(|| split(".lora_B.", Side::B));
        let Some((module, end, side)) = parts else {
            return Err(if path.contains(".lora_embedding_") {
                "adapts the embedding, which is not supported"
            } else if path.contains("lora_magnitude_vector") {
                "belongs to DoRA, which is not supported"
            } else {
                "is no part of a LoRA adapter that is supported here"
            });
        };
        let name = end.strip_suffix("weight");
        let plain = name.is_some_and(|name| {
            let adapter = name.strip_suffix('.');
            name.is_empty() || adapter.is_some_and(|a| !a.is_empty() && !a.contains('.'))
        });
        if !plain {
            return Err("is no weight of A or B, and nothing else is supported");
        }
        let weight = canonical_name(&format!("{module}.weight"));
        Ok(Self {
            module: module.to_owned(),
            weight: weight.ok_or("is for a module that no PaliGemma has")?,
            side,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_names_the_same_weight() {
        let weight = "language_model.model.layers.3.self_attn.q_proj.weight";
        for module in [
            "language_model.model.layers.3.self_attn.q_proj",
            "model.language_model.layers.3.self_attn.q_proj",
            "language_model.layers.3.self_attn.q_proj",
        ] {
            for (end, side) in [
                ("lora_A.weight", Side::A),
                ("lora_B.weight", Side::B),
                ("lora_A.default.weight", Side::A),
                ("lora_B.my-adapter.weight", Side::B),
            ] {
                for prefix in [PREFIX, ""] {
                    let name = Name::parse(&format!("{prefix}{module}.{end}")).expect(module);
                    assert_eq!(name.weight, weight, "{prefix}{module}.{end}");
                    assert_eq!((name.module.as_str(), name.side), (module, side));
                }
            }
        }
        let weight = "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight";
        for module in [
            "vision_tower.vision_model.encoder.layers.0.mlp.fc1",
            "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1",
            "vision_tower.encoder.layers.0.mlp.fc1",
            "model.vision_tower.encoder.layers.0.mlp.fc1",
        ] {
            let name = Name::parse(&format!("{PREFIX}{module}.lora_B.weight")).expect(module);
            assert_eq!(name.weight, weight, "{module}");
        }
        let name = Name::parse("base_model.model.model.multi_modal_projector.linear.lora_A.weight");
        let name = name.expect("the projector");
        assert_eq!(name.weight, "multi_modal_projector.linear.weight");
    }

    #[test]
    fn everything_else_is_refused() {
        for stored in [
            "",
            "base_model.model.",
            "base_model.model.language_model.model.embed_tokens.lora_embedding_A",
            "base_model.model.language_model.model.layers.0.mlp.up_proj.lora_magnitude_vector",
            "base_model.model.language_model.model.layers.0.mlp.up_proj.lora_A.bias",
            "base_model.model.language_model.model.layers.0.mlp.up_proj.lora_A.a.b.weight",
            "base_model.model.language_model.model.layers.0.mlp.up_proj.lora_A..weight",
            "base_model.model.language_model.model.layers.0.mlp.up_proj.base_layer.weight",
            "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight",
        ] {
            assert!(Name::parse(stored).is_err(), "{stored}");
        }
    }
}
