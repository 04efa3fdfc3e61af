use super::math;

/// A sum of products.
#[derive(Clone, Copy, Default)]
pub(crate) struct Dot {
    pub(crate) sum: f64,
    /// Sum of the products' absolute values.
    pub(crate) magnitude: f64,
}

impl Dot {
    /// Adds a product.
    pub(crate) fn add(&mut self, x: f32, w: f32) {
        let product = f64::from(x) * f64::from(w);
        self.sum += product;
        self.magnitude += product.abs();
    }
}

/// x · wᵀ, x `[_, columns]`, w `[outputs, columns]`, row after row.
pub(crate) fn matmul(x: &[f32], w: &[f32], columns: usize) -> Vec<Dot> {
    x.chunks(columns)
        .flat_map(|x| w.chunks(columns).map(|w| dot(x, w)))
        .collect()
}

fn dot(x: &[f32], w: &[f32]) -> Dot {
    let mut out = Dot::default();
    for (x, w) in x.iter().zip(w) {
        out.add(*x, *w);
    }
    out
}

/// What follows a product.
#[derive(Clone, Copy)]
pub(crate) struct Then<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) gelu: Option<fn(f64) -> f64>,
    /// What the result is added to.
    pub(crate) accumulate: Option<&'a [f32]>,
}

impl Then<'_> {
    pub(crate) const NOTHING: Then<'static> = Then {
        bias: None,
        gelu: None,
        accumulate: None,
    };

    /// The activation that the model has.
    pub(crate) const GELU: fn(f64) -> f64 = math::gelu_tanh;
}
