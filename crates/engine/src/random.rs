/// The golden ratio's fractional part in 64 bits, odd: SplitMix64's step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number from 0 to 1, 1 excluded, that depends on nothing but these three: the same on every
/// machine, natively and in a browser, and in whatever order they are asked for.
///
/// SplitMix64 (Steele, Lea and Flood 2014) as a counter-based generator: its state after
/// `attempt · 2³² + step + 1` steps from the mixed seed, mixed. The upper 24 bits fill an f32's
/// significand; more would round up to 1.
#[must_use]
pub fn random_number(seed: u64, attempt: u32, step: u32) -> f32 {
    let counter = (u64::from(attempt) << 32) | u64::from(step);
    let state = mix(seed).wrapping_add(counter.wrapping_add(1).wrapping_mul(STEP));
    (mix(state) >> 40) as f32 / (1u32 << 24) as f32
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
