//! Which of the kernels that were tried is chosen.

use crate::tuning::Candidate;
use crate::variants::{MatmulVariant, Variants};

/// Another choice than the usual one has to take less than this part of its time: what is less is
/// within what one run differs from the next.
const WORTH_IT: f64 = 0.95;

/// The middle one, of an even number the lower one of both.
pub(crate) fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len().saturating_sub(1) / 2).copied()
}

/// The same to the bit: see [`Product::new`]. Where inputs are rounded, scales may be multiplied in
/// another order than is written, or round by themselves, which costs a few units in the last place of
/// each of the terms of a sum. With norms inside, each term has been multiplied with a scale, rounded, and so
/// round the sums, too: of 2304 terms of random signs that is some hundred units at most, 1e-5 of the largest. Of
/// cooperative matrices weights are rounded too, by 2^-11 of each at most, so a sum of random signs by less than
/// that of the largest.
pub(crate) fn agree(found: &[f32], wanted: &[f32], variants: Variants) -> bool {
    let part = match variants.matmul {
        MatmulVariant::Registers | MatmulVariant::Tiled if !variants.bytes && !variants.norms => {
            return found == wanted;
        }
        MatmulVariant::Registers | MatmulVariant::Tiled => 1e-5,
        MatmulVariant::Half | MatmulVariant::Dots => 1e-5,
        MatmulVariant::Cooperative => 1e-3,
    };
    let largest = wanted.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= part * largest;
    found.len() == wanted.len() && found.iter().zip(wanted).all(near)
}

/// The fastest of those that agree, unless one that rounds less is as good, or the usual one.
pub(crate) fn best(candidates: &[Candidate], usual: Variants) -> Variants {
    let (exact, rounded): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|it| it.variants.are_exact());
    let mut best = fastest(&exact, usual);
    let ms_of = |variants: Variants| {
        let it = candidates.iter().find(|it| it.variants == variants)?;
        it.ms.filter(|_| it.agrees)
    };
    // What rounds less comes first.
    let kinds: [fn(&Variants) -> bool; 4] = [
        |it| it.matmul == MatmulVariant::Half,
        |it| it.matmul == MatmulVariant::Cooperative,
        |it| it.matmul == MatmulVariant::Dots,
        |it| it.bytes,
    ];
    for is_of in kinds {
        let of_it = rounded.iter().map(|it| it.variants).filter(is_of);
        let timed = of_it.filter_map(|it| Some((it, ms_of(it)?)));
        let Some((variants, ms)) = timed.min_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            continue;
        };
        if ms_of(best).is_none_or(|best| ms < WORTH_IT * best) {
            best = variants;
        }
    }
    best
}

