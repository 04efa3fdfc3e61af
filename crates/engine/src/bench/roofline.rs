//! What a stage has to compute, whatever computes it.

use paligemma_checkpoint::{Config, expected_tensors};

/// Multiply-adds of one picture through the vision tower and the projector.
pub(crate) fn vision(config: &Config) -> u64 {
    let vision = &config.vision;
    let patches = vision.num_patches() as u64;
    let weights = matrices(config, |name| {
        let tower = name.starts_with("vision_tower.") && !name.contains("position_embedding");
        tower || name.starts_with("multi_modal_projector.")
    });
    patches * weights + vision_attention(config)
}

/// The part of that which is attention: each patch with each, products of queries and keys, and
/// sums of values.
pub(crate) fn vision_attention(config: &Config) -> u64 {
    let vision = &config.vision;
    let patches = vision.num_patches() as u64;
    2 * patches * patches * (vision.hidden_size * vision.num_hidden_layers) as u64
}

/// Multiply-adds of a bidirectional prefix of so many tokens through the decoder, and of its last
/// token through the head.
pub(crate) fn prefill(config: &Config, tokens: usize) -> u64 {
    let text = &config.text;
    let layers = matrices(config, |name| name.contains("language_model.model.layers."));
    let head = text.vocab_size as u64 * text.hidden_size as u64;
    tokens as u64 * layers + prefill_attention(config, tokens) + head
}

/// The part of that which is attention.
pub(crate) fn prefill_attention(config: &Config, tokens: usize) -> u64 {
    let text = &config.text;
    let width = (text.num_attention_heads * text.head_dim) as u64;
    2 * (tokens * tokens * text.num_hidden_layers) as u64 * width
}

/// Numbers in the matrices of these names.
fn matrices(config: &Config, named: impl Fn(&str) -> bool) -> u64 {
    let tensors = expected_tensors(config).into_iter();
    tensors
        .filter(|(name, shape)| shape.len() > 1 && named(name))
        .map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>())
        .sum()
}

#[cfg(test)]
mod tests {
    use paligemma_checkpoint::Published;

    use super::*;

    fn config(name: &str) -> Config {
        let shape = Published::named(name).expect("a published shape");
        shape.config(None).expect("a configuration")
    }

    /// By hand from the published dimensions.
    #[test]
    fn a_stage_costs_what_its_shapes_say() {
        let layer = 4 * 1152 * 1152 + 2 * 1152 * 4304;
        let attention = 2 * 256 * 256 * 1152;
        let (patch, projector) = (1152 * 588, 1152 * 2304);
        let tower: u64 = 256 * (patch + 27 * layer + projector) + 27 * attention;
        assert_eq!(vision(&config("paligemma2-3b-224")), tower);
        let part = vision_attention(&config("paligemma2-3b-224"));
        assert_eq!(part, 27 * attention);

        let layer = 2304 * (2048 + 2 * 1024 + 2048) + 3 * 2304 * 9216;
        let attention = 2 * 264 * 264 * 2048;
        let decoder: u64 = 264 * 26 * layer + 26 * attention + 257_216 * 2304;
        assert_eq!(prefill(&config("paligemma2-3b-224"), 264), decoder);

        let layer = 2048 * (2048 + 2 * 256 + 2048) + 3 * 2048 * 16_384;
        let attention = 2 * 2048;
        let decoder: u64 = 18 * layer + 18 * attention + 257_216 * 2048;
        assert_eq!(prefill(&config("paligemma-3b-448"), 1), decoder);
    }
}
