//! Pillow's `Image.resize`, to the bit: bicubic on 8-bit levels, bilinear on f32 numbers.
//!
//! Antialiased: the filter widens with the reduction. Two passes, horizontal first (every Pillow
//! up to 12), each with weights in fixed point of 22 fractional bits, the result of each rounded
//! and clipped to a byte; a pass that would not change its size is left out. The source is Pillow's
//! `src/libImaging/Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`).
//!
//! Some versions of Pillow change the order for tall pictures: recent ones of up to 12, in Python,
//! for what is more than a hundred times as tall as wide, and 13 for much more. The order here is
//! always the same; for such slivers the levels differ a little.

/// Fractional bits of a weight: 32 less the 8 of a sample and 2 of head room, as in Pillow.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// A kernel and half its width, in samples of the smaller of the two grids.
#[derive(Clone, Copy)]
struct Kernel {
    of: fn(f64) -> f64,
    support: f64,
}

const BICUBIC: Kernel = Kernel {
    of: bicubic,
    support: 2.0,
};

const BILINEAR: Kernel = Kernel {
    of: triangle,
    support: 1.0,
};

/// Keys' cubic convolution kernel with a = -0.5.
///
/// The order of the operations is Pillow's, so that the last bit of the result is.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Linear interpolation.
fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Calls `each` for every output sample, in order, with its first input sample and the weights of
/// that and the following ones, which sum up to 1.
fn coefficients(n_in: usize, n_out: usize, kernel: Kernel, mut each: impl FnMut(usize, &[f64])) {
    let scale = n_in as f64 / n_out as f64;
    let filter_scale = scale.max(1.0);
    let support = kernel.support * filter_scale;
    let reciprocal = 1.0 / filter_scale;
    let mut row = Vec::new();
    for i in 0..n_out {
        let center = (i as f64 + 0.5) * scale;
        // `as` truncates towards zero and stops at zero: C's cast and Pillow's `if < 0` in one.
        let first = (center - support + 0.5) as usize;
        let last = ((center + support + 0.5) as usize).min(n_in);
        row.clear();
        row.extend(
            (first..last).map(|source| (kernel.of)((source as f64 - center + 0.5) * reciprocal)),
        );
        let sum: f64 = row.iter().sum();
        if sum != 0.0 {
            row.iter_mut().for_each(|weight| *weight *= 1.0 / sum);
        }
        each(first, &row);
    }
}

/// The samples that one output sample is made of: `source[first..][..weights]`.
struct Span {
    first: usize,
    weights: std::ops::Range<usize>,
}

/// For each output sample the input samples and weights that make it.
struct Filter {
    spans: Vec<Span>,
    /// Weights of all spans, one after the other, times 2^22.
    weights: Vec<i32>,
}

impl Filter {
    /// The filter from `n_in` samples to `n_out`.
    ///
    /// An accumulator of 32 bits is exact as long as the weights' absolute values sum up to less
    /// than 2 (times 2^22): normalised weights sum up to 1 and the kernel's negative lobes are a
    /// thirteenth of its positive one, so 1.17 is usual, and 1.71 the most where an edge cuts a
    /// kernel. Rounding adds at most half a unit a weight, of which there are about 4 `n_in / n_out`:
    /// nothing beside 2^22 for sides of up to 65,535.
    fn new(n_in: usize, n_out: usize) -> Self {
        let mut spans = Vec::with_capacity(n_out);
        let mut weights = Vec::new();
        coefficients(n_in, n_out, BICUBIC, |first, row| {
            let start = weights.len();
            weights.extend(row.iter().map(|&weight| {
                let fixed = weight * f64::from(1u32 << PRECISION_BITS);
                (fixed + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
            }));
            spans.push(Span {
                first,
                weights: start..weights.len(),
            });
        });
        Self { spans, weights }
    }

    /// Each span with its weights.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans
            .iter()
            .map(|span| (span.first, &self.weights[span.weights.clone()]))
    }
}

fn to_byte(accumulator: i32) -> u8 {
    (accumulator >> PRECISION_BITS).clamp(0, 255) as u8
}

/// `[rows, width, CHANNELS]` to `[rows, new_width, CHANNELS]`.
fn horizontal<const CHANNELS: usize>(rgb: &[u8], width: usize, new_width: usize) -> Vec<u8> {
    let filter = Filter::new(width, new_width);
    let rows = rgb.len() / (width * CHANNELS);
    let mut out = Vec::with_capacity(rows * new_width * CHANNELS);
    for row in rgb.chunks_exact(width * CHANNELS) {
        for (first, weights) in filter.iter() {
            let samples = row[first * CHANNELS..].chunks_exact(CHANNELS);
            let mut sums = [HALF; CHANNELS];
            for (sample, weight) in samples.zip(weights) {
                for (sum, &level) in sums.iter_mut().zip(sample) {
                    *sum += i32::from(level) * weight;
                }
            }
            out.extend(sums.map(to_byte));
        }
    }
    out
}

