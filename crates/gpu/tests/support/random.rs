/// splitmix64: small, deterministic, good enough to leave no pattern in test data.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// 1 to `most`.
    pub(crate) fn size(&mut self, most: usize) -> usize {
        1 + self.below(most)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Uniform in -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Uniform in -scale to scale.
    pub(crate) fn numbers(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| scale * self.unit()).collect()
    }
}

/// Makes of rows of `columns` numbers up to 2 such as are kept by a cache of every precision: a
/// row's bytes are multiples of 1/64 if its largest is 127 of them, and of less from row to row, so
/// that one row's bytes are wrong with another's. None is zero: bytes have no negative one, and beside
/// zeros alone a sum shows that GPUs take the smallest floats for nothing.
pub(crate) fn for_every_cache(rows: &mut [f32], columns: usize, salt: usize) {
    for (i, row) in rows.chunks_mut(columns).enumerate() {
        let step = 2f32.powi(-6 - ((i + salt) % 5) as i32);
        for x in &mut *row {
            let steps = (x.abs() * 64.0).round().clamp(1.0, 127.0);
            *x = (steps * step).copysign(*x);
        }
        row[0] = (127.0 * step).copysign(row[0]);
    }
}
