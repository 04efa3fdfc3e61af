//! Matrices that read the same numbers, kept as one: a kernel with more outputs is busier, and one
//! dispatch costs less than three.

use paligemma_checkpoint::Storage;
use paligemma_gpu::{Linear, Matrix, Recorder, Tensor};

/// Query, key and value projection of a layer.
pub(crate) const QKV: &str = "self_attn.qkv_proj";
/// Gate and up projection of a layer.
pub(crate) const GATE_UP: &str = "mlp.gate_up_proj";

const QKV_PARTS: &[&str] = &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
const GATE_UP_PARTS: &[&str] = &["mlp.gate_proj", "mlp.up_proj"];

/// Projections of the same numbers, one after the other: `[outputs of all, inputs]`. They are one
/// matrix, or several where their precisions differ.
pub(crate) struct Stack(pub(crate) Vec<Matrix>);

impl Stack {
    /// The matrix, if it is one and fits one binding.
    pub(crate) fn whole(&self) -> Option<&Matrix> {
        match self.0.as_slice() {
            [matrix] if matrix.shard_count() == 1 => Some(matrix),
            _ => None,
        }
    }

    /// Records y = x · wᵀ + bias, the outputs of all side by side; the bias is of all too.
    pub(crate) fn record(&self, r: &mut Recorder, x: &Tensor, bias: Option<&Tensor>, y: &Tensor) {
        let mut first_column = 0;
        for matrix in &self.0 {
            let then = Linear {
                bias,
                first_column: Some(first_column),
                ..Linear::default()
            };
            r.linear(x, matrix, then, y);
            first_column += matrix.rows();
        }
    }
}

/// A tensor as it is stored: name, rows, columns, storage.
pub(crate) type Stored<'t> = (&'t str, usize, usize, Storage);

/// The names of the parts of the stack to which a tensor belongs, its own among them, and the
/// name of the whole.
fn parts(name: &str) -> Option<(String, Vec<String>)> {
    for (whole, parts) in [(QKV, QKV_PARTS), (GATE_UP, GATE_UP_PARTS)] {
        for part in parts {
            if let Some((before, after)) = name.split_once(part)
                && before.ends_with('.')
                && matches!(after, ".weight" | ".bias")
            {
                let named = |part: &&str| format!("{before}{part}{after}");
                return Some((named(&whole), parts.iter().map(named).collect()));
            }
        }
    }
    None
}

/// Where a tensor goes: the name of the whole, its shape, and the rows (of a bias, the columns)
/// before it. None: it stays by itself.
pub(crate) fn place(
    name: &str,
    find: impl Fn(&str) -> Option<(usize, usize, Storage)>,
) -> Option<Place> {
    let (whole, parts) = parts(name)?;
    let (own_rows, own_columns, own_storage) = find(name)?;
    let mut before = 0;
    let mut length = 0;
    for part in &parts {
        let (rows, columns, storage) = find(part)?;
        if part == name {
            before = length;
        }
        let alike = storage == own_storage;
        match storage {
            Storage::Matrix(_) if alike && columns == own_columns => length += rows,
            Storage::Numbers if alike && rows == 1 && own_rows == 1 => length += columns,
            _ => return None,
        }
    }
    let (rows, columns) = match own_storage {
        Storage::Matrix(_) => (length, own_columns),
        Storage::Numbers => (1, length),
    };
    Some(Place {
        whole,
        rows,
        columns,
        before,
    })
}

/// See [`place`].
#[derive(Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) whole: String,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) before: usize,
}

/// The parts of a whole by their names, for one whose parts were not stacked.
pub(crate) fn names_of_parts(whole: &str) -> Vec<String> {
    for (name, parts) in [(QKV, QKV_PARTS), (GATE_UP, GATE_UP_PARTS)] {
        if let Some((before, after)) = whole.split_once(name) {
            let named = |part: &&str| format!("{before}{part}{after}");
            return parts.iter().map(named).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use paligemma_checkpoint::Precision;

    use super::*;

    const F16: Storage = Storage::Matrix(Precision::F16);

    fn find<'t>(
        all: &'t [(&'t str, usize, usize, Storage)],
    ) -> impl Fn(&str) -> Option<(usize, usize, Storage)> + 't {
        |name| {
            let found = all.iter().find(|(other, ..)| *other == name);
            found.map(|(_, rows, columns, storage)| (*rows, *columns, *storage))
        }
    }

    #[test]
    fn queries_keys_and_values_are_one_after_the_other() {
        let all = [
            ("l.0.self_attn.v_proj.weight", 2, 8, F16),
            ("l.0.self_attn.q_proj.weight", 6, 8, F16),
            ("l.0.self_attn.k_proj.weight", 3, 8, F16),
            ("l.0.self_attn.k_proj.bias", 1, 3, Storage::Numbers),
            ("l.0.self_attn.q_proj.bias", 1, 6, Storage::Numbers),
            ("l.0.self_attn.v_proj.bias", 1, 2, Storage::Numbers),
        ];
        let before = |name: &str| place(name, find(&all)).map(|place| place.before);
        assert_eq!(before("l.0.self_attn.q_proj.weight"), Some(0));
        assert_eq!(before("l.0.self_attn.k_proj.weight"), Some(6));
        assert_eq!(
            place("l.0.self_attn.v_proj.weight", find(&all)),
            Some(Place {
                whole: "l.0.self_attn.qkv_proj.weight".to_owned(),
                rows: 11,
                columns: 8,
                before: 9,
            })
        );
        assert_eq!(
            place("l.0.self_attn.v_proj.bias", find(&all)),
            Some(Place {
                whole: "l.0.self_attn.qkv_proj.bias".to_owned(),
                rows: 1,
                columns: 11,
                before: 9,
            })
        );
    }

    #[test]
    fn what_differs_or_is_alone_stays_by_itself() {
        let other = Storage::Matrix(Precision::F32);
        let all = [
            ("l.0.mlp.gate_proj.weight", 4, 8, F16),
            ("l.0.mlp.up_proj.weight", 4, 8, other),
            ("l.1.mlp.gate_proj.weight", 4, 8, F16),
            ("l.0.self_attn.o_proj.weight", 4, 8, F16),
        ];
        for (name, ..) in all {
            assert_eq!(place(name, find(&all)), None, "{name}");
        }
        assert_eq!(
            names_of_parts("l.0.mlp.gate_up_proj.weight"),
            ["l.0.mlp.gate_proj.weight", "l.0.mlp.up_proj.weight"]
        );
    }
}