/// `[height, stride]` to `[new_height, stride]`, whole rows at a time.
fn vertical(rgb: &[u8], stride: usize, height: usize, new_height: usize) -> Vec<u8> {
    let filter = Filter::new(height, new_height);
    let mut sums = vec![HALF; stride];
    let mut out = Vec::with_capacity(new_height * stride);
    for (first, weights) in filter.iter() {
        sums.fill(HALF);
        for (row, weight) in rgb[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, &level) in sums.iter_mut().zip(row) {
                *sum += i32::from(level) * weight;
            }
        }
        out.extend(sums.iter().copied().map(to_byte));
    }
    out
}

/// `[height, width, CHANNELS]` to `[new_height, new_width, CHANNELS]`, bytes in, bytes out.
///
/// `levels` holds `width * height * CHANNELS` bytes, all sizes are at least 1, and the old ones at
/// most 65,535: what `Picture` guarantees.
pub(crate) fn resize<const CHANNELS: usize>(
    levels: &[u8],
    (width, height): (usize, usize),
    (new_width, new_height): (usize, usize),
) -> Vec<u8> {
    // Every output row's span together covers every input row, so there is no row to leave out of
    // the horizontal pass.
    let narrowed = (width != new_width).then(|| horizontal::<CHANNELS>(levels, width, new_width));
    let narrowed = narrowed.as_deref().unwrap_or(levels);
    if height == new_height {
        narrowed.to_vec()
    } else {
        vertical(narrowed, new_width * CHANNELS, height, new_height)
    }
}

/// Bilinear, f32 in, f32 out, a column at a time from the left: `each` gets column after column of
/// `new_height` numbers, and nothing of the new size is held.
///
/// `numbers` is `[height, width]`; sizes as for [`resize`].
pub(crate) fn columns(
    numbers: &[f32],
    (width, height): (usize, usize),
    (new_width, new_height): (usize, usize),
    mut each: impl FnMut(&[f32]),
) {
    let mut rows = Vec::new();
    coefficients(height, new_height, BILINEAR, |first, weights| {
        rows.push((first, weights.to_vec()));
    });
    // Between the passes Pillow keeps f32; each sum is taken in f64.
    let weighted = |samples: &mut dyn Iterator<Item = f32>, weights: &[f64]| -> f32 {
        let products = samples.zip(weights).map(|(x, w)| f64::from(x) * w);
        products.fold(0.0, |sum, product| sum + product) as f32
    };
    let mut column = Vec::with_capacity(height);
    let mut out = Vec::with_capacity(new_height);
    coefficients(width, new_width, BILINEAR, |left, weights| {
        column.clear();
        column.extend(
            numbers
                .chunks_exact(width)
                .map(|row| weighted(&mut row.iter().skip(left).copied(), weights)),
        );
        out.clear();
        out.extend(
            rows.iter()
                .map(|(top, weights)| weighted(&mut column.iter().skip(*top).copied(), weights)),
        );
        each(&out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proof in [`Filter::new`] in numbers: all small sides, the awkward and the largest ones.
    #[test]
    fn thirty_two_bits_are_enough() {
        let sides = (1..400).chain([999, 1000, 4032, 10_000, 32_767, 65_535]);
        for n_in in sides {
            for n_out in [1, 2, 3, 14, 56, 223, 224, 448, 896] {
                let filter = Filter::new(n_in, n_out);
                assert_eq!(filter.spans.len(), n_out);
                let mut covered = 0;
                for (first, weights) in filter.iter() {
                    let most = |sign: i64| -> i64 {
                        let of_sign = weights.iter().map(|&w| (i64::from(w) * sign).max(0));
                        of_sign.sum::<i64>() * 255 + i64::from(HALF)
                    };
                    assert!(most(1) < i64::from(i32::MAX), "{n_in} to {n_out}");
                    assert!(most(-1) < i64::from(i32::MAX), "{n_in} to {n_out}");
                    assert!(first <= covered && !weights.is_empty(), "{n_in} to {n_out}");
                    covered = covered.max(first + weights.len());
                }
                assert_eq!(covered, n_in, "{n_in} to {n_out}: a sample is never read");
            }
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        for level in [0, 1, 127, 254, 255] {
            let out = resize::<3>(&vec![level; 37 * 11 * 3], (37, 11), (56, 56));
            assert_eq!(out, vec![level; 56 * 56 * 3]);
        }
    }
}
