//! The made-up checkpoints are what they claim to be.

use std::ops::Range;

use half::bf16;
use paligemma_checkpoint::{Checkpoint, Published, Source, SourceError};
use safetensors::tensor::Metadata;

use super::*;

struct Files(Synthetic);

impl Source for Files {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        let files = self.0.files();
        Ok(files
            .into_iter()
            .find(|(name, _)| name == path)
            .map(|(_, bytes)| bytes))
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        Ok(self.0.read(path, range))
    }
}

fn of_two_layers() -> Synthetic {
    Synthetic::new(Shape::PaliGemma2_28b, Options { layers: Some(2) })
}

#[test]
fn every_shape_is_a_checkpoint_with_the_published_number_of_parameters() {
    // Of the published files, with their 257 216 rows of embedding, and their tensors.
    for (shape, parameters, tensors, shards) in [
        (Shape::PaliGemma3b, 2_923_466_480, 603, 2),
        (Shape::PaliGemma2_3b, 3_032_242_416, 727, 2),
        (Shape::PaliGemma2_10b, 9_662_638_832, 903, 4),
        (Shape::PaliGemma2_28b, 27_650_487_024, 947, 12),
    ] {
        let files = Files(Synthetic::new(shape, Options::default()));
        let checkpoint = pollster::block_on(Checkpoint::open(files)).unwrap();
        assert!(checkpoint.ignored().is_empty());
        assert_eq!(checkpoint.tensors().len(), tensors);
        assert_eq!(checkpoint.files().len(), shards, "{}", shape.name());
        let counted: usize = checkpoint
            .tensors()
            .iter()
            .map(|t| t.rows() * t.cols())
            .sum();
        assert_eq!(counted, parameters, "{}", shape.name());
        assert_eq!(checkpoint.total_bytes(), 2 * parameters as u64);
        assert_eq!(Shape::named(shape.name()), Some(shape));
        // What `paligemma bench` makes up is of the same dimensions.
        let published = Published::named(shape.name()).unwrap();
        assert_eq!(&published.config(None).unwrap(), checkpoint.config());
    }
}

#[test]
fn fewer_layers_keep_their_widths() {
    let checkpoint = pollster::block_on(Checkpoint::open(Files(of_two_layers()))).unwrap();
    let config = checkpoint.config();
    assert_eq!(
        (
            config.text.num_hidden_layers,
            config.vision.num_hidden_layers
        ),
        (2, 2)
    );
    let (hidden, head) = (config.text.hidden_size, config.text.head_dim);
    assert_eq!(
        (hidden, head, config.text.attention_scale()),
        (4608, 128, 1.0 / 12.0)
    );
    // Vision 3 + 2 * 16 + 2, projector 2, text 2 + 2 * 11.
    assert_eq!(checkpoint.tensors().len(), 37 + 2 + 24);
}

#[test]
fn any_range_is_the_same_part_of_the_whole() {
    let synthetic = of_two_layers();
    let files = synthetic.files();
    assert!(
        files
            .iter()
            .any(|(name, _)| name == "model.safetensors.index.json")
    );
    for (name, bytes) in files {
        let whole = 0..bytes.min(3 << 20);
        let expected = synthetic.read(&name, whole.clone());
        assert_eq!(expected.len() as u64, whole.end);
        let mut random = 7;
        for _ in 0..50 {
            random = mix(random);
            let start = random % whole.end;
            let end = start + mix(!random) % (whole.end - start + 1);
            let part = &expected[start as usize..end as usize];
            assert!(
                synthetic.read(&name, start..end) == part,
                "{name} {start}..{end}"
            );
        }
        // Its end, in one piece and in two.
        let tail = bytes.saturating_sub(100_001)..bytes;
        let middle = (tail.start + bytes) / 2;
        let halves = [tail.start..middle, middle..tail.end].map(|part| synthetic.read(&name, part));
        assert!(synthetic.read(&name, tail) == halves.concat(), "{name}");
    }
}

/// The header's offsets lead to the tensor's own numbers: a matrix has the deviation that its width
/// asks for, a norm lies about its mean.
#[test]
fn tensors_lie_where_the_header_says() {
    let synthetic = of_two_layers();
    let wanted = [
        // Factor 10, stored without its one.
        ("language_model.model.norm.weight", 9.0, 1.0),
        (
            "language_model.model.layers.1.mlp.down_proj.weight",
            0.0,
            3.0 / 36_864f64.sqrt(),
        ),
        ("vision_tower.vision_model.post_layernorm.weight", 1.0, 0.1),
    ];
    let mut seen = 0;
    for (file, bytes) in synthetic.files() {
        if !file.ends_with(".safetensors") {
            continue;
        }
        let length = synthetic.read(&file, 0..8);
        let header_bytes = 8 + u64::from_le_bytes(length.try_into().unwrap());
        let header = synthetic.read(&file, 8..header_bytes);
        let header: Metadata = serde_json::from_slice(&header).unwrap();
        assert_eq!(bytes, header_bytes + header.data_len() as u64);
        for (name, mean, std) in wanted {
            let Some(info) = header.info(name) else {
                continue;
            };
            let (start, end) = info.data_offsets;
            let end = end.min(start + (1 << 20));
            let range = header_bytes + start as u64..header_bytes + end as u64;
            let bytes = synthetic.read(&file, range);
            let values = bytes.as_chunks::<2>().0.iter();
            let values: Vec<f64> = values.map(|&b| bf16::from_le_bytes(b).to_f64()).collect();
            let count = values.len() as f64;
            let found = values.iter().sum::<f64>() / count;
            let spread = values.iter().map(|v| (v - found).powi(2)).sum::<f64>() / count;
            // 1152 values at least. The mean within five of its standard deviations, and a bfloat16
            // step; the deviation, whose own is below 0.02, within five of that.
            let near = 5.0 * std / count.sqrt() + mean / 256.0;
            assert!((found - mean).abs() < near, "{name}: {found}");
            assert!((spread.sqrt() / std - 1.0).abs() < 0.1, "{name}: {spread}");
            seen += 1;
        }
    }
    assert_eq!(seen, wanted.len());
}
