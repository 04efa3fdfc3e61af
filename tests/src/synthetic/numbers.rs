//! Numbers that follow from a tensor's name and an element's index.

use std::sync::OnceLock;

use half::bf16;

use super::{STEP, mix};

/// Different values in one tensor; a power of two.
const LEVELS: usize = 4096;
/// Elements that one 64-bit number decides: 16 bits each, of which the upper 12 choose.
const LANES: u64 = 4;

/// A tensor's values: a triangular distribution about `mean`, which reaches 2.45 `std` far to
/// either side, rounded to bfloat16.
pub(super) struct Numbers {
    seed: u64,
    mean: f64,
    std: f64,
    levels: OnceLock<Box<[u16]>>,
}

impl Numbers {
    pub(super) fn new(name: &str, mean: f64, std: f64) -> Self {
        // FNV-1a, 64 bits.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        Self {
            seed: mix(hash),
            mean,
            std,
            levels: OnceLock::new(),
        }
    }

    /// The bits of every value, by its 12 bits of chance. Only square roots besides the four
    /// operations, which are the same everywhere.
    fn levels(&self) -> &[u16] {
        self.levels.get_or_init(|| {
            let level = |i: usize| {
                let chance = (i as f64 + 0.5) / LEVELS as f64;
                let tail = chance.min(1.0 - chance);
                let distance = 6f64.sqrt() * (1.0 - (2.0 * tail).sqrt());
                let side = if chance < 0.5 { -1.0 } else { 1.0 };
                bf16::from_f64(self.mean + self.std * side * distance).to_bits()
            };
            (0..LEVELS).map(level).collect()
        })
    }

    /// Little-endian bfloat16 of elements from `first` on, until `out` is full. `out` holds whole
    /// elements.
    pub(super) fn fill(&self, first: u64, out: &mut [u8]) {
        let levels = self.levels();
        let (mut state, mut left) = (
            self.seed.wrapping_add((first / LANES).wrapping_mul(STEP)),
            0,
        );
        let mut bits = 0;
        let skipped = first % LANES;
        if skipped != 0 {
            bits = mix(state) >> (16 * skipped);
            state = state.wrapping_add(STEP);
            left = LANES - skipped;
        }
        let head = (2 * left as usize).min(out.len());
        let (head, body) = out.split_at_mut(head);
        for element in head.as_chunks_mut::<2>().0 {
            *element = level(levels, bits).to_le_bytes();
            bits >>= 16;
        }
        let (blocks, tail) = body.as_chunks_mut::<8>();
        for block in blocks {
            bits = mix(state);
            state = state.wrapping_add(STEP);
            let four = u64::from(level(levels, bits))
                | u64::from(level(levels, bits >> 16)) << 16
                | u64::from(level(levels, bits >> 32)) << 32
                | u64::from(level(levels, bits >> 48)) << 48;
            *block = four.to_le_bytes();
        }
        bits = mix(state);
        for element in tail.as_chunks_mut::<2>().0 {
            *element = level(levels, bits).to_le_bytes();
            bits >>= 16;
        }
    }
}

fn level(levels: &[u16], bits: u64) -> u16 {
    levels[(bits as usize >> 4) & (LEVELS - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value's definition, one element at a time.
    fn by_definition(name: &str, index: u64, mean: f64, std: f64) -> u16 {
        let mut hash = 14_695_981_039_346_656_037_u64;
        for byte in name.bytes() {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(1_099_511_628_211);
        }
        let splitmix = |state: u64| {
            let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let block = (index / 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let word = splitmix(splitmix(hash).wrapping_add(block));
        let lane = (word >> (16 * (index % 4))) & 0xFFFF;
        // The quantile of a triangular distribution on ±√6.
        let chance = ((lane >> 4) as f64 + 0.5) / 4096.0;
        let distance = if chance < 0.5 {
            -6f64.sqrt() * (1.0 - (2.0 * chance).sqrt())
        } else {
            6f64.sqrt() * (1.0 - (2.0 * (1.0 - chance)).sqrt())
        };
        bf16::from_f64(mean + std * distance).to_bits()
    }

    #[test]
    fn every_element_follows_from_the_name_and_its_index() {
        let numbers = Numbers::new("a.weight", 0.5, 0.25);
        for first in [0, 1, 2, 3, 4, 1023, (1 << 40) + 3] {
            for count in [0, 1, 2, 3, 4, 5, 9, 64] {
                let mut bytes = vec![0; 2 * count];
                numbers.fill(first, &mut bytes);
                for (at, found) in (first..).zip(bytes.as_chunks::<2>().0) {
                    let expected = by_definition("a.weight", at, 0.5, 0.25);
                    assert_eq!(u16::from_le_bytes(*found), expected, "{first} {count} {at}");
                }
            }
        }
    }

    #[test]
    fn mean_and_deviation_are_as_asked_for() {
        let count = 1 << 20;
        let mut bytes = vec![0; 2 * count];
        Numbers::new("b.weight", 2.0, 0.1).fill(0, &mut bytes);
        let values = bytes.as_chunks::<2>().0.iter();
        let values: Vec<f64> = values.map(|&b| bf16::from_le_bytes(b).to_f64()).collect();
        let mean = values.iter().sum::<f64>() / count as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count as f64;
        // The mean of 2^20 is within 5 of its standard deviations, 1e-4 each; the deviation within
        // a percent: its own is 0.06 %, and rounding to steps of 2^-7 adds 0.02 %.
        assert!((mean - 2.0).abs() < 5e-4, "{mean}");
        assert!((variance.sqrt() / 0.1 - 1.0).abs() < 0.01, "{variance}");
    }
}
