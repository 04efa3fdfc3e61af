//! Where things stand: inside the picture, hardly covering one another.

use crate::rng::Rng;

/// How much of the smaller of two boxes may be covered.
const OVERLAP: f32 = 0.06;
/// How often a place is tried before a thing is left out.
const TRIES: usize = 25;

/// Width and height in pixels.
pub(crate) type Size = (usize, usize);

/// The left top corner for each size, in order; none where no place was found or where it is
/// larger than the picture.
pub(crate) fn place(rng: &mut Rng, sizes: &[Size], side: usize) -> Vec<Option<(usize, usize)>> {
    let mut taken: Vec<(usize, usize, Size)> = Vec::new();
    sizes
        .iter()
        .map(|&(width, height)| {
            if width > side || height > side {
                return None;
            }
            let found = (0..TRIES).find_map(|_| {
                let y = rng.below(side - height + 1);
                let x = rng.below(side - width + 1);
                let free = taken
                    .iter()
                    .all(|&other| little((x, y, (width, height)), other));
                free.then_some((x, y))
            })?;
            taken.push((found.0, found.1, (width, height)));
            Some(found)
        })
        .collect()
}

fn little(a: (usize, usize, Size), b: (usize, usize, Size)) -> bool {
    let shared = |a: usize, a_length: usize, b: usize, b_length: usize| {
        (a + a_length).min(b + b_length).saturating_sub(a.max(b))
    };
    let (aw, ah) = a.2;
    let (bw, bh) = b.2;
    let covered = shared(a.0, aw, b.0, bw) * shared(a.1, ah, b.1, bh);
    covered as f32 <= OVERLAP * (aw * ah).min(bw * bh) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_inside_and_apart() {
        for seed in 0..200 {
            let sizes = [(150, 90), (60, 60), (100, 120), (84, 84)];
            let places = place(&mut Rng::new(seed), &sizes, 448);
            let boxes: Vec<_> = places
                .iter()
                .zip(sizes)
                .filter_map(|(place, size)| place.map(|(x, y)| (x, y, size)))
                .collect();
            for (index, &(x, y, (w, h))) in boxes.iter().enumerate() {
                assert!(x + w <= 448 && y + h <= 448);
                assert!(
                    boxes[..index]
                        .iter()
                        .all(|&other| little(other, (x, y, (w, h))))
                );
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let places = place(&mut Rng::new(1), &[(100, 100), (100, 100), (101, 5)], 100);
        assert_eq!(places, [Some((0, 0)), None, None]);
    }
}