/// The fastest of those that agree, unless the usual one is as good.
fn fastest(candidates: &[&Candidate], usual: Variants) -> Variants {
    let timed = candidates.iter().filter(|it| it.agrees);
    let timed = timed.filter_map(|it| Some((it.variants, it.ms?)));
    let fastest = timed.clone().min_by(|(_, a), (_, b)| a.total_cmp(b));
    let agrees = |it: &&Candidate| it.agrees && it.variants == usual;
    let usual_ms = timed.clone().find(|(variants, _)| *variants == usual);
    match (fastest, usual_ms) {
        (Some((_, ms)), Some((_, usual_ms))) if ms >= WORTH_IT * usual_ms => usual,
        (Some((variants, _)), _) => variants,
        (None, _) if candidates.iter().any(agrees) => usual,
        // Nothing was timed, and the usual one is wrong here: any that is right.
        (None, _) => candidates
            .iter()
            .find(|it| it.agrees)
            .map_or(usual, |it| it.variants),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Variants = Variants {
        matmul: MatmulVariant::Tiled,
        matvec_lanes: 32,
        subgroups: false,
        fours: 0,
        bytes: false,
        norms: false,
    };

    fn candidate(matvec_lanes: u32, agrees: bool, ms: Option<f64>) -> Candidate {
        let variants = Variants {
            matvec_lanes,
            ..USUAL
        };
        Candidate {
            variants,
            agrees,
            ms,
        }
    }

    fn chosen(candidates: &[Candidate]) -> u32 {
        best(candidates, USUAL).matvec_lanes
    }

    #[test]
    fn another_choice_has_to_be_clearly_faster() {
        let usual = candidate(32, true, Some(1.0));
        let (near, far) = (Some(0.96), Some(0.94));
        assert_eq!(chosen(&[candidate(8, true, near), usual.clone()]), 32);
        assert_eq!(chosen(&[candidate(8, true, far), usual.clone()]), 8);
        let fastest = candidate(64, true, Some(0.5));
        assert_eq!(chosen(&[candidate(8, true, far), usual, fastest]), 64);
    }

    #[test]
    fn what_deviates_is_never_chosen() {
        let wrong = candidate(8, false, Some(0.1));
        assert_eq!(chosen(&[wrong.clone(), candidate(32, true, Some(1.0))]), 32);
        let usual_is_wrong = candidate(32, false, None);
        let slow = candidate(16, true, Some(9.0));
        assert_eq!(chosen(&[wrong, usual_is_wrong.clone(), slow]), 16);
        assert_eq!(chosen(&[candidate(4, true, None), usual_is_wrong]), 4);
    }

    #[test]
    fn rounding_has_to_pay() {
        let of = |matmul, ms| Candidate {
            variants: Variants { matmul, ..USUAL },
            agrees: true,
            ms: Some(ms),
        };
        let (half, dots) = (MatmulVariant::Half, MatmulVariant::Dots);
        let chosen = |half_ms, dots_ms| {
            let all = [
                of(MatmulVariant::Tiled, 1.0),
                of(half, half_ms),
                of(dots, dots_ms),
            ];
            best(&all, USUAL).matmul
        };
        assert_eq!(chosen(0.97, 0.96), MatmulVariant::Tiled);
        assert_eq!(chosen(0.60, 0.59), half);
        assert_eq!(chosen(0.60, 0.30), dots);
        assert_eq!(chosen(2.00, 0.90), dots);
        let wrong = Candidate {
            agrees: false,
            ..of(dots, 0.1)
        };
        assert_eq!(best(&[of(MatmulVariant::Tiled, 1.0), wrong], USUAL), USUAL);
    }

    #[test]
    fn bytes_have_to_pay_beside_the_fastest_of_others() {
        let of = |fours, bytes, ms| Candidate {
            variants: Variants {
                fours,
                bytes,
                ..USUAL
            },
            agrees: true,
            ms: Some(ms),
        };
        let usual = Variants {
            fours: 1 << 17,
            ..USUAL
        };
        let chosen = |all: &[Candidate]| {
            let it = best(all, usual);
            (it.fours, it.bytes)
        };
        let exact = [of(1 << 17, false, 1.0), of(1 << 15, false, 0.8)];
        let with = |a, b| {
            let [first, second] = exact.clone();
            [first, second, of(1 << 17, true, a), of(1 << 16, true, b)]
        };
        assert_eq!(chosen(&with(0.9, 0.79)), (1 << 15, false));
        assert_eq!(chosen(&with(0.9, 0.7)), (1 << 16, true));
        assert_eq!(chosen(&with(0.6, 0.7)), (1 << 17, true));
        let mut wrong = with(0.1, 0.9);
        wrong[2].agrees = false;
        assert_eq!(chosen(&wrong), (1 << 15, false));
    }

    #[test]
    fn what_rounds_inputs_agrees_within_rounding() {
        let wanted = [1000.0, -3.0, 0.0];
        let of = |matmul| Variants { matmul, ..USUAL };
        let (exact, dots) = (USUAL, of(MatmulVariant::Dots));
        let bytes = Variants {
            fours: 1 << 17,
            bytes: true,
            ..USUAL
        };
        assert!(agree(&wanted, &wanted, exact) && agree(&wanted, &wanted, dots));
        assert!(!agree(&[1000.001, -3.0, 0.0], &wanted, exact));
        assert!(agree(&[1000.001, -3.0, 0.0], &wanted, dots));
        assert!(agree(&[1000.001, -3.0, 0.0], &wanted, bytes));
        assert!(!agree(&[1000.0, -3.02, 0.0], &wanted, dots));
        assert!(!agree(&[1000.0, -3.02, 0.0], &wanted, bytes));
        // Factors of norms round, too.
        let norms = Variants {
            fours: 1 << 17,
            norms: true,
            ..USUAL
        };
        assert!(agree(&[1000.001, -3.0, 0.0], &wanted, norms));
        assert!(!agree(&[1000.0, -3.02, 0.0], &wanted, norms));
        assert!(agree(
            &[1000.0, -3.02, 0.0],
            &wanted,
            of(MatmulVariant::Cooperative)
        ));
        assert!(!agree(
            &[1000.0, -4.02, 0.0],
            &wanted,
            of(MatmulVariant::Cooperative)
        ));
        assert!(!agree(&[1000.0, f32::NAN, 0.0], &wanted, dots));
        assert!(!agree(&wanted[..2], &wanted, dots));
    }

    #[test]
    fn without_times_it_is_as_usual() {
        assert_eq!(chosen(&[]), 32);
        let usual = candidate(32, true, None);
        assert_eq!(chosen(&[candidate(8, true, None), usual]), 32);
    }

    #[test]
    fn the_median_is_a_sample() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![2.0, 1.0]), Some(1.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 3.0, 1.0, 2.0]), Some(2.0));
    }
}
