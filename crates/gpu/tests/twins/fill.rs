//! Noise as a packed plane of a matrix: little-endian words, row after row.

use half::{bf16, f16};

/// What a word holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Element {
    F32,
    F16,
    Bf16,
    Byte,
    Nibble,
    Scale,
    /// A scale and a zero.
    Pair,
}

/// PCG with 32 bits of state.
fn hash(x: u32) -> u32 {
    let state = x.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

fn byte(noise: u32, i: usize) -> i8 {
    // -127 to 127, as the packer's codes.
    (i16::from(noise.to_le_bytes()[i]) - 128).max(-127) as i8
}

/// `rows` of `columns` elements, each row padded to whole words of a block of eight columns
/// (`row_words`).
pub(crate) fn plane(
    element: Element,
    [rows, row_words, columns]: [usize; 3],
    seed: u32,
    exponent: i32,
) -> Vec<u8> {
    let unit = 2f64.powi(exponent);
    let mut bytes = Vec::new();
    for index in 0..rows * row_words {
        let noise = hash(seed ^ hash(index as u32));
        let of = |i| f64::from(byte(noise, i)) * unit;
        let scale = |bits: u32| f16::from_f64(unit * (1.0 + f64::from(bits & 1023) / 1024.0));
        let halves = |a: f16, b: f16| [a.to_le_bytes(), b.to_le_bytes()].concat();
        let word: Vec<u8> = match element {
            Element::F32 => (of(0) as f32).to_le_bytes().to_vec(),
            Element::F16 => halves(f16::from_f64(of(0)), f16::from_f64(of(1))),
            Element::Bf16 => [of(0), of(1)]
                .map(|x| bf16::from_f64(x).to_le_bytes())
                .concat(),
            Element::Byte => (0..4).map(|i| byte(noise, i) as u8).collect(),
            Element::Nibble => noise.to_le_bytes().to_vec(),
            Element::Scale => halves(scale(noise), scale(noise >> 16)),
            Element::Pair => halves(scale(noise), f16::from_f64(of(3) / 16.0)),
        };
        bytes.extend(word);
    }
    blank(element, [row_words, columns], &mut bytes);
    bytes
}

/// What is beyond the columns stands for zero.
fn blank(element: Element, [row_words, columns]: [usize; 2], bytes: &mut [u8]) {
    for row in bytes.chunks_mut(row_words * 4) {
        match element {
            Element::Nibble => {
                for column in columns..row.len() * 2 {
                    let (block, i) = (column / 8, column % 8);
                    let byte = &mut row[block * 4 + i % 4];
                    *byte = if i < 4 {
                        *byte & 0xf0 | 8
                    } else {
                        *byte & 0x0f | 0x80
                    };
                }
            }
            Element::F32 => row[columns * 4..].fill(0),
            Element::Byte => row[columns..].fill(0),
            _ => row[columns * 2..].fill(0),
        }
    }
}
