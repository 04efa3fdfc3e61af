//! What recipes do with each tensor, and how large the released checkpoints become.

use crate::config::{paligemma_3b, paligemma2_3b, paligemma2_10b, paligemma2_28b, read};
use paligemma_checkpoint::{Dtype, Precision, Recipe, Storage, expected_tensors};

/// Decimal gigabytes of the 224-pixel checkpoints under each recipe.
#[test]
fn released_checkpoints_fit_what_is_promised() {
    let gigabytes =
        |recipe: &Recipe, config, stored| recipe.bytes(&read(&config), stored) as f64 / 1e9;
    for (name, config, stored) in [
        ("PaliGemma 3B", paligemma_3b(224), Dtype::F32),
        ("PaliGemma 2 3B", paligemma2_3b(224), Dtype::BF16),
        ("PaliGemma 2 10B", paligemma2_10b(224), Dtype::BF16),
        ("PaliGemma 2 28B", paligemma2_28b(224), Dtype::BF16),
    ] {
        let sizes: Vec<f64> = Recipe::ALL
            .iter()
            .map(|recipe| gigabytes(recipe, config.clone(), stored))
            .collect();
        // as-stored, f16, q8, q4, q4-small; int4-g128 keeps the rest as stored.
        let falling = sizes[..5].windows(2).all(|pair| pair[0] >= pair[1]);
        assert!(falling, "{name}: {sizes:?}");
    }
    assert!(gigabytes(&Recipe::Q4, paligemma2_3b(224), Dtype::BF16) <= 2.25);
    assert!(gigabytes(&Recipe::Q4_SMALL, paligemma2_3b(224), Dtype::BF16) <= 1.9);
}

/// Bits a weight, as each recipe's documentation says.
#[test]
fn precisions_take_the_bits_they_say() {
    for (name, bits) in [
        ("f16", 16.0),
        ("q8-g64", 8.25),
        ("q4-g32", 4.5),
        ("q4-g64", 4.25),
        ("int4-g128", 4.25),
    ] {
        let precision: Precision = name.parse().unwrap();
        assert_eq!(precision.bits_per_weight(), bits, "{name}");
        // A row of the decoder's hidden size is whole groups of each.
        let row = precision.layout(2304);
        let bytes = (row.weight_bytes + row.scale_bytes) as f64;
        assert_eq!(bytes * 8.0 / 2304.0, bits, "{name}");
    }
}

#[test]
fn each_part_has_its_precision() {
    let config = read(&paligemma2_3b(224));
    let int4 = Storage::Matrix(Precision::Int4 { group: 128 });
    let stored = Storage::Matrix(Precision::BF16);
    let q8 = Storage::Matrix(Precision::Q8 { group: 64 });
    let q4 = Storage::Matrix(Precision::Q4 { group: 32 });
    let mut seen = 0;
    for (name, shape) in expected_tensors(&config) {
        let of = |recipe: Recipe| recipe.storage(&name, &shape, Dtype::BF16);
        let wanted = if shape.len() < 2 || name.contains("position_embedding") {
            [Storage::Numbers; 4]
        } else if name.contains("patch_embedding") {
            [stored; 4]
        } else if name.contains("language_model.model.layers") {
            [stored, int4, q4, q8]
        } else {
            [stored, stored, q8, q8]
        };
        let got = [
            of(Recipe::AS_STORED),
            of(Recipe::INT4_G128),
            of(Recipe::Q4),
            of(Recipe::Q8),
        ];
        assert_eq!(got, wanted, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 727);
    // A row that is not whole groups of 128 stays as it is.
    let odd = Recipe::INT4_G128.storage(
        "language_model.model.layers.0.mlp.down_proj.weight",
        &[2304, 9215],
        Dtype::F16,
    );
    assert_eq!(odd, Storage::Matrix(Precision::F16));
    assert_eq!(Recipe::named("q4-small"), Some(Recipe::Q4_SMALL));
    assert_eq!(Recipe::named("q5"), None);
}
